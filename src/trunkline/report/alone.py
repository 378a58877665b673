"""For each task the input that does best alone, beside all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trunkline.report.files import RunFiles
from trunkline.report.verdicts import gain_of


def best_alone(run: RunFiles) -> list[dict[str, Any]]:
    """What all inputs together add to the best one, on the rows that have it.

    Returns:
        By task in order `{task, input, rows, alone, together, difference, low, high, sign}`; see `sign_of`.
    """
    ranked: dict[str, list[tuple[float, Mapping[str, Any], Mapping[str, Any]]]] = {}
    for one in run.facts["absence"].get("alone", ()):
        for task, told in one["tasks"].items():
            gain = gain_of(told["alone"], _guessed(run, task), run.tasks[task]["best"])
            if gain is not None and told["together"] is not None:
                ranked.setdefault(task, []).append((gain, one, told))
    found = []
    for task in (task for task in run.tasks if task in ranked):
        _, one, told = max(ranked[task], key=lambda each: each[0])
        sign = sign_of(told, is_error=run.tasks[task]["lower_is_better"])
        difference = told["together"] - told["alone"]
        found.append({"task": task, "input": one["input"], **told, "difference": difference, "sign": sign})
    return found


def _guessed(run: RunFiles, task: str) -> float | None:
    return (run.majority.get(task) or {}).get(run.tasks[task]["metric"])


def sign_of(told: Mapping[str, Any], *, is_error: bool) -> int:
    """1 where all together are surely better, −1 where they are surely worse, 0 where no difference is seen."""
    if told["low"] is None or told["low"] <= 0 <= told["high"]:
        return 0
    return -1 if (told["low"] > 0) == is_error else 1
