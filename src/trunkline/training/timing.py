"""How long a step takes here and now, and a look at a validation row: on copies that are thrown away."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from lightning.fabric import Fabric

from trunkline.engine import Engine
from trunkline.model import Network
from trunkline.training.judge import Judge
from trunkline.training.loaders import training_batches
from trunkline.training.loop import make_fabric
from trunkline.training.processes import from_first_process, have_met
from trunkline.training.settings import Rows, Settings
from trunkline.training.stepper import Stepper
from trunkline.types import Batch

WARM_UP, FEWEST, MOST = 2, 6, 15  # steps that do not count, and all steps
SECONDS, PATIENCE = 3.0, 15.0  # about how long they may take, and how long the fewest may
FEW, MANY, QUICK = 32, 512, 0.5  # validation rows looked at first; and then, where those took less than so many seconds


@dataclass(frozen=True)
class Pace:
    """Seconds on this machine.

    Attributes:
        step: of one step, its batch made of cells that were read before.
        reading: of reading the cells of one batch for the first time.
        row: of looking at one validation row.
    """

    step: float
    reading: float
    row: float


def measure_pace(network: Network, engine: Engine, training: Rows, validation: Rows | None, settings: Settings) -> Pace:
    """Take a few steps of the run with copies of the network and of the engine, which themselves stay untouched.

    Random numbers go on as if nothing had happened.
    """
    settings = replace(settings, devices=1, nodes=1, workers=0, shard=False)
    fabric = make_fabric(settings)
    with torch.random.fork_rng([fabric.device] if fabric.device.type == "cuda" else []):
        network, engine = copy.deepcopy((network, engine))
        stepper = Stepper(fabric, network, engine, settings)
        network.train()
        first = _timed(fabric, stepper, training_batches(training.labelled(), settings))
        again = _timed(fabric, stepper, training_batches(training.labelled(), settings), len(first))  # the same rows
        row = 0.0 if validation is None else _row(fabric, network, validation.labelled(), settings)
    step = _usual(again)
    return Pace(step=step, reading=max(0.0, _usual(first) - step), row=row)


def _timed(fabric: Fabric, stepper: Stepper, batches: Iterator[list[Batch]], steps: int | None = None) -> list[float]:
    """Seconds of so many steps; of a few, where nothing is said."""
    times: list[float] = []
    if steps is None and have_met():  # then all take as many steps
        steps = MOST
    while len(times) < steps if steps is not None else _has_time(times):
        start = time.perf_counter()
        stepper.step(next(batches), 1e-3)
        _wait(fabric)
        times.append(time.perf_counter() - start)
    return times


def _has_time(times: Sequence[float]) -> bool:
    """Whether one more is to be taken."""
    spent = sum(times)
    return len(times) < MOST and (spent < SECONDS or (len(times) < FEWEST and spent < PATIENCE))


def _usual(times: Sequence[float]) -> float:
    """The median of those that count."""
    return statistics.median(times[min(WARM_UP, len(times) - 1) :])


def _row(fabric: Fabric, network: Network, validation: Rows, settings: Settings) -> float:
    """Seconds a row in a second look, when cells have been read and layers are warm."""
    seconds = 0.0
    for count in (FEW, MANY):
        rows = validation.at_most(count, settings.seed)
        if len(rows.rows) == 0:
            return 0.0
        judge = Judge(fabric, network, rows, settings)
        judge.look()
        start = time.perf_counter()
        judge.look()
        _wait(fabric)
        spent = from_first_process(time.perf_counter() - start)
        seconds = spent / len(rows.rows)
        if spent > QUICK or len(rows.rows) < count:
            break
    return seconds


def _wait(fabric: Fabric) -> None:
    if fabric.device.type == "cuda":
        torch.cuda.synchronize(fabric.device)
