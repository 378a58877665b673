"""Pairs of runs that share a seed: mean, spread, and what their differences allow to say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

Verdict = Literal["better", "worse", "no difference seen", "one seed"]


def mean_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; of one value there is no deviation."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))


def interval(values: Sequence[float], confidence: float) -> tuple[float, float] | None:
    """Student's interval for the mean of normally distributed values; `None` for fewer than two.

    With pairs, the values are the pairs' differences.
    """
    mean, std = mean_std(values)
    if std is None:
        return None
    reach = student_quantile(0.5 + confidence / 2, len(values) - 1) * std / math.sqrt(len(values))
    return mean - reach, mean + reach


def verdict(between: tuple[float, float] | None, *, lower_is_better: bool) -> Verdict:
    """What an interval of differences (ours − theirs) says."""
    if between is None:
        return "one seed"
    low, high = between
    if low <= 0 <= high:
        return "no difference seen"
    return "better" if (high < 0) == lower_is_better else "worse"


def summary(values: Sequence[float | None], *, lower_is_better: bool, confidence: float) -> dict[str, Any] | None:
    """Of differences, one a seed: `{"values", "mean", "std", "low", "high", "verdict"}`; `None` without any.

    A seed whose difference is not defined is left out of everything but `values`.
    """
    known = [value for value in values if value is not None]
    if not known:
        return None
    mean, std = mean_std(known)
    between = interval(known, confidence)
    low, high = between or (None, None)
    said = verdict(between, lower_is_better=lower_is_better)
    return {"values": list(values), "mean": mean, "std": std, "low": low, "high": high, "verdict": said}


def student_quantile(probability: float, freedom: int) -> float:
    """The value that Student's t with `freedom` degrees stays below with this probability (of 0.5 or more).

    By bisection of the closed form for whole degrees of freedom (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4).
    """
    low, high = 0.0, 1.0
    while _student_below(high, freedom) < probability:
        high *= 2
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _student_below(middle, freedom) < probability else (low, middle)
    return high


def _student_below(t: float, freedom: int) -> float:
    """`P(T < t)` for `t ≥ 0`."""
    angle = math.atan2(t, math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    is_odd = freedom % 2 == 1
    term, total = (cosine, 0.0) if is_odd else (1.0, 0.0)
    for k in range(1 if is_odd else 0, freedom - 1, 2):  # powers of the cosine: 1, 3, … or 0, 2, …
        total += term
        term *= cosine**2 * (k + 1) / (k + 2)
    within = 2 / math.pi * (angle + sine * total) if is_odd else sine * total
    return 0.5 + within / 2
