"""Δm: how much worse than its single-task twins a multi-task model is, in percent; negative is better.

Maninis, Radosavovic, Kokkinos, CVPR 2019, eq. 4, with the sign that the papers on balancers print (Liu et al. 2021,
Navon et al. 2022): `Δm = 100/K Σₖ (−1)^{δₖ} (Mₖ − Bₖ) / Bₖ`, `δₖ = 1` where a higher metric is better.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def relative_change(ours: float, theirs: float, *, lower_is_better: bool) -> float | None:
    """One term of Δm in percent, negative where ours is better; `None` where theirs is 0.

    The division is by the size of theirs: scores such as R² may be negative.
    """
    if theirs == 0:
        return None
    change = 100 * (ours - theirs) / abs(theirs)
    return change if lower_is_better else -change


def delta_m(changes: Mapping[str, Mapping[str, float | None]]) -> float | None:
    """The mean over all metrics of all tasks, as the field has it: a task with many metrics counts often.

    Args:
        changes: relative changes by task and metric; what is `None` is left out.

    Returns:
        `None` when nothing is left.
    """
    return _mean(change for task in changes.values() for change in task.values())


def mean_over_tasks(changes: Mapping[str, Mapping[str, float | None]]) -> float | None:
    """The mean over tasks of each task's mean over its metrics: every task counts the same."""
    return _mean(_mean(task.values()) for task in changes.values())


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
