"""Several runs in one table: primary metrics, and where their settings differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trunkline.report import words
from trunkline.report.files import RunFiles
from trunkline.report.verdicts import verdicts

DIFFERENCES = 40


def side_by_side(runs: Sequence[RunFiles]) -> dict[str, Any]:
    """Rows of tasks, a column a run; the best of each row marked. Runs with other test rows are not comparable."""
    told = [{v.task: v for v in verdicts(run)} for run in runs]
    tasks = list(dict.fromkeys(task for one in told for task in one))
    rows = []
    for task in tasks:
        found = [one.get(task) for one in told]
        first = next(v for v in found if v is not None)
        gains = [None if v is None else v.gain for v in found]
        known = [g for g in gains if g is not None]
        best = max(known) if len(known) > 1 else None
        rows.append(
            {
                "task": task,
                "metric": first.metric,
                "majority": first.majority,
                "cells": [(v, best is not None and g == best) for v, g in zip(found, gains)],
            }
        )
    return {
        "rows": rows,
        "runs": [{"name": run.name, "metrics": run.metrics} for run in runs],
        "differences": _differences(runs),
        "same_rows": len({str(sorted((run.metrics.get("tables") or {}).values())) for run in runs}) == 1,
    }


def _differences(runs: Sequence[RunFiles]) -> list[tuple[str, list[Any]]]:
    """Settings of the resolved configs that are not the same in all runs."""
    configs = [words.flat(run.settings) for run in runs]
    keys = dict.fromkeys(key for config in configs for key in config)
    rows = [(key, [config.get(key, "–") for config in configs]) for key in keys]
    return [(key, values) for key, values in rows if len(set(map(str, values))) > 1][:DIFFERENCES]
