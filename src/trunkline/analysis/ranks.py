"""Mean rank: how models stand among each other when every score only says who is ahead (Navon et al. 2022, "MR")."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

Means = Mapping[str, Mapping[str, float | None]]  # by task and metric


def mean_ranks(scores: Mapping[str, Means], lower: Mapping[str, Collection[str]]) -> dict[str, dict[str, float | None]]:
    """Each model's mean rank; 1 is the best at everything. Those that are equal share the mean of their places.

    Args:
        scores: by model.
        lower: by task, the metrics of which less is better.

    Returns:
        By model, over all metrics (`per_metric`) and with every task counting the same (`per_task`). A metric that some
        model lacks ranks nobody; `None` where none is left.
    """
    names = list(scores)
    ranks: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    for task, metrics in next(iter(scores.values())).items():
        for metric in metrics:
            found = [scores[name].get(task, {}).get(metric) for name in names]
            values = [value for value in found if value is not None and math.isfinite(value)]
            if len(values) == len(names):
                for name, rank in zip(names, _ranks(values, metric in lower[task])):
                    ranks[name].setdefault(task, []).append(rank)
    return {
        name: {
            "per_metric": _mean([rank for own in by_task.values() for rank in own]),
            "per_task": _mean([sum(own) / len(own) for own in by_task.values()]),
        }
        for name, by_task in ranks.items()
    }


def _ranks(values: list[float], is_lower: bool) -> list[float]:
    ahead = [sum((other < value) if is_lower else (other > value) for other in values) for value in values]
    return [place + (1 + values.count(value)) / 2 for place, value in zip(ahead, values)]


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
