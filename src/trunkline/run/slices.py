"""Scores of held-out rows told apart: by the table they are from, and by the values of columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trunkline.data import WHOSE, Table, check_slices, in_order, slice_names
from trunkline.model import TaskScores
from trunkline.predictor import Predictor
from trunkline.schema import label_flags


def sliced(
    predictor: Predictor, source: Any, table: Table, rows: np.ndarray, slices: Sequence[str], tables: Sequence[str]
) -> tuple[TaskScores, TaskScores, dict[str, Any]]:
    """Scores of rows, and of parts of them, from one pass over the rows.

    Args:
        predictor: trained.
        source: of the batches, or the table itself.
        table: that the rows are of.
        rows: which.
        slices: columns by which they are told apart; those that the table lacks are left out.
        tables: names of several tables that they are from; their scores are told of tasks that more than one has.

    Returns:
        Scores; those of a predictor that knows no input; and, where there is something in it, `{"by_table": {table:
        scores}, "slices": {column: {part: {"rows", "labels" by task, "scores"}}}}`.
    """
    check_slices(table, rows.tolist(), slices)
    columns = [column for column in slices if column in table.columns]
    cells = {column: table.column(column) for column in columns}
    partings = [slice_names([cells[column][row] for row in rows.tolist()]) for column in columns]
    whose = [str(name) for name in np.array(table.column(WHOSE))[rows]] if tables else []
    tasks = list(predictor.preprocessing.schema.tasks)
    flags = label_flags(predictor.preprocessing.schema, table, tasks)[rows]
    shared = _of_several(whose, flags, tasks)
    scores, majority, found = predictor.evaluate_parts(source, rows.tolist(), [*partings, *([whose] if shared else [])])
    told: dict[str, Any] = {}
    if shared:
        own = found.pop()
        told["by_table"] = {name: {task: own[name][task] for task in shared} for name in tables if name in own}
    if columns:
        told["slices"] = {
            column: _told(names, flags, tasks, parts) for column, names, parts in zip(columns, partings, found)
        }
    return scores, majority, told


def _of_several(whose: Sequence[str], flags: np.ndarray, tasks: Sequence[str]) -> list[str]:
    """Tasks that rows of more than one table are labelled for."""
    if not whose:
        return []
    has = np.stack([flags[np.array(whose) == name].any(0) for name in set(whose)])  # [tables, tasks]
    return [task for task, many in zip(tasks, has.sum(0) > 1) if many]


def _told(
    names: Sequence[str | None], flags: np.ndarray, tasks: Sequence[str], parts: Mapping[str, TaskScores]
) -> dict[str, Any]:
    found = {}
    for name in in_order(list(parts)):
        own = flags[np.array([other == name for other in names])]
        labels = dict(zip(tasks, own.sum(0).tolist()))
        found[name] = {"rows": len(own), "labels": labels, "scores": parts[name]}
    return found
