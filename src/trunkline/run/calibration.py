"""How far probabilities can be believed: figures for `metrics.json`, bins for the report."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from trunkline.analysis import Bin, calibration_error, reliability
from trunkline.data import Split
from trunkline.plan import Plan
from trunkline.predictor import Predictor
from trunkline.tasks.calibration import Judgement

VERSION = 1


def settle(plan: Plan, predictor: Predictor) -> Mapping[str, Mapping[str, str]]:
    """Temperatures and thresholds from the validation rows; tells where a threshold that was asked for is not set."""
    split = plan.splits.validation
    if split is None:
        return {}
    skipped = predictor.settle(plan.source(split), split.rows.tolist())
    for task, why in skipped.items():
        if "threshold" in why:
            warnings.warn(f"tasks.{task}.threshold: stays at 0.5: {why['threshold']}", stacklevel=2)
    return skipped


def calibration(plan: Plan, predictor: Predictor, skipped: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """What `report/calibration.json` says, on the test rows, or on the validation rows without any.

    Returns:
        `{"version", "tasks": {name: {"temperature", "skipped", "nll_before", "nll_after", "ece_before", "ece_after",
        "bins", "split"}}}`; `temperature` is `None` where none was fitted, `skipped` then says why where it was tried.
    """
    name = "test" if plan.splits.test is not None else "validation"
    split: Split | None = plan.splits.test or plan.splits.validation
    if split is None:
        return {"version": VERSION, "tasks": {}}
    tasks = {}
    for task, (before, after) in predictor.judge(plan.source(split), split.rows.tolist()).items():
        bins = _bins(after)
        tasks[task] = {
            "temperature": predictor.preprocessing.states["tasks"][task].get("temperature"),
            "skipped": skipped.get(task, {}).get("temperature"),
            "nll_before": before.nll,
            "nll_after": after.nll,
            "ece_before": calibration_error(_bins(before)),
            "ece_after": calibration_error(bins),
            "bins": [asdict(b) for b in bins],
            "split": name,
        }
    return {"version": VERSION, "tasks": tasks}


def _bins(judged: Judgement) -> list[Bin]:
    return reliability(judged.confidence.tolist(), judged.right.double().tolist())


def figures(found: Mapping[str, Any]) -> dict[str, Any]:
    """The same without bins, by task, for `metrics.json`."""
    return {task: {k: v for k, v in said.items() if k != "bins"} for task, said in found["tasks"].items()}
