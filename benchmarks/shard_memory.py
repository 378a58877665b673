"""What each process of a run keeps: whole copies of the network (DDP), or a network divided (`training.shard`).

`python -m benchmarks.shard_memory`: real processes (gloo, CPU), started by `torchrun`, a few steps of a network whose
trunk is a Transformer of 45 million weights. After each step a process counts the bytes that it has of the weights,
their gradients and AdamW's moments; told is the most that any process has of each. `peak` is the largest resident
memory of a process up to its last step, less what it had before the run: building the network, activations and messages
included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.distributed.tensor import DTensor

from benchmarks.processes import rows
from trunkline.data import write_rows

CONFIG = """\
data: {train: rows.jsonl, validation: 0.2}
inputs: {x: number, z: number, note: {type: text, encoder: scratch}}
tasks: {kind: category, size: number}
trunk: {type: transformer, layers: 16}
width: 512
training: {steps: 4, batch_size: 8, threads: 1, accelerator: cpu, validations: 1, ema: off}
"""
KINDS = ("weights", "gradients", "moments")
MB = 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--devices", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--shard", action="store_true", help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.one is not None:
        train(said.one, said.devices, said.shard)
        return
    print("| processes | network | weights, MB | gradients | moments | together | peak |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(folder / "rows.jsonl", rows())
        (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")
        for devices, is_sharded in ((1, False), (2, False), (2, True), (4, False), (4, True)):
            kept = measure(folder, devices, is_sharded)
            told = [*(kept[kind] for kind in KINDS), sum(kept[kind] for kind in KINDS), kept["peak"]]
            how = "divided" if is_sharded else "whole"
            print(f"| {devices} | {how} | {' | '.join(f'{one / MB:.0f}' for one in told)} |", flush=True)


def measure(folder: Path, devices: int, is_sharded: bool) -> dict[str, int]:
    """Of the process that keeps most, by kind."""
    run = folder / f"{devices}-{is_sharded}"
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={devices}"]
    own = ["-m", "benchmarks.shard_memory", "--one", str(run), f"--devices={devices}", *["--shard"] * is_sharded]
    done = subprocess.run([sys.executable, *launch, *own], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    found = [json.loads(file.read_text()) for file in sorted(folder.glob(f"{run.name}.*.json"))]
    assert len(found) == devices
    return {kind: max(one[kind] for one in found) for kind in found[0]}


def train(run: Path, devices: int, is_sharded: bool) -> None:
    """One process's part of a run; writes what it kept."""
    from trunkline import fit
    from trunkline.training.stepper import Stepper

    most = dict.fromkeys((*KINDS, "peak"), 0)
    before = forget_peak()
    step = Stepper.step

    def stepped(stepper: Stepper, *args: Any, **kwargs: Any) -> None:
        step(stepper, *args, **kwargs)
        for kind, size in {**kept(stepper), "peak": peak() - before}.items():
            most[kind] = max(most[kind], size)

    Stepper.step = stepped  # type: ignore[method-assign, assignment]
    given = [f"training.devices={devices}", f"training.shard={str(is_sharded).lower()}"]
    fit(run.parent / "config.yaml", overrides=given, out=run, report=False)
    (run.parent / f"{run.name}.{os.environ['RANK']}.json").write_text(json.dumps(most))


def kept(stepper: Any) -> dict[str, int]:
    """Bytes, by kind."""
    own = stepper.parameters
    states = (value for state in stepper.optimiser.state.values() for value in state.values())
    return {
        "weights": size_of(own),
        "gradients": size_of(one.grad for one in own if one.grad is not None),
        "moments": size_of(value for value in states if isinstance(value, Tensor)),
    }


def size_of(tensors: Iterable[Tensor]) -> int:
    """Of what this process has of them, bytes."""
    here = [one.to_local() if isinstance(one, DTensor) else one for one in tensors]
    return sum(one.numel() * one.element_size() for one in here)


def resident() -> int:
    """Of this process, bytes, now."""
    return _status("VmRSS")


def peak() -> int:
    """The most that this process has had since `forget_peak`, or since it began, bytes."""
    return _status("VmHWM")


def forget_peak() -> int:
    """Count the peak anew; what is resident now, bytes. Linux."""
    Path("/proc/self/clear_refs").write_text("5")
    return resident()


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


if __name__ == "__main__":
    main()
