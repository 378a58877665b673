"""Batches in the order of the run, from any step on."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from trunkline.data import WHOSE, Draw, EpochSampler, JointSampler, draw_seed, table_shares
from trunkline.schema import RowBatches
from trunkline.training.settings import Rows, Settings
from trunkline.types import Batch

LATE = 0.15  # of the steps that see pictures as they will be, without mosaics (Ge et al., "YOLOX", 2021)


def training_batches(
    training: Rows, settings: Settings, *, done: int = 0, rank: int = 0, world: int = 1
) -> Iterator[list[Batch]]:
    """The parts of each step after the first `done`, epoch after epoch, without end."""
    sampler = make_sampler(training, settings, rank=rank, world=world)
    draws = _StepDraws(
        sampler,
        done,
        settings.accumulate,
        late=round((1 - LATE) * settings.steps),
        lengths=training.batches.lengths() if settings.by_length and settings.accumulate > 1 else None,
    )
    return iter(_loader(training.batches, draws, settings))


def make_sampler(training: Rows, settings: Settings, *, rank: int = 0, world: int = 1) -> EpochSampler | JointSampler:
    """Each row once an epoch, in random order, or as several tables are to be drawn.

    Rows of about one length come together in a step, or, where a step has parts, in a part of it: then what a step
    learns from has no length.
    """
    how: dict[str, Any] = {"seed": settings.seed, "rank": rank, "world": world}
    joint = settings.joint
    lengths = training.batches.lengths() if settings.by_length and settings.accumulate == 1 else None
    if joint is None:
        return EpochSampler(training.rows, settings.batch_size, lengths=lengths, window=settings.shuffle, **how)
    whose = np.array(training.batches.table.column(WHOSE))
    if joint.is_whole:
        how["window"] = settings.shuffle
        return EpochSampler(training.rows, settings.batch_size, lengths=lengths, whose=whose, **how)
    names, places = np.unique(whose[training.rows], return_inverse=True)
    shares = table_shares(dict(zip(names.tolist(), np.bincount(places).tolist())), joint.sampling)
    return JointSampler(
        training.rows, places, list(shares.values()), settings.batch_size, is_mixed=joint.is_mixed, **how
    )


def validation_batches(validation: Rows, settings: Settings, *, rank: int = 0, world: int = 1) -> Iterable[list[Batch]]:
    """Every row once over all ranks, one batch at a time; can be gone through again."""
    size = max(256, settings.batch_size) if settings.accumulate == 1 else settings.batch_size // settings.accumulate
    draws = even_draws(validation.rows, max(1, size), rank, world)
    return _loader(validation.batches, [[draw] for draw in draws], settings)


class _StepDraws:
    """The draws of each step. What a batch holds follows from them, so nothing has a state that must be saved."""

    def __init__(
        self, sampler: EpochSampler | JointSampler, done: int, parts: int, late: int, lengths: np.ndarray | None
    ) -> None:
        self.sampler, self.done, self.parts, self.late, self.lengths = sampler, done, parts, late, lengths

    def __iter__(self) -> Iterator[list[Draw]]:
        epoch, skip = divmod(self.done, len(self.sampler))
        for number in itertools.count(epoch):
            self.sampler.set_epoch(number)
            for step, draw in itertools.islice(enumerate(self.sampler), skip if number == epoch else 0, None):
                is_late = number * len(self.sampler) + step >= self.late
                yield split_draw(replace(draw, is_late=is_late), min(self.parts, self._fewest(step)), self.lengths)

    def _fewest(self, step: int) -> int:
        """Rows of the rank that has the fewest in this step of an epoch: all ranks take as many parts."""
        together = self.sampler.batch_size * self.sampler.world
        return min(together, len(self.sampler.rows) - step * together) // self.sampler.world


def split_draw(draw: Draw, parts: int, lengths: np.ndarray | None = None) -> list[Draw]:
    """The rows of one step in so many parts, each with its own seed; with lengths, from the shortest to the longest."""
    if parts == 1:
        return [draw]
    rows = np.asarray(draw.rows)
    if lengths is not None:
        rows = rows[np.argsort(lengths[rows], kind="stable")]
    shares = np.array_split(rows, parts)
    seeds = [None if draw.seed is None else draw_seed(draw.seed, 0, number) for number in range(len(shares))]
    return [Draw(tuple(share.tolist()), seed, draw.is_late) for share, seed in zip(shares, seeds)]


def even_draws(rows: np.ndarray, batch_size: int, rank: int, world: int) -> list[Draw]:
    """Every row once over all ranks, and as many batches on each: they meet in every one, as they do in training.

    Where fewer rows are left than there are ranks, the last batch of some is empty.
    """
    together = batch_size * world
    parts = (np.array_split(rows[i : i + together], world)[rank] for i in range(0, len(rows), together))
    return [Draw(tuple(part.tolist()), None) for part in parts]


def _loader(source: RowBatches, draws: Iterable[list[Draw]], settings: Settings) -> Iterable[list[Batch]]:
    """Batches made by workers, or here where there are none: for small tables a loader costs more than a batch."""
    if settings.workers == 0:
        return _Here(source, draws)
    return DataLoader(
        _Steps(source),
        sampler=draws,
        batch_size=None,
        num_workers=settings.workers,
        persistent_workers=True,
        # Workers share mapped files and tables with this process; other ways to start them would copy these.
        multiprocessing_context="fork" if sys.platform == "linux" else None,
        # Its own generator: else every validation would draw from the one that dropout draws from.
        generator=torch.Generator().manual_seed(settings.seed),
    )


class _Here:
    """Batches made by the process that trains."""

    def __init__(self, source: RowBatches, draws: Iterable[list[Draw]]) -> None:
        self.source, self.draws = source, draws

    def __iter__(self) -> Iterator[list[Batch]]:
        for step in self.draws:
            yield [self.source[draw] for draw in step]


class _Steps(Dataset[list[Batch]]):
    """The same for workers."""

    def __init__(self, source: RowBatches) -> None:
        self.source = source

    def __getitem__(self, draws: list[Draw]) -> list[Batch]:
        return [self.source[draw] for draw in draws]
