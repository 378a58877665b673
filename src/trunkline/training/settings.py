"""What is trained on, how, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from trunkline.data import Sampling
from trunkline.model import TaskScores
from trunkline.schema import RowBatches


@dataclass(frozen=True)
class Rows:
    """Some rows of a source of batches."""

    batches: RowBatches
    rows: np.ndarray

    def labelled(self) -> Rows:
        """Those with a label: the others have nothing to teach, and nothing to be judged by."""
        return Rows(self.batches, self.rows[self.batches.labelled[self.rows].any(1)])

    def at_most(self, count: int, seed: int) -> Rows:
        """So many of them, drawn by the seed alone, in order.

        Half of them see to it that each task has its share of labels, so that one that few rows are labelled for (those
        of a small table) is judged, too; where all rows have all labels, this draws as if nothing were to be seen to.
        """
        if len(self.rows) <= count:
            return self
        order = self.rows[np.random.default_rng(seed).permutation(len(self.rows))]
        flags = self.batches.labelled[order]
        share, taken = count // (2 * flags.shape[1]), np.zeros(len(order), bool)
        for task in np.argsort(flags.sum(0), kind="stable"):
            lacking = max(0, share - int((flags[:, task] & taken).sum()))
            taken[np.flatnonzero(flags[:, task] & ~taken)[:lacking]] = True
        taken[np.flatnonzero(~taken)[: count - int(taken.sum())]] = True
        return Rows(self.batches, np.sort(order[taken]))


@dataclass(frozen=True)
class Joint:
    """How rows of several tables are drawn.

    Attributes:
        sampling: see `table_shares`.
        is_mixed: whether a batch has rows of all of them.
        is_whole: each row comes once an epoch, whichever table it is from.
    """

    sampling: Sampling
    is_mixed: bool
    is_whole: bool


@dataclass(frozen=True)
class Settings:
    """How to train; everything decided.

    Attributes:
        steps: optimiser steps.
        batch_size: rows per step and device.
        accumulate: parts in which the rows of a step go through the network, one after the other.
        lr: peak learning rate of AdamW.
        weight_decay: on matrices, see `decayed`.
        warmup: share of the steps with a rising rate.
        clip: largest norm of the whole gradient; `None` for no limit.
        patience: validations without a better one before the rate falls to zero early; `None`: all steps are taken.
        ema: share of the averaged weights that a step keeps; `None` for no average.
        validations: how often to look at the validation rows on the way.
        validation_rows: how many of them, at most.
        precision: as Lightning names it: `32-true`, `bf16-mixed`, …
        devices: how many on each machine; more than one means data-parallel processes. `auto`: all GPUs there are, or
            one CPU process.
        nodes: machines.
        shard: weights, gradients and what the optimiser keeps are divided among all processes.
        accelerator: as Lightning names it: `auto`, `cpu`, `gpu`, …
        workers: processes that make batches, for each device; 0: the one that trains.
        tensorboard: write curves for TensorBoard too.
        seed: of the order of rows, augmentation and dropout.
        by_length: rows of about one length come together.
        shuffle: rows that are mixed with each other, see `EpochSampler`; `None`: all of them.
        affinity: steps from one look at which task helps which to the next; `None`: nobody looks.
        joint: how rows of several tables are drawn; `None` where there is one table.
    """

    steps: int
    batch_size: int
    accumulate: int
    lr: float
    weight_decay: float
    warmup: float
    clip: float | None
    patience: int | None
    ema: float | None
    validations: int
    validation_rows: int
    precision: Any
    devices: int | Literal["auto"]
    nodes: int
    shard: bool
    accelerator: str
    workers: int
    tensorboard: bool
    seed: int
    by_length: bool
    shuffle: int | None
    affinity: int | None
    joint: Joint | None


@dataclass(frozen=True)
class Validation:
    """A look at the validation rows on the way.

    Attributes:
        step: after which.
        steps: of the run, if nothing ends it early.
        aggregate: of all tasks, from guessing (0) to perfect (1); `None` where it is not defined.
        scores: metrics by task.
    """

    step: int
    steps: int
    aggregate: float | None
    scores: TaskScores


OnValidation = Callable[[Validation], object]  # something true ends the training


@dataclass
class Fitted:
    """What came of it. The network holds its best weights.

    Attributes:
        steps: optimiser steps taken.
        best_step: after which the kept weights stood.
        scores: on the validation rows, with the kept weights; `None` without validation rows.
        seconds: wall time of the loop; of a run that was interrupted that of all parts, up to the checkpoints that were
            gone on from.
        before: what of it lies before the last interruption.
        history: `(step, aggregate, scores)` of each validation.
    """

    steps: int
    best_step: int
    scores: TaskScores | None
    seconds: float
    before: float = 0.0
    history: list[tuple[int, float | None, TaskScores]] = field(default_factory=list)

    @property
    def aggregate(self) -> float | None:
        """Of all tasks on the validation rows, with the kept weights; `None` where it is not defined."""
        return next((score for step, score, _ in self.history if step == self.best_step), None)
