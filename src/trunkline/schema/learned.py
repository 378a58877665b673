"""From which inputs each task was learned: those that were there in a row with its label.

Where tables have no input in common, a network is asked about rows in which tasks of another table have nothing to go
by. What it would say of them is what is likely anyway, told as if it had been seen.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trunkline.data import PIECE, Table
from trunkline.schema.columns import Schema

LEARNED_FROM = "learned_from"  # in the states: by task that was learned from some inputs only, their names


def learned_from(schema: Schema, table: Table, rows: np.ndarray, tasks: Sequence[str]) -> dict[str, list[str]]:
    """By task, the inputs that any of its labelled rows has; a task that was learned from every input has no key.

    Args:
        schema: says what is in which column.
        table: whose rows.
        rows: the training rows.
        tasks: to be looked at.
    """
    inputs = list(schema.inputs)
    seen = np.zeros((len(tasks), len(inputs)), dtype=bool)
    read = [_flags(table, schema.inputs[name].column) for name in inputs]
    labels = [_flags(table, schema.tasks[name].column) for name in tasks]
    bound = [None if (of := schema.tasks[name].of) is None else inputs.index(of) for name in tasks]
    for start in range(0, len(rows), PIECE):
        here = rows[start : start + PIECE]
        present = np.stack([flags[here] for flags in read], 1)
        own = (flags[here] if of is None else flags[here] & present[:, of] for flags, of in zip(labels, bound))
        for place, labelled in enumerate(own):
            if not seen[place].all():
                seen[place] |= present[labelled].any(0)
    return {
        task: [name for name, is_seen in zip(inputs, found) if is_seen]
        for task, found in zip(tasks, seen)
        if found.any() and not found.all()
    }


def leave_unanswerable(
    labelled: np.ndarray,
    tasks: Sequence[str],
    able: Mapping[str, np.ndarray],
    told: Mapping[str, Sequence[str]],
    source: str,
    rows: np.ndarray,
) -> None:
    """Take away labels beside no input that their task was learned from: it says nothing there, and is not scored.

    Args:
        labelled: `[rows of the table, tasks]`, which is changed.
        tasks: names.
        able: by task that was learned from some inputs only, which rows have one of them.
        told: the names of these inputs.
        source: of the table, for the warning.
        rows: that are of interest.
    """
    for place, task in enumerate(tasks):
        if task not in able:
            continue
        if lost := int((labelled[rows, place] & ~able[task][rows]).sum()):
            warnings.warn(
                f"{source}: {lost} labels of {task!r} lie in rows without any input that it was learned from "
                f"({', '.join(map(repr, told[task]))}); it says nothing there and is not scored",
                stacklevel=4,
            )
        labelled[:, place] &= able[task]


def faulty(schema: Schema, told: Any) -> Iterator[str]:
    """One line for each thing that is wrong with what was read from a file."""
    if not isinstance(told, dict):
        yield f"{LEARNED_FROM}: {type(told).__name__} is no mapping"
        return
    for task, names in told.items():
        if task not in schema.tasks:
            yield f"{LEARNED_FROM}: {task!r} is no task"
        if not isinstance(names, list) or not names or not all(name in schema.inputs for name in names):
            yield f"{LEARNED_FROM}: task {task!r} names something else than inputs"


def _flags(table: Table, column: str) -> np.ndarray:
    return table.present(column) if column in table.columns else np.zeros(len(table), dtype=bool)
