"""In what order rows are drawn, and by what seed each batch is augmented.

Nothing here has a state that must be saved: what a batch holds follows from the seed, the epoch and the batch's
number. An interrupted run goes on with `itertools.islice(sampler, done, None)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

POOL = 50  # batches whose rows are sorted by length together
BLOCKS = 16  # of neighbouring rows, that a window is filled with


@dataclass(frozen=True)
class Draw:
    """One batch to be made.

    Attributes:
        rows: their numbers.
        seed: of whatever is random about it; `None` where nothing is.
        is_late: of the last steps of training, which see no mosaics.
    """

    rows: tuple[int, ...]
    seed: int | None
    is_late: bool = False


class EpochSampler:
    """Shuffled batches of one epoch, for training.

    Every rank gets the same number of batches, none of them empty, and no row is drawn twice in an epoch. Step `b` of
    all ranks together holds the rows that one process would draw as batch `b` with `batch_size * world`. Of the rows
    that are left for the last batch, fewer than `world` cannot be shared out and sit out this epoch.

    With lengths, a batch has rows of about one length: of so many batches (`POOL`) the rows are sorted by length and
    cut into batches again, which come in random order. So little of a batch is padding. Rows of several tables are
    sorted table by table, and each batch has its share of each: tables differ in their tasks, and a step without some
    of them teaches the others at their cost.

    With a window, a table is read nearly as it lies on the disk: blocks of neighbouring rows come in random order, and
    rows are in random order within a window of several blocks (a shuffle buffer, but one that follows from the seed).

    Args:
        rows: row numbers to draw from.
        batch_size: rows per batch and rank.
        seed: the same seed gives the same epochs.
        window: rows that are mixed with each other; `None`: all of them.
        lengths: of every row there is, by its number; `None`: rows of all lengths come together.
        whose: the table of every row there is, by its name; `None`: there is one.
        drop_last: leave out a last batch that is not full, unless it is the only one.
        rank: which of the processes this is.
        world: how many processes there are.

    Raises:
        ValueError: there are fewer rows than processes, or an argument is out of range.

    Example:
        >>> sampler = EpochSampler(range(5), 2, seed=0)
        >>> sampler.set_epoch(3)
        >>> sorted(row for draw in sampler for row in draw.rows)
        [0, 1, 2, 3, 4]
    """

    def __init__(
        self,
        rows: Sequence[int] | np.ndarray,
        batch_size: int,
        *,
        seed: int = 0,
        window: int | None = None,
        lengths: np.ndarray | None = None,
        whose: np.ndarray | None = None,
        drop_last: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        _check_share(batch_size, rank, world)
        if len(rows) < world:
            raise ValueError(f"{len(rows)} rows are too few for {world} processes")
        self.rows = np.asarray(rows)
        self.batch_size, self.seed, self.drop_last = batch_size, seed, drop_last
        self.rank, self.world, self.window, self.lengths, self.whose = rank, world, window, lengths, whose
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose which epoch the next iteration draws."""
        self.epoch = epoch

    def __len__(self) -> int:
        full, left = divmod(len(self.rows), self.batch_size * self.world)
        return full + (left >= self.world and not (self.drop_last and full > 0))

    def __iter__(self) -> Iterator[Draw]:
        rng, size = np.random.default_rng(seeds(self.seed, self.epoch)), self.batch_size * self.world
        order = rng.permutation(self.rows) if self.window is None else by_window(self.rows, self.window, rng)
        if self.lengths is not None:
            whose = np.zeros_like(order) if self.whose is None else self.whose[order]
            order = by_length(order, self.lengths[order], whose, size, rng)
        for step in range(len(self)):
            together = order[step * size : (step + 1) * size]
            mine = np.array_split(together, self.world)[self.rank]
            yield Draw(tuple(mine.tolist()), draw_seed(self.seed, self.epoch, step * self.world + self.rank))


