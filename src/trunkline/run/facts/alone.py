"""Each input alone against all of them together, on the rows that have it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from trunkline.analysis import paired_bootstrap
from trunkline.run.facts.held import Outputs, OutputTable, recording
from trunkline.run.facts.subject import Subject
from trunkline.schema import HeadUnit, RowBatches

RESAMPLES = 400
LEAST = 100  # labelled rows, under which no interval is told
SECONDS = 20.0  # for all intervals; what comes later has none


def alone_facts(subject: Subject, groups: Mapping[str, Sequence[str]], rows: Sequence[int]) -> list[dict[str, Any]]:
    """By group of inputs and task: its score alone, that of everything the same rows have, and their difference.

    Tasks that answer about the whole row, of whose labelled rows some have other inputs, too. Schema: list of
    `{input, tasks {task: {rows, alone, together, low, high}}}`: `rows` labelled; `low` and `high` the ends of an
    interval of `together − alone` over resampled rows, such that all intervals of a task together miss in 5 % of
    cases; `null` of few rows, or where time ran out.
    """
    found = []
    until = time.perf_counter() + SECONDS
    batches, every = subject.batches, set(subject.preprocessing.inputs)
    for group, inputs in groups.items():
        alone = batches.hiding(every - set(inputs))
        some = np.array([row for row in rows if alone.present[row].any()], dtype=np.int64)
        wider = some[(batches.present[some] != alone.present[some]).any(1)]
        wide = batches.labelled[wider].any(0)
        told = zip(subject.focus, wide[subject.preprocessing.places(subject.focus)])
        tasks = [task for task, is_wide in told if is_wide and _is_told(subject, task)]
        if tasks:
            ours, theirs = (_recorded(subject, each, some.tolist()) for each in (batches, alone))
            compared: dict[str, Any] = {}
            for unit, together, single in zip(subject.preprocessing.heads, ours, theirs, strict=True):
                miss = 0.05 / len(groups) if time.perf_counter() < until else None
                own = [task for task in unit.tasks if task in tasks]
                compared |= _compared(subject, unit, own, together, single, miss)
            found.append({"input": group, "tasks": compared})
    return found


def _is_told(subject: Subject, task: str) -> bool:
    kind = subject.preprocessing.schema.tasks[task].task
    return kind.reads == "row" and kind.is_one_pass


def _recorded(subject: Subject, batches: RowBatches, rows: Sequence[int]) -> list[Outputs]:
    ours, theirs = recording(subject.preprocessing), recording(subject.preprocessing)
    subject.predictor.count(batches, rows, ours, theirs)
    return [outputs for outputs in ours.metrics if isinstance(outputs, Outputs)]


def _compared(
    subject: Subject, unit: HeadUnit, tasks: Sequence[str], together: Outputs, single: Outputs, miss: float | None
) -> dict[str, Any]:
    """Of these tasks of one head, both on the same labelled rows."""
    kind = subject.preprocessing.schema.tasks[unit.name].task
    if not tasks or not together.parts:
        return {}
    columns = [unit.tasks.index(task) for task in tasks]
    states = [subject.preprocessing.task_states(unit)[column] for column in columns]
    table = OutputTable(kind, (states, states), columns if len(unit.tasks) > 1 else None, together, single)
    scores = table.score(np.arange(table.rows))
    labelled = _labelled(together, len(unit.tasks))
    between: Sequence[tuple[float, float] | None] = [None] * len(tasks)
    if miss is not None and max(labelled[column] for column in columns) >= LEAST:
        between = paired_bootstrap(table.score, table.rows, miss=miss, resamples=RESAMPLES)
    found = {}
    for task, column, (ours, theirs), ends in zip(tasks, columns, scores, between, strict=True):
        low, high = ends if ends is not None and labelled[column] >= LEAST else (None, None)
        found[task] = {"rows": labelled[column], "together": ours, "alone": theirs, "low": low, "high": high}
    return found


def _labelled(outputs: Outputs, tasks: int) -> list[int]:
    """Labelled rows of each task of a head; of a stack the flags say which."""
    targets = [target for _, target in outputs.parts]
    if tasks == 1 or "flags" not in targets[0]:
        return [sum(len(next(iter(target.values()))) for target in targets)] * tasks
    return torch.stack([target["flags"].sum(0) for target in targets]).sum(0).tolist()
