"""In what order rows of several tables are drawn: how often which table's, and which tables' in one batch.

Shape legend: `N` rows, `K` tables.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from trunkline.data.sampling import Draw, draw_seed, seeds

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
    """Whole numbers that sum to `total` and follow these shares of it, none of them less for a greater total.

    Webster's method: the `n`-th of a table comes at `(n − ½) / share`, and the first `total` are taken; so what lies
    between two totals is theirs alone, and in the long run every share is exact.

    Example:
        >>> apportion(10, [0.55, 0.25, 0.2]).tolist()
        [6, 2, 2]
    """
    wanted = [(place, share) for place, share in enumerate(shares) if share > 0]
    counts = np.zeros(len(shares), dtype=np.int64)
    for place, share in wanted:
        counts[place] = math.floor(total * share + 0.5)
    while True:  # few rounds: the counts are next to what they are to be
        following = min(((counts[place] + 0.5) / share, place) for place, share in wanted)
        last = max(((counts[place] - 0.5) / share, place) for place, share in wanted)
        short = total - int(counts.sum())
        if short > 0 or (short == 0 and following < last):
            counts[following[1]] += 1
        if short < 0 or (short == 0 and following < last):
            counts[last[1]] -= 1
        if short == 0 and following >= last:
            return counts


class JointSampler:
    """Batches of one epoch of several tables, for training.

    An epoch is as many full batches as all rows together fill. Which table a draw (a batch, where each is of one table)
    is from follows its share, evenly over the epoch, and what an epoch is too short for, over the epochs; the rows of a
    table are drawn in random order, each once before any comes again, from one epoch on into the next. Every rank gets
    the same number of batches, and step `b` of all ranks together holds what one process would draw with
    `batch_size * world`.

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
        rng = np.random.default_rng(seeds(self.seed, self.epoch))
        before, after = (self._drawn(epoch) for epoch in (self.epoch, self.epoch + 1))
        order = self._mixed(after - before, rng) if self.is_mixed else self._one_each(after - before, rng)
        drawn = np.empty(len(order), dtype=np.int64)
        for place, (start, stop) in enumerate(zip(before.tolist(), after.tolist())):
            if stop > start:
                drawn[order == place] = self._stream(place, start, stop - start)
        for step in range(len(self)):
            mine = np.array_split(drawn[step * self.size : (step + 1) * self.size], self.world)[self.rank]
            yield Draw(tuple(mine.tolist()), draw_seed(self.seed, self.epoch, step * self.world + self.rank))

    def _drawn(self, epochs: int) -> np.ndarray:
        """Rows of each table that so many epochs draw, `[K]`."""
        once, times = (1, self.size) if self.is_mixed else (self.size, 1)
        return once * apportion(epochs * len(self) * times, self.shares)

    def _mixed(self, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The table of each draw of the epoch: each table's draws lie evenly among the others'."""
        places = np.repeat(np.arange(len(counts)), counts)
        when = np.concatenate([(np.arange(n) + rng.random()) / max(n, 1) for n in counts.tolist()])
        return places[np.argsort(when, kind="stable")]

    def _one_each(self, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The same with whole batches in random order."""
        return np.repeat(rng.permutation(np.repeat(np.arange(len(counts)), counts // self.size)), self.size)

    def _stream(self, place: int, start: int, count: int) -> np.ndarray:
        """Draws `start` to `start + count` of one table: one random order of its rows after the other."""
        rows, (first, skip) = self.tables[place], divmod(start, len(self.tables[place]))
        rounds = range(first, first - (-(skip + count) // len(rows)))
        orders = [np.random.default_rng(seeds(self.seed, place, number)).permutation(rows) for number in rounds]
        return np.concatenate(orders)[skip : skip + count]
