"""Held-out rows told apart: by the table they are from, and by the values of columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from trunkline.cells import as_name, as_number
from trunkline.data import WHOSE, Table
from trunkline.errors import DataError
from trunkline.model import TaskScores
from trunkline.predictor import Predictor
from trunkline.schema import label_flags

PARTS = 24  # of a column at most; what is rarer is one part, `(other)`
NUMBERS = 12  # different ones, from which on a part is a quarter of the rows
OTHER = "(other)"


def slice_names(cells: Sequence[Any]) -> list[str | None]:
    """Of which part each cell is; `None` where it is absent.

    Each value is a part, the most frequent ones where there are more than `PARTS`. Of numbers with more than `NUMBERS`
    different values, each quarter is one.

    Example:
        >>> slice_names(["a", None, 3.0])
        ['a', None, '3']

    Raises:
        DataError: a cell is a list or an object.
    """
    present = [cell for cell in cells if cell is not None]
    numbers = _as_numbers(present)
    if numbers is not None and len(np.unique(numbers)) > NUMBERS:
        named = iter(_quarters(numbers))
        return [None if cell is None else next(named) for cell in cells]
    names = [None if cell is None else as_name(cell) for cell in cells]
    counts = Counter(name for name in names if name is not None)
    kept = {name for name, _ in sorted(counts.items(), key=lambda one: (-one[1], one[0]))[: PARTS - 1]}
    if len(counts) <= PARTS:
        kept = set(counts)
    return [name if name is None or name in kept else OTHER for name in names]


def _as_numbers(cells: Sequence[Any]) -> np.ndarray | None:
    try:
        return np.array([as_number(cell) for cell in cells])
    except DataError:
        return None


def _quarters(numbers: np.ndarray) -> list[str]:
    """The quarter each lies in, from its bounds; equal numbers lie in one."""
    bounds = np.unique(np.quantile(numbers, [0.25, 0.5, 0.75], method="lower"))
    said = [f"{bound:.6g}" for bound in bounds]
    names = [f"≤ {said[0]}", *(f"> {low} to {high}" for low, high in pairwise(said)), f"> {said[-1]}"]
    return [names[place] for place in np.searchsorted(bounds, numbers).tolist()]


def in_order(names: Sequence[str]) -> list[str]:
    """Numbers by size, names by the alphabet, quarters from the lowest, `(other)` last."""

    def place(name: str) -> tuple[int, float, bool, str]:
        bound = name.removeprefix("≤ ").removeprefix("> ").partition(" to ")[0]
        try:
            return (0, float(bound), name.startswith(">"), name)
        except ValueError:
            return (2 if name == OTHER else 1, 0.0, False, name)

    return sorted(names, key=place)


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
