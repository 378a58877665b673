"""Scores of parts of the held-out rows, told apart by the values of columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trunkline.report import words
from trunkline.report.files import RunFiles
from trunkline.report.verdicts import gain_of

FEW = 20  # labelled rows, under which a score is told but not compared
TASKS = 12  # that have a column


def slices(run: RunFiles) -> dict[str, Any] | None:
    """A table a column: its parts below each other, and how far each task comes from guessing to perfect there."""
    told = run.metrics.get("slices")
    if not told:
        return None
    return {"split": run.judged, "few": FEW, "columns": [_column(run, name, parts) for name, parts in told.items()]}


def _column(run: RunFiles, name: str, parts: Mapping[str, Any]) -> dict[str, Any]:
    tasks = [task for task in run.scores if any(part["labels"][task] for part in parts.values())]
    metrics = {task: run.tasks[task]["metric"] for task in tasks}
    whole = _row(run, "all rows", None, {task: run.scores[task] for task in tasks}, metrics, {})
    rows = [_row(run, part, one["rows"], one["scores"], metrics, one["labels"]) for part, one in parts.items()]
    return {
        "name": name,
        "tasks": tasks[:TASKS],
        "more": max(0, len(tasks) - TASKS),
        "metrics": metrics,
        "whole": whole,
        "rows": rows,
        "worst": [said for task in tasks[:TASKS] if (said := _worst(run, task, metrics[task], parts))],
    }


def _row(
    run: RunFiles,
    name: str,
    rows: int | None,
    scores: Mapping[str, Any],
    metrics: Mapping[str, Any],
    labels: Mapping[str, int],
) -> dict[str, Any]:
    cells = []
    for task in list(metrics)[:TASKS]:
        value = (scores[task] or {}).get(metrics[task])
        guessed = (run.majority.get(task) or {}).get(metrics[task])
        gain = gain_of(value, guessed, run.tasks[task]["best"])
        few = rows is not None and 0 < labels.get(task, 0) < FEW
        cells.append({"score": value, "gain": None if few else gain, "labels": labels.get(task), "is_few": few})
    return {"name": name, "rows": rows, "cells": cells}


def _worst(run: RunFiles, task: str, metric: str, parts: Mapping[str, Any]) -> str:
    """Where a task does worst, and where best, in a sentence; empty where nothing can be compared."""
    known = {
        name: value
        for name, part in parts.items()
        if part["labels"][task] >= FEW and (value := (part["scores"][task] or {}).get(metric)) is not None
    }
    if len(known) < 2 or len(set(known.values())) == 1:
        return ""
    ranked: Sequence[str] = sorted(known, key=lambda name: known[name], reverse=run.tasks[task]["lower_is_better"])
    low, high = ranked[0], ranked[-1]
    return f"{task}: {words.score(known[low], metric)} for {low}, {words.score(known[high], metric)} for {high}"