class EveryRowSampler:
    """Every row exactly once over all ranks, in order, for evaluation. A rank may have a batch less than another.

    Args:
        rows: row numbers to go through.
        batch_size: rows per batch.
        rank: which of the processes this is.
        world: how many processes there are.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, rows: Sequence[int] | np.ndarray, batch_size: int, *, rank: int = 0, world: int = 1) -> None:
        _check_share(batch_size, rank, world)
        self.rows = np.asarray(rows)
        self.batch_size, self.rank, self.world = batch_size, rank, world

    def __len__(self) -> int:
        return len(self._numbers())

    def __iter__(self) -> Iterator[Draw]:
        for number in self._numbers():
            mine = self.rows[number * self.batch_size : (number + 1) * self.batch_size]
            yield Draw(tuple(mine.tolist()), None)

    def _numbers(self) -> range:
        num_batches = -(-len(self.rows) // self.batch_size)
        return range(self.rank, num_batches, self.world)


def by_window(rows: np.ndarray, window: int, rng: np.random.Generator) -> np.ndarray:
    """Blocks of neighbouring rows in random order, and so many rows at a time in random order.

    Args:
        rows: row numbers in the order of the table, `[N]`.
        window: rows that are mixed with each other: `BLOCKS` blocks.
        rng: where the draws come from.

    Example:
        >>> order = by_window(np.arange(64), 32, np.random.default_rng(0))
        >>> sorted(order.tolist()) == list(range(64)), len({row // 2 for row in order[:32].tolist()})
        (True, 16)
    """
    size = max(1, window // BLOCKS)
    starts = rng.permutation(np.arange(0, len(rows), size))
    windows = [starts[first : first + BLOCKS] for first in range(0, len(starts), BLOCKS)]
    mixed = [rng.permutation(np.concatenate([rows[s : s + size] for s in some])) for some in windows]
    return np.concatenate([rows[:0], *mixed])


def by_length(
    order: np.ndarray, lengths: np.ndarray, whose: np.ndarray, size: int, rng: np.random.Generator
) -> np.ndarray:
    """Rows in random order → batches of about one length, in random order; what fills no batch stays at the end.

    Args:
        order: row numbers, `[N]`.
        lengths: theirs, `[N]`.
        whose: their tables, `[N]`: of each a batch has about as many rows as there are among all, its short ones
            beside the short ones of others.
        size: rows of a batch.
        rng: where the draws come from.

    Example:
        >>> lengths = np.array([9, 1, 8, 2, 7, 3])
        >>> rows = by_length(np.arange(6), lengths, np.zeros(6), 3, np.random.default_rng(0))
        >>> sorted(sorted(lengths[batch].tolist()) for batch in rows.reshape(2, 3))
        [[1, 2, 3], [7, 8, 9]]
    """
    full = len(order) // size * size
    pools = [slice(start, min(start + POOL * size, full)) for start in range(0, full, POOL * size)]
    near = [order[pool][np.argsort(length_ranks(lengths[pool], whose[pool]), kind="stable")] for pool in pools]
    batches = np.concatenate([order[:0], *near]).reshape(-1, size)
    mixed = rng.permuted(rng.permutation(batches), axis=1)  # ranks share a batch: none has the long rows always
    return np.concatenate([mixed.reshape(-1), order[full:]])


def length_ranks(lengths: np.ndarray, whose: np.ndarray) -> np.ndarray:
    """Where each row stands among those of its table, from the shortest, 0, to the longest, 1.

    Example:
        >>> length_ranks(np.array([9, 1, 300, 20]), np.array([0, 0, 1, 1])).tolist()
        [0.75, 0.25, 0.75, 0.25]
    """
    ranks = np.empty(len(lengths))
    for table in np.unique(whose):
        own = np.flatnonzero(whose == table)
        ranks[own[np.argsort(lengths[own], kind="stable")]] = (np.arange(len(own)) + 0.5) / len(own)
    return ranks


def draw_seed(seed: int, epoch: int, number: int) -> int:
    """A seed for one batch, unrelated to that of any other: 63 bits from `(seed, epoch, number)`."""
    return int(seeds(seed, epoch, number).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seeds(seed: int, *path: int) -> np.random.SeedSequence:
    """A source of randomness for one of many things, unrelated to that of any other."""
    # Not `SeedSequence([seed, *path])`, which takes [7, 1] and [7, 1, 0] for the same.
    return np.random.SeedSequence(seed, spawn_key=path)


def _check_share(batch_size: int, rank: int, world: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    if not 0 <= rank < world:
        raise ValueError(f"rank must be in 0 … {world - 1}, not {rank}")
