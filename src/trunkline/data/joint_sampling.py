"""In what order rows of several tables are drawn: how often which table's, and which tables' in one batch.

Shape legend: `N` rows, `K` tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from trunkline.data.sampling import Draw, draw_seed

Sampling = Literal["proportional", "equal"] | float | Mapping[str, float]


def table_shares(counts: Mapping[str, int], sampling: Sampling) -> dict[str, float]:
    """How much of all that is drawn is from which table; a table without rows has no part.

    Args:
        counts: rows of each.
        sampling: `proportional` to rows; `equal`; a temperature τ: proportional to the (1/τ)-th power of rows
            (Devlin et al., "Multilingual BERT", 2018; Arivazhagan et al., "Massively multilingual neural machine
            translation in the wild", 2019, section 4.2); or weights.

    Example:
        >>> table_shares({"a": 900, "b": 100}, 2.0)
        {'a': 0.75, 'b': 0.25}
    """
    if sampling == "equal":
        weights = {name: float(rows > 0) for name, rows in counts.items()}
    elif isinstance(sampling, Mapping):
        weights = {name: sampling[name] if rows > 0 else 0.0 for name, rows in counts.items()}
    else:
        power = 1.0 if isinstance(sampling, str) else 1 / sampling
        weights = {name: rows**power if rows > 0 else 0.0 for name, rows in counts.items()}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def apportion(total: int, shares: Sequence[float] | np.ndarray) -> np.ndarray:
    """Whole numbers that sum to `total` and are nearest to these shares of it (largest remainders).

    Example:
        >>> apportion(10, [0.55, 0.25, 0.2]).tolist()
        [6, 2, 2]
    """
    exact = total * np.asarray(shares, dtype=np.float64)
    whole = np.floor(exact + 1e-9).astype(np.int64)
    by_rest = np.argsort(-(exact - whole), kind="stable")
    whole[by_rest[: total - int(whole.sum())]] += 1
    return whole


class JointSampler:
    """Batches of one epoch of several tables, for training.

    An epoch is as many full batches as all rows together fill. Which table a draw is from follows its share, evenly
    over the epoch; the rows of a table are drawn in random order, each once before any comes again, from one epoch on
    into the next. Every rank gets the same number of batches, and step `b` of all ranks together holds what one process
    would draw with `batch_size * world`.

    Args:
        rows: row numbers to draw from, `[N]`.
        whose: the table of each, as its place in `shares`, `[N]`.
        shares: of each table, `[K]`; they sum to 1.
        batch_size: rows per batch and rank.
        is_mixed: a batch has rows of all tables by their shares; else each is of one table.
        seed: the same seed gives the same epochs.
        rank: which of the processes this is.
        world: how many processes there are.

    Raises:
        ValueError: there are fewer rows than processes.
    """

    def __init__(
        self,
        rows: np.ndarray,
        whose: np.ndarray,
        shares: Sequence[float],
        batch_size: int,
        *,
        is_mixed: bool = True,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if len(rows) < world:
            raise ValueError(f"{len(rows)} rows are too few for {world} processes")
        self.rows, self.shares = np.asarray(rows), tuple(shares)
        self.tables = [self.rows[np.asarray(whose) == place] for place in range(len(shares))]
        self.batch_size, self.is_mixed, self.seed, self.rank, self.world = batch_size, is_mixed, seed, rank, world
        self.size = min(batch_size * world, len(self.rows))  # of a step
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose which epoch the next iteration draws."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.rows) // self.size

    def __iter__(self) -> Iterator[Draw]:
        rng = np.random.default_rng([self.seed, self.epoch, len(self.tables)])
        order = self._mixed(rng) if self.is_mixed else self._one_each(rng)
        counts = np.bincount(order, minlength=len(self.tables))
        drawn = np.empty(len(order), dtype=np.int64)
        for place, count in enumerate(counts.tolist()):
            if count:
                drawn[order == place] = self._stream(place, self.epoch * count, count)
        for step in range(len(self)):
            mine = np.array_split(drawn[step * self.size : (step + 1) * self.size], self.world)[self.rank]
            yield Draw(tuple(mine.tolist()), draw_seed(self.seed, self.epoch, step * self.world + self.rank))

    def _mixed(self, rng: np.random.Generator) -> np.ndarray:
        """The table of each draw of the epoch: each table's draws lie evenly among the others'."""
        counts = apportion(len(self) * self.size, self.shares)
        places = np.repeat(np.arange(len(counts)), counts)
        when = np.concatenate([(np.arange(n) + rng.random()) / max(n, 1) for n in counts.tolist()])
        return places[np.argsort(when, kind="stable")]

    def _one_each(self, rng: np.random.Generator) -> np.ndarray:
        """The same with whole batches in random order; of each table at least one, where there are enough."""
        steps, wanted = len(self), np.asarray(self.shares) > 0
        counts = wanted.astype(np.int64) if steps >= wanted.sum() else np.zeros(len(wanted), dtype=np.int64)
        counts = counts + apportion(steps - int(counts.sum()), self._rest(steps, counts))
        return np.repeat(rng.permutation(np.repeat(np.arange(len(counts)), counts)), self.size)

    def _rest(self, steps: int, given: np.ndarray) -> np.ndarray:
        """What is left of the shares when each table has these batches."""
        left = (steps * np.asarray(self.shares) - given).clip(min=0)
        return left / left.sum() if left.sum() > 0 else np.asarray(self.shares)

    def _stream(self, place: int, start: int, count: int) -> np.ndarray:
        """Draws `start` to `start + count` of one table: one random order of its rows after the other."""
        rows, (first, skip) = self.tables[place], divmod(start, len(self.tables[place]))
        rounds = range(first, first - (-(skip + count) // len(rows)))
        orders = [np.random.default_rng([self.seed, place, number, 1]).permutation(rows) for number in rounds]
        return np.concatenate(orders)[skip : skip + count]
