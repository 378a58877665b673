"""One training run, from the first step or from where it was interrupted, to the best weights by validation."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric, seed_everything
from torch import Tensor

from trunkline.engine import Engine
from trunkline.errors import ConfigError, RunError
from trunkline.machine import num_devices
from trunkline.model import Network
from trunkline.training.blending import Blender, make_blender
from trunkline.training.checkpoint import checkpoints, load_checkpoint, load_rng, save_checkpoint, writing
from trunkline.training.faults import refuse
from trunkline.training.judge import Judge, Keeper
from trunkline.training.loaders import training_batches
from trunkline.training.log import Log
from trunkline.training.looking_ahead import LookAhead
from trunkline.training.memory import keep_memory
from trunkline.training.processes import any_process, from_first_process, have_met, is_alone, is_first_process
from trunkline.training.progress import StepBar
from trunkline.training.schedule import Schedule, is_due
from trunkline.training.settings import Fitted, OnValidation, Rows, Settings, Validation
from trunkline.training.signals import StopSignal
from trunkline.training.stepper import Stepper
from trunkline.types import Batch

LINES = 100  # of losses in a log
ASKED = 8  # steps after which processes ask each other whether to stop


def train(
    network: Network,
    engine: Engine,
    training: Rows,
    validation: Rows | None,
    settings: Settings,
    folder: Path,
    *,
    show_progress: bool | None = None,
    on_validation: OnValidation | None = None,
) -> Fitted:
    """Train in place and keep the weights that were best on the validation rows.

    Writes `log.jsonl`, `log.csv` and `checkpoints/best.safetensors` under `folder`; on the way, and when it is
    interrupted, also `checkpoints/last.safetensors`, with the one before it beside. Where that is there, it goes on
    from it, bit for bit. Rows without any label are not drawn.

    Args:
        network: the layers.
        engine: balances the tasks.
        training: rows to learn from.
        validation: rows to choose weights by; without them the last weights are kept.
        settings: how.
        folder: of the run.
        show_progress: a bar on the terminal; by default only where there is one.
        on_validation: told of each look at the validation rows, when its checkpoint is there; something true ends the
            training after it. Of several processes the first is told. What it raises ends the run as if interrupted.

    Raises:
        ConfigError: TensorBoard is wanted and not installed; experts are to be weighed by validation rows and there
            are none.
        RunError: a task's loss is not finite in many steps in a row, or the checkpoint cannot be gone on from.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what was learned is in the checkpoint.
    """
    fabric = launch(settings)
    seed_everything(settings.seed, workers=True, verbose=False)
    engine.expect_steps(settings.steps)
    stepper = Stepper(fabric, network, engine, settings)
    network = stepper.network
    useful = None if validation is None else validation.labelled().at_most(settings.validation_rows, settings.seed)
    judge = None if useful is None else Judge(fabric, network, useful, settings)
    rows = training.labelled()
    blender = make_blender(fabric, network, rows, useful, settings)
    if on_validation is not None and judge is None:
        warnings.warn("on_validation: there are no validation rows, so nobody is told of any", stacklevel=2)
    loop = _Loop(stepper, judge, blender, rows, settings, from_first_process(folder), on_validation)
    try:
        loop.run(show_progress)
        return loop.finish()
    finally:
        loop.log.close()
        network.watch = None
        network.to("cpu")
        engine.to("cpu")


def make_fabric(settings: Settings) -> Fabric:
    """Lightning's view of the machine: devices, processes, precision.

    Raises:
        ConfigError: one process is to share the network with others.
    """
    for name in ("utilities.seed", "utilities.distributed", "utilities.rank_zero"):
        logging.getLogger(f"lightning.fabric.{name}").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    devices = num_devices(settings.devices, settings.accelerator)
    if settings.shard and devices * settings.nodes == 1:
        raise ConfigError("training.shard: divides the network among processes, and there is one; give "
                          "training.devices (or start more with torchrun or srun), or leave it out")  # fmt: skip
    return Fabric(
        accelerator=settings.accelerator,
        devices=devices,
        num_nodes=settings.nodes,
        strategy="auto" if devices * settings.nodes == 1 else "ddp_find_unused_parameters_true",
        precision=settings.precision,
    )


def launch(settings: Settings) -> Fabric:
    """The same with all processes started, and met.

    Raises:
        RunError: they have met before, to train a network that was divided.
    """
    fabric = make_fabric(settings)
    if fabric.world_size > 1 and not have_met() and _has_divided():
        raise RunError("training.shard: this process has trained a network that was divided, and PyTorch cannot let "
                       "the same processes meet anew after it; train the next one in a new process")  # fmt: skip
    fabric.launch()
    if fabric.device.type == "cpu":
        keep_memory()
    return fabric


def _has_divided() -> bool:
    there = sys.modules.get("trunkline.training.sharding")
    return there is not None and bool(there.HELD)


def padding(parts: Sequence[Batch], without: Collection[str] = ()) -> dict[str, float]:
    """Of each input whose rows have lengths, how much of what an encoder works out is padding.

    Args:
        parts: of a step.
        without: names of the encoders that leave it out.
    """
    found: dict[str, list[Tensor]] = {}
    for batch in parts:
        for name, part in batch.inputs.items():
            mask = part.values.get("mask")
            if mask is not None and mask.dtype == torch.bool and name not in without:
                found.setdefault(name, []).append(mask.flatten())
    return {name: 1 - float(torch.cat(masks).float().mean()) for name, masks in found.items()}


class _Loop:
    """The steps of a run, and all that happens between them."""

    def __init__(
        self,
        stepper: Stepper,
        judge: Judge | None,
        blender: Blender | None,
        rows: Rows,
        settings: Settings,
        folder: Path,
        on_validation: OnValidation | None,
    ) -> None:
        self.on_validation = on_validation
        self.stepper, self.judge, self.blender = stepper, judge, blender
        self.rows, self.settings, self.folder = rows, settings, folder
        self.schedule = Schedule(settings.steps, settings.warmup)
        plain = stepper.network if stepper.sharding is None else stepper.sharding.plain
        self.keeper = Keeper(plain, folder, stepper.sharding)
        self.ahead = None if settings.affinity is None else (LookAhead(stepper), settings.affinity)
        self.done = 0
        self.before = self._go_on() if checkpoints(folder) and not is_alone() else 0.0
        self.log = Log(folder, done=self.done, seconds=self.before, with_tensorboard=settings.tensorboard)

    def run(self, show_progress: bool | None) -> None:
        """All steps that are left."""
        fabric, settings = self.stepper.fabric, self.settings
        batches = training_batches(
            self.rows, settings, done=self.done, rank=fabric.global_rank, world=fabric.world_size
        )
        bar = StepBar(settings.steps, self.done, show_progress)
        self.stepper.network.train()
        if self.blender is not None and self.done == 0:
            self.blender.look()
        is_told = any_process(self.on_validation is not None)  # one process may listen where others do not
        with StopSignal() as stop:
            while self.done < self.schedule.last:
                parts = next(batches)
                self._look_ahead(parts)
                self.stepper.network.forget_notes()
                self.stepper.step(parts, self.schedule.rate(self.done))
                self.done += 1
                bar.step()
                self._write_losses(parts)
                if self._is_due() and not self._is_blind(parts):
                    bar.say(self._look())
                    if is_told and self._is_seen_enough() and self.done < self.schedule.last:
                        self.schedule.end(self.done)
                        self._save()  # once more: it must not train on where it is killed before its files are there
                if self._shall_stop(stop):
                    self._save()
                    bar.close(settings.steps)
                    raise KeyboardInterrupt(f"stopped after step {self.done} of {settings.steps}")
        bar.close(self.done)

    def finish(self) -> Fitted:
        """The best weights, or the last ones where nobody looked."""
        self.stepper.fabric.barrier()
        if self.keeper.best is None and self.stepper.average is not None:
            self.stepper.average.swap()
        if self.stepper.sharding is not None:
            self.stepper.sharding.give_back()
        self.keeper.put_back()
        best, _, scores = self.keeper.best or (self.done, None, None)
        return Fitted(self.done, best, scores, self.log.seconds, self.before, self.keeper.history)

    def _shall_stop(self, stop: StopSignal) -> bool:
        """All processes stop after the same step; several ask each other now and then only."""
        is_asked = self.stepper.fabric.world_size == 1 or self.done % ASKED == 0
        return is_asked and any_process(stop.is_wanted) and self.done < self.schedule.last

    def _is_seen_enough(self) -> bool:
        """Whether whoever is told of the looks wants no more steps; all processes end after the same one."""
        if self.judge is None:
            return False
        seen = Validation(self.done, self.settings.steps, *self.keeper.history[-1][1:])
        tell = self.on_validation if is_first_process() else None
        return any_process(tell is not None and bool(tell(seen)))

    def _look_ahead(self, parts: Sequence[Batch]) -> None:
        """What the step that comes will do, task by task; once the optimiser knows how large gradients are."""
        if self.ahead is None or self.done == 0:
            return
        ahead, every = self.ahead
        if self.done % every == 0:
            self.stepper.set_rate(self.schedule.rate(self.done))
            self._write({"step": self.done + 1, "affinity": ahead.measure(parts)})

    def _write_losses(self, parts: Sequence[Batch]) -> None:
        if self.done == 1 or self.done % max(1, self.settings.steps // LINES) == 0:
            report = self.stepper.engine.report()
            network, device = self.stepper.network, self.stepper.fabric.device
            padded = {"padding": found} if (found := padding(parts, network.encoders_without_padding(device))) else {}
            experts = {"experts": loads} if (loads := self.stepper.network.trunk.loads()) else {}
            aligned = self.stepper.network.alignment
            apart = {} if aligned is None else {"align": float(torch.stack(aligned.noted).mean())}
            faults = self._tell_faults(parts)
            self._write({"step": self.done, "lr": self.stepper.lr, **report, **padded, **experts, **apart, **faults})

    def _tell_faults(self, parts: Sequence[Batch]) -> dict[str, Any]:
        """Steps so far that lost a task, for the log.

        Raises:
            RunError: too many of the last ones did.
        """
        stepper = self.stepper
        told, hopeless = stepper.faults.tell(self.done, self.settings.steps)
        if hopeless:
            self._refuse(hopeless, parts)
        return told

    def _is_blind(self, parts: Sequence[Batch]) -> bool:
        """The last step learned nothing: weights that may have diverged are neither judged nor kept.

        Raises:
            RunError: it was the last of all.
        """
        is_blind = bool(self.stepper.faults.is_blind)
        if is_blind and self.done == self.schedule.last:
            self._refuse(self.stepper.faults.tasks, parts)
        return is_blind

    def _refuse(self, hopeless: Sequence[str], parts: Sequence[Batch]) -> None:
        network, fabric, are_kept = self.stepper.network, self.stepper.fabric, self.keeper.best is not None
        refuse(self.done, hopeless, network, self.rows, parts, fabric, are_kept=are_kept)

    def _is_due(self) -> bool:
        return is_due(self.done, self.settings.steps, self.settings.validations) or self.done == self.schedule.last

    def _look(self) -> float | None:
        """Judge and keep; stop early where nothing gets better; save."""
        if self.judge is None:
            self._save()
            return None
        score = self._judge(self.judge)
        patience = self.settings.patience
        if patience is not None and self.keeper.waiting >= patience and self.schedule.cooling_since is None:
            self.schedule.cool(self.done)
        self._save()
        return score

    def _judge(self, judge: Judge) -> float | None:
        average = self.stepper.average
        with nullcontext() if average is None else average.in_place():
            score, scores = judge.look()
            with writing(self.folder):
                self.keeper.see(self.done, score, scores)
            if self.blender is not None:
                self.blender.look()
        blend = {} if self.blender is None else {"blend": self.blender.blending.report()}
        self._write({"step": self.done, "validation": scores, "aggregate": score, **blend})
        return score

    def _save(self) -> None:
        state: dict[str, Any] = {"step": self.done, "seconds": self.log.seconds, "keeper": self.keeper.state()}
        with writing(self.folder):
            save_checkpoint(self.folder, self.stepper, {**state, "schedule": self.schedule.state()})

    def _write(self, line: dict[str, Any]) -> None:
        with writing(self.folder):
            self.log.write(line)

    def _go_on(self) -> float:
        """From the checkpoint, or the one before it. Returns the seconds that were spent until then."""
        path, state = self._load()
        load_rng(path, self.stepper)
        self.schedule.load(state["schedule"])
        self.done = state["step"]
        return state["seconds"]

    def _load(self) -> tuple[Path, dict[str, Any]]:
        last, *before = checkpoints(self.folder)
        try:
            return last, self._load_from(last)
        except RunError as error:
            for path in before:
                try:
                    state = self._load_from(path)
                except RunError:
                    raise error from None
                warnings.warn(f"{error}; the run goes on from the one before, step {state['step']}", stacklevel=2)
                return path, state
            raise

    def _load_from(self, path: Path) -> dict[str, Any]:
        state = load_checkpoint(path, self.stepper)
        self.keeper.load(state["keeper"])
        return state
