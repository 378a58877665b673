"""A run that was interrupted, whole in one file: tensors as safetensors, the rest as JSON in their header.

Nothing pickled is read. The order of rows needs no state: it follows from the seed and the step.
"""

from __future__ import annotations

import json
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trunkline.errors import RunError
from trunkline.files import replacing
from trunkline.training.processes import from_all_processes, is_first_process
from trunkline.training.stepper import Stepper

LAST, BEFORE = Path("checkpoints") / "last.safetensors", Path("checkpoints") / "before.safetensors"


class WriteError(RunError):
    """A full disk, or one that is not to be written to. What was there before is there."""


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Whatever a run writes while it learns.

    Raises:
        WriteError: it cannot be written.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise WriteError(f"{folder}: cannot be written to: {error}") from error


def checkpoints(folder: Path) -> list[Path]:
    """Those that a run can go on from, the newest first. The one before is there in case that the last is spoilt."""
    return [folder / name for name in (LAST, BEFORE) if (folder / name).is_file()]


def save_checkpoint(folder: Path, stepper: Stepper, state: dict[str, Any]) -> None:
    """Write what is needed to go on bit for bit; to be called by all processes.

    Args:
        folder: of the run; its last checkpoint becomes the one before when the new one is whole.
        stepper: the network, what the balancer keeps, the optimiser, the average of the weights.
        state: anything else, as JSON.
    """
    rngs = from_all_processes(_rng(stepper.fabric.device))
    network, optimiser, average = stepper.whole_states(stays=is_first_process())
    if not is_first_process():
        return
    groups = {
        "network": network,
        "engine": stepper.engine.state_dict(),
        "faults": stepper.faults.state(),
        "average": average,
        **{f"optimiser.{i}": own for i, own in optimiser.items()},
        **{f"rng.{rank}": own for rank, own in enumerate(rngs)},
    }
    tensors = {f"{group}.{name}": _own(value) for group, named in groups.items() for name, value in named.items()}
    state = {
        **state,
        "processes": stepper.fabric.world_size,
        "average_steps": 0 if stepper.average is None else stepper.average.steps,
        "scaler": stepper.fabric.strategy.precision.state_dict(),
    }
    told = json.dumps(state)
    with replacing(folder / LAST, keep=folder / BEFORE) as unfinished:
        save_file(tensors, unfinished, {"state": told, "checksum": _checksum(tensors, told)})


def load_checkpoint(path: Path, stepper: Stepper) -> dict[str, Any]:
    """Put everything back but the random numbers, which `load_rng` puts back last of all.

    Returns:
        The `state` that was saved.

    Raises:
        RunError: the file is none or spoilt, or of another network.
    """
    try:
        with safe_open(path, "pt") as file:
            told = file.metadata()
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
        if told["checksum"] != _checksum(tensors, told["state"]):
            raise ValueError("what it holds is not what was written")
        state = json.loads(told["state"])
        if (began := state.get("processes", stepper.fabric.world_size)) != stepper.fabric.world_size:
            raise ValueError(f"the run began with {began} processes, and now there are {stepper.fabric.world_size}")
        stepper.load_network(_group(tensors, "network"))
        stepper.engine.load_state_dict(_group(tensors, "engine"))
        stepper.faults.load(_group(tensors, "faults"))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise RunError(f"{path}: cannot be gone on from: {error}") from error
    optimiser = stepper.optimiser
    numbers = range(len(stepper.parameters))
    own = {i: stepper.shares(i, state_of) for i in numbers if (state_of := _group(tensors, f"optimiser.{i}"))}
    optimiser.load_state_dict({"state": own, "param_groups": optimiser.state_dict()["param_groups"]})
    if stepper.average is not None:
        stepper.average.load(stepper.average_shares(_group(tensors, "average")), state["average_steps"])
    stepper.fabric.strategy.precision.load_state_dict(state["scaler"])
    return state


def load_rng(path: Path, stepper: Stepper) -> None:
    """Random numbers go on as well."""
    with safe_open(path, "pt") as file:
        own = f"rng.{stepper.fabric.global_rank}"
        torch.set_rng_state(file.get_tensor(f"{own}.cpu"))
        if stepper.fabric.device.type == "cuda" and f"{own}.cuda" in set(file.keys()):
            torch.cuda.set_rng_state(file.get_tensor(f"{own}.cuda"), stepper.fabric.device)
        elif stepper.fabric.device.type == "cuda":
            warnings.warn("the run was interrupted on another kind of device: dropout is drawn anew", stacklevel=2)


def _checksum(tensors: dict[str, Tensor], told: str) -> str:
    """Of all bytes, in the order of names: a spoilt block of a disk is a file of the right length."""
    total = zlib.crc32(told.encode())
    for name in sorted(tensors):
        total = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, total)
    return f"{total:08x}"


def _rng(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    return states | {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else states


def _group(tensors: dict[str, Tensor], group: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{group}."): t for name, t in tensors.items() if name.startswith(f"{group}.")}


def _own(tensor: Tensor) -> Tensor:
    """In memory of its own: safetensors refuses what is shared."""
    return tensor.detach().to("cpu", copy=True).contiguous()
