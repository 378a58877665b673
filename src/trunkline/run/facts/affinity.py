"""Which task's steps helped which, over a run."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np

from trunkline.analysis import Helping, groupings, helping
from trunkline.run.facts.subject import Subject

NETWORKS = 5  # that the tasks are split into, at most


def affinity_facts(subject: Subject) -> dict[str, Any]:
    """From the looks that `training.affinity` asked for; nothing where it asked for none.

    Schema: `tasks`; `looks`, how many there were; `affinity [[{mean, low, high, is_clear}]]` of rows for columns, as
    shares of the loss a step (`null` where two were never there together), and `slope`, the same to first order;
    `agreement`, the correlation of the two over pairs of tasks (`null` for fewer than three); `groupings [{groups
    [[task]], score}]`, the best for one network, for two, …; what is not clear counts for nothing in them.
    """
    lines = (subject.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    looks = [line["affinity"] for line in map(json.loads, lines) if "affinity" in line]
    if not looks:
        return {}
    tasks = subject.preprocessing.tasks
    ahead, slope = (helping([look[kind] for look in looks], tasks) for kind in ("ahead", "slope"))
    found = groupings(tasks, means(ahead, only_clear=True), NETWORKS)
    return {
        "tasks": list(tasks),
        "looks": len(looks),
        "affinity": plain(ahead),
        "slope": plain(slope),
        "agreement": agreement(means(ahead), means(slope)),
        "groupings": [{"groups": [list(group) for group in one.groups], "score": one.score} for one in found],
    }


def plain(table: list[list[Helping]]) -> list[list[dict[str, Any]]]:
    """As the file has it."""
    return [[{**asdict(one), "is_clear": one.is_clear} for one in row] for row in table]


def means(table: list[list[Helping]], *, only_clear: bool = False) -> np.ndarray:
    """`[T, T]`, NaN where two tasks were never there together, or cannot be told from 0."""
    return np.array([[np.nan if h.mean is None or only_clear > h.is_clear else h.mean for h in row] for row in table])


def agreement(one: np.ndarray, other: np.ndarray) -> float | None:
    """Pearson's correlation over pairs of different tasks, `None` where it is not defined."""
    pairs = ~np.eye(len(one), dtype=bool) & np.isfinite(one) & np.isfinite(other)
    if pairs.sum() < 3 or np.ptp(one[pairs]) == 0 or np.ptp(other[pairs]) == 0:
        return None
    return float(np.corrcoef(one[pairs], other[pairs])[0, 1])
