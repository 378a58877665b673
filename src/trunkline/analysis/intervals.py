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
    rng = np.random.default_rng(seed)
    drawn = [score(rng.integers(0, rows, rows)) for _ in range(resamples)]
    return [_interval(pairs, is_higher) for pairs, is_higher in zip(zip(*drawn, strict=True), higher_is_better)]


def _interval(pairs: Sequence[Scored], is_higher: bool) -> Interval | None:
    known = np.array([(ours, theirs) for ours, theirs in pairs if ours is not None and theirs is not None])
    if 2 * len(known) < len(pairs):
        return None
    low, high = np.quantile(known[:, 0], [0.025, 0.975])
    ahead = (known[:, 0] - known[:, 1]) * (1 if is_higher else -1)
    return Interval(float(low), float(high), float((ahead > 0).mean() + (ahead == 0).mean() / 2))
