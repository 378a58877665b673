"""Scores of one model and of its single-task twins, seed by seed → what the difference is and what it says."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from trunkline.analysis.delta import delta_m, mean_over_tasks, relative_change
from trunkline.analysis.paired import summary

Scores = Mapping[str, Mapping[str, float | None]]  # of one seed, by task and metric
NOT_RATIOS = ("r2", "quadratic_kappa")  # 0 is no skill, not nothing: a percentage of them says nothing


def compare_scores(
    ours: Sequence[Scores], theirs: Sequence[Scores], lower: Mapping[str, Collection[str]], *, confidence: float
) -> dict[str, Any]:
    """How one model differs from others, over pairs of runs that share a seed.

    Args:
        ours: of each seed.
        theirs: of each seed, in the same order.
        lower: by task, the metrics of which less is better.
        confidence: of the intervals.

    Returns:
        `differences`: by task and metric, of ours − theirs, see `summary`, and `percent`, the mean relative change
        (negative is better; `None` for scores that are no ratios). `delta_m`: in percent, negative is better, over
        all metrics (`per_metric`) and with every task counting the same (`per_task`). `None` where nothing is defined.
    """
    changes = [_changes(a, b, lower) for a, b in zip(ours, theirs, strict=True)]
    return {
        "differences": {
            task: {
                metric: _difference(ours, theirs, changes, task, metric, metric in lower[task], confidence)
                for metric in metrics_of(theirs, task)
            }
            for task in theirs[0]
        },
        "delta_m": {
            name: summary([mean(one) for one in changes], lower_is_better=True, confidence=confidence)
            for name, mean in (("per_metric", delta_m), ("per_task", mean_over_tasks))
        },
    }


def metrics_of(scores: Sequence[Scores], task: str) -> list[str]:
    """The metrics that some seed has for a task, in order; a seed whose rows have no label of it has none."""
    return list(dict.fromkeys(metric for one in scores for metric in one[task]))


def _changes(ours: Scores, theirs: Scores, lower: Mapping[str, Collection[str]]) -> dict[str, dict[str, float | None]]:
    """Relative changes of one seed, by task and metric."""
    return {
        task: {
            metric: relative_change(value, other, lower_is_better=metric in lower[task])
            for metric, other in metrics.items()
            if metric not in NOT_RATIOS and other is not None and (value := ours[task].get(metric)) is not None
        }
        for task, metrics in theirs.items()
    }


def _difference(
    ours: Sequence[Scores],
    theirs: Sequence[Scores],
    changes: Sequence[Mapping[str, Mapping[str, float | None]]],
    task: str,
    metric: str,
    is_lower: bool,
    confidence: float,
) -> dict[str, Any] | None:
    pairs = [(a[task].get(metric), b[task].get(metric)) for a, b in zip(ours, theirs)]
    differences = [None if a is None or b is None else a - b for a, b in pairs]
    said = summary(differences, lower_is_better=is_lower, confidence=confidence)
    percent = [c for seed in changes if (c := seed[task].get(metric)) is not None]
    return None if said is None else {**said, "percent": sum(percent) / len(percent) if percent else None}
