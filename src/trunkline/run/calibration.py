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
    skipped = {} if split is None else predictor.settle(plan.taught(split), split.rows.tolist())
    none = "there are no validation rows" if split is None else "no validation row has a label"
    for task, column in ((name, plan.config.tasks[name]) for name in plan.learning):
        why = skipped.get(task, {}).get("threshold")
        if column.options.get("threshold") == "best_f1" and not _has_threshold(predictor, task):
            why = why or none
        if why is not None:
            warnings.warn(f"tasks.{task}.threshold: stays at 0.5: {why}", stacklevel=2)
        if (
            column.options.get("unknown") is not None
            and "least_logit" not in predictor.preprocessing.states["tasks"][task]
        ):
            why = skipped.get(task, {}).get("least_logit", none)
            warnings.warn(f"tasks.{task}.unknown: is never said: {why}", stacklevel=2)
    return skipped


def _has_threshold(predictor: Predictor, task: str) -> bool:
    return not {"threshold", "thresholds"}.isdisjoint(predictor.preprocessing.states["tasks"][task])


def calibration(plan: Plan, predictor: Predictor, skipped: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """What `report/calibration.json` says, on the test rows, or on the validation rows without any.

    Returns:
        `{"version", "tasks": {name: {"temperature", "skipped", "nll_before", "nll_after", "ece_before", "ece_after",
        "bins", "split", "fitted_on_these_rows"}}}`; `temperature` is `None` where none was fitted, `skipped` then says
        why where it was tried; `fitted_on_these_rows`: a temperature or threshold was found on the rows that judge it.
    """
    name = "test" if plan.splits.test is not None else "validation"
    split: Split | None = plan.splits.test or plan.splits.validation
    if split is None:
        return {"version": VERSION, "tasks": {}}
    tasks = {}
    states = predictor.preprocessing.states["tasks"]
    for task, (before, after) in predictor.judge(plan.source(split), split.rows.tolist()).items():
        bins = _bins(after)
        kind = predictor.preprocessing.schema.tasks[task].task
        tasks[task] = {
            "temperature": states[task].get("temperature"),
            "skipped": skipped.get(task, {}).get("temperature"),
            "nll_before": before.nll,
            "nll_after": after.nll,
            "ece_before": calibration_error(_bins(before)),
            "ece_after": calibration_error(bins),
            "bins": [asdict(b) for b in bins],
            "split": name,
            "fitted_on_these_rows": name == "validation" and kind.before_settling(states[task]) != states[task],
        }
    return {"version": VERSION, "tasks": tasks}


def _bins(judged: Judgement) -> list[Bin]:
    return reliability(judged.confidence.tolist(), judged.right.double().tolist())


def figures(found: Mapping[str, Any]) -> dict[str, Any]:
    """The same without bins, by task, for `metrics.json`."""
    return {task: {k: v for k, v in said.items() if k != "bins"} for task, said in found["tasks"].items()}
