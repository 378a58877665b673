"""How far a score could have come out otherwise with other rows of the same kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Scored = tuple[float | None, float | None]  # a score, and that of guessing on the same rows


@dataclass(frozen=True)
class Interval:
    """A 95 % percentile interval.

    Attributes:
        low: end.
        high: end.
        better: share of the resamples in which the score was better than guessing on the same rows; ties count half.
    """

    low: float
    high: float
    better: float


def bootstrap(
    score: Callable[[np.ndarray], Sequence[Scored]],
    rows: int,
    *,
    higher_is_better: Sequence[bool],
    resamples: int = 200,
    seed: int = 0,
) -> list[Interval | None]:
    """Rows drawn anew with replacement, scored each time (Efron and Tibshirani, "An introduction to the bootstrap").

    It says how much the choice of held-out rows matters, not how much another training seed would.

    Args:
        score: row numbers → for each task the score on them and that of guessing; `None` where it is not defined.
        rows: how many there are.
        higher_is_better: of each task's score.
        resamples: how many.
        seed: of the draws.

    Returns:
        One a task; `None` where fewer than half of the resamples have a score.
    """
    drawn = _drawn(score, rows, resamples, seed)
    return [_interval(pairs, is_higher) for pairs, is_higher in zip(drawn, higher_is_better)]


def paired_bootstrap(
    score: Callable[[np.ndarray], Sequence[Scored]],
    rows: int,
    *,
    miss: float = 0.05,
    resamples: int = 200,
    seed: int = 0,
) -> list[tuple[float, float] | None]:
    """The same of the difference of two scores, taken in each resample: both are of the same rows.

    Args:
        score: row numbers → for each task the two scores on them; `None` where one is not defined.
        rows: how many there are.
        miss: how often the interval may miss; of several that the best is picked of, a share each (Bonferroni).
        resamples: how many.
        seed: of the draws.

    Returns:
        One a task, the ends of a percentile interval of first − second; `None` where fewer than half of the resamples
        have both.
    """
    return [_ends(_known(pairs), len(pairs), miss) for pairs in _drawn(score, rows, resamples, seed)]


def _drawn(
    score: Callable[[np.ndarray], Sequence[Scored]], rows: int, resamples: int, seed: int
) -> list[tuple[Scored, ...]]:
    """By task, its scores on each resample."""
    rng = np.random.default_rng(seed)
    return list(zip(*(score(rng.integers(0, rows, rows)) for _ in range(resamples)), strict=True))


def _known(pairs: Sequence[Scored]) -> np.ndarray:
    """Those of which both are defined, `[K, 2]`."""
    known = [(ours, theirs) for ours, theirs in pairs if ours is not None and theirs is not None]
    return np.array(known).reshape(-1, 2)


def _ends(known: np.ndarray, resamples: int, miss: float) -> tuple[float, float] | None:
    if 2 * len(known) < resamples:
        return None
    low, high = np.quantile(known[:, 0] - known[:, 1], [miss / 2, 1 - miss / 2])
    return float(low), float(high)


def _interval(pairs: Sequence[Scored], is_higher: bool) -> Interval | None:
    known = _known(pairs)
    if 2 * len(known) < len(pairs):
        return None
    low, high = np.quantile(known[:, 0], [0.025, 0.975])
    ahead = (known[:, 0] - known[:, 1]) * (1 if is_higher else -1)
    return Interval(float(low), float(high), float((ahead > 0).mean() + (ahead == 0).mean() / 2))
