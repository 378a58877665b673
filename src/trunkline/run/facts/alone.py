"""Each input alone against all of them together, on the rows that have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trunkline.analysis import paired_bootstrap
from trunkline.run.facts.held import Outputs, OutputTable, recording
from trunkline.run.facts.subject import Subject
from trunkline.schema import HeadUnit, RowBatches

RESAMPLES = 200
LEAST = 50  # rows of an input, under which nothing is compared


def alone_facts(subject: Subject, groups: Mapping[str, Sequence[str]], rows: Sequence[int]) -> list[dict[str, Any]]:
    """By group of inputs and task: its score alone, that of everything the same rows have, and their difference.

    Tasks that answer about the whole row. Schema: list of `{input, rows, tasks {task: {alone, together, low, high}}}`,
    the last two the ends of a 95 % interval of `together − alone` over resampled rows, `null` where it is not defined.
    """
    found = []
    every = set(subject.preprocessing.inputs)
    for group, inputs in groups.items():
        alone = subject.batches.hiding(every - set(inputs))
        some = [row for row in rows if alone.present[row].any()]
        if len(some) >= LEAST:
            ours, theirs = _recorded(subject, subject.batches, some), _recorded(subject, alone, some)
            tasks: dict[str, Any] = {}
            for unit, together, single in zip(subject.preprocessing.heads, ours, theirs, strict=True):
                tasks |= _compared(subject, unit, together, single)
            found.append({"input": group, "rows": len(some), "tasks": tasks})
    return found


def _recorded(subject: Subject, batches: RowBatches, rows: Sequence[int]) -> list[Outputs]:
    ours, theirs = recording(subject.preprocessing), recording(subject.preprocessing)
    subject.predictor.count(batches, rows, ours, theirs)
    return [outputs for outputs in ours.metrics if isinstance(outputs, Outputs)]


def _compared(subject: Subject, unit: HeadUnit, together: Outputs, single: Outputs) -> dict[str, Any]:
    """Of the tasks of one head, both on the same labelled rows."""
    kind = subject.preprocessing.schema.tasks[unit.name].task
    tasks = [task for task in unit.tasks if task in subject.focus]
    if not tasks or not together.parts or kind.reads != "row" or not kind.is_exportable:
        return {}
    columns = [unit.tasks.index(task) for task in tasks]
    states = [subject.preprocessing.task_states(unit)[column] for column in columns]
    table = OutputTable(kind, (states, states), columns if len(unit.tasks) > 1 else None, together, single)
    scores = table.score(np.arange(table.rows))
    between = paired_bootstrap(table.score, table.rows, resamples=RESAMPLES)
    return {
        task: {"together": ours, "alone": theirs, "low": ends and ends[0], "high": ends and ends[1]}
        for task, (ours, theirs), ends in zip(tasks, scores, between, strict=True)
    }
