"""How many rows are right in all that is asked about them (a sentence: its intent and each of its slots)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trunkline.data import PIECE, Table
from trunkline.predictor import Predictor
from trunkline.schema import RowBatches, Schema, label_flags
from trunkline.tasks import Task

MOST = 5  # sets of tasks that are told
LOOKED_AT = 100  # combinations of labels, those of the most rows


def all_right(predictor: Predictor, source: Table | RowBatches, rows: Sequence[int]) -> dict[str, Any] | None:
    """Of the rows that are labelled for every task whose answers can be exactly right, how many are so in all of them.

    Where no row is labelled for all of these (several tables, each with its own), the same of each set of them that
    some rows are labelled for together and none for more; at most `MOST` sets, those with the most rows.

    A label that training never saw is never said, so its row is wrong, but where `unknown` may be said of it. Tasks:
    category, binary, labels, tags. Rows without an answer (see `Predictor.predict`) do not count.

    Args:
        predictor: trained.
        source: of rows with target columns.
        rows: which of them.

    Returns:
        `{"tasks": names, "rows": so labelled, "share": of them that are all right}` of the set with the most rows; of
        further ones also `{"others": [the same of each]}`. `None` where no row is labelled for two such tasks.
    """
    tasks = exact_tasks(predictor.preprocessing.schema)
    if len(tasks) < 2:
        return None
    schema, numbers = predictor.preprocessing.schema, np.asarray(rows, dtype=np.int64)
    table = source.table if isinstance(source, RowBatches) else source
    flags = label_flags(schema, table, tasks)[numbers]
    found = []
    for own in labelled_together(flags):
        labelled = numbers[flags[:, own].all(1)].tolist()
        names = [task for task, is_there in zip(tasks, own.tolist()) if is_there]
        if (told := _share(predictor, source, labelled, names)) is not None:
            found.append(told)
    if not found:
        return None
    first, *others = found
    return {**first, "others": others} if others else first


def labelled_together(flags: np.ndarray) -> list[np.ndarray]:
    """Sets of two tasks or more that some rows are labelled for and no row for more, `[T]` each; most rows first.

    Of the `LOOKED_AT` most frequent combinations, so that of labels that lack at random some are left out; a row that
    is labelled for all tasks is always found.

    Args:
        flags: which rows are labelled for which tasks, `[rows, T]`.
    """
    if flags.shape[1] > 1 and (whole := flags.all(1)).any():
        return [flags[whole.argmax()]]
    sets, counts = np.unique(flags[flags.sum(1) > 1], axis=0, return_counts=True)
    often = sets[np.argsort(-counts, kind="stable")][:LOOKED_AT]
    return [own for own in often if (sets & own == own).all(1).sum() == 1][:MOST]


def _share(
    predictor: Predictor, source: Table | RowBatches, labelled: Sequence[int], tasks: Sequence[str]
) -> dict[str, Any] | None:
    """Of these rows, those that are right in these tasks, all of which they are labelled for."""
    schema = predictor.preprocessing.schema
    table = source.table if isinstance(source, RowBatches) else source
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
    return {"tasks": list(tasks), "rows": int(counts.sum()), "share": float(is_right[counts].mean())}


def exact_tasks(schema: Schema) -> list[str]:
    """Names of the tasks whose answers can be exactly right."""
    return [name for name, column in schema.tasks.items() if type(column.task).is_right is not Task.is_right]
