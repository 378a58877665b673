"""How many rows are right in all that is asked about them (a sentence: its intent and each of its slots)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trunkline.data import PIECE, Table
from trunkline.predictor import Predictor
from trunkline.schema import RowBatches, Schema, label_flags
from trunkline.tasks import Task


def all_right(predictor: Predictor, source: Table | RowBatches, rows: Sequence[int]) -> dict[str, Any] | None:
    """Of the rows that are labelled for every task whose answers can be exactly right, how many are so in all of them.

    A label that training never saw is never said, so its row is wrong, but where `unknown` may be said of it. Tasks:
    category, binary, labels, tags. Rows without an answer (see `Predictor.predict`) do not count.

    Args:
        predictor: trained.
        source: of rows with target columns.
        rows: which of them.

    Returns:
        `{"tasks": names, "rows": so labelled, "share": of them that are all right}`; `None` where there are fewer than
        two such tasks, or no such row.
    """
    tasks = exact_tasks(predictor.preprocessing.schema)
    if len(tasks) < 2:
        return None
    schema, numbers = predictor.preprocessing.schema, np.asarray(rows, dtype=np.int64)
    table = source.table if isinstance(source, RowBatches) else source
    labelled = numbers[label_flags(schema, table, tasks)[numbers].all(1)].tolist()
    if not labelled:
        return None
    is_right, counts = np.ones(len(labelled), dtype=bool), np.ones(len(labelled), dtype=bool)
    for start in range(0, len(labelled), PIECE):
        part = labelled[start : start + PIECE]
        said, _ = predictor.answers(source, part, tasks)
        for task in tasks:
            column = schema.tasks[task]
            pairs = list(
                zip((row[task] for row in said), (value for _, value in column.values(table, part)), strict=True)
            )
            counts[start : start + PIECE] &= [own is not None for own, _ in pairs]  # None: nothing to go by there
            is_right[start : start + PIECE] &= [
                own is not None and column.task.is_right(own, true) for own, true in pairs
            ]
    if not counts.any():
        return None
    return {"tasks": tasks, "rows": int(counts.sum()), "share": float(is_right[counts].mean())}


def exact_tasks(schema: Schema) -> list[str]:
    """Names of the tasks whose answers can be exactly right."""
    return [name for name, column in schema.tasks.items() if type(column.task).is_right is not Task.is_right]
