"""Rows told apart by the values of a column: the name of the part that each is in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from trunkline.cells import as_name, as_number
from trunkline.data.table import Table
from trunkline.errors import DataError

PARTS = 24  # of a column at most; what is rarer is one part, `(other)`
NUMBERS = 12  # different ones, from which on a part is a quarter of the rows
OTHER = "(other)"


def check_slices(table: Table, rows: Iterable[int], columns: Sequence[str]) -> None:
    """Look whether these rows can be told apart by these columns; those that the table lacks are not looked at.

    Raises:
        DataError: the first cell that is a list or an object, and its place.
    """
    for column in (column for column in columns if column in table.columns):
        cells = table.column(column)
        for row in rows:
            try:
                as_name(cells[row])
            except DataError as error:
                source, number = table.place(row)
                raise error.at(source, number, f"{column} (data.slices)") from None


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
    said = _as_told(bounds.tolist())
    names = [f"≤ {said[0]}", *(f"> {low} to {high}" for low, high in pairwise(said)), f"> {said[-1]}"]
    return [names[place] for place in np.searchsorted(bounds, numbers).tolist()]


def _as_told(bounds: Sequence[float]) -> list[str]:
    """Whole numbers as they are, others with six figures, or as many as tell them apart."""
    told = [
        [f"{bound:.0f}" if bound.is_integer() and abs(bound) < 1e15 else f"{bound:.{figures}g}" for bound in bounds]
        for figures in (6, 17)
    ]
    return told[0] if len(set(told[0])) == len(bounds) else told[1]


def in_order(names: Sequence[str]) -> list[str]:
    """Numbers by size, names by the alphabet, quarters from the lowest, `(other)` last."""

    def place(name: str) -> tuple[int, float, bool, str]:
        bound = name.removeprefix("≤ ").removeprefix("> ").partition(" to ")[0]
        try:
            number = as_number(bound)
        except DataError:
            return (2 if name == OTHER else 1, 0.0, False, name)
        return (0, number, name.startswith(">"), name)

    return sorted(names, key=place)
