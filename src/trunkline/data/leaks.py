"""Columns that give another one away."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from trunkline.cells import as_name
from trunkline.data.counts import as_numbers
from trunkline.data.table import Table
from trunkline.errors import DataError

FEWEST = 20  # rows with both from which on it is no chance


def find_leak(table: Table, column: str, target: str) -> str | None:
    """How a column gives a target away; `None` where it does not, as far as can be seen.

    It does where each of its values goes with one value of the target and the other way round, and where both are
    numbers on one line.
    """
    both = np.flatnonzero(table.present(column) & table.present(target))
    if len(both) < FEWEST:
        return None
    numbers = [as_numbers(table.cells[name]) for name in (column, target)]
    if numbers[0] is not None and numbers[1] is not None:
        x, y = numbers[0][both], numbers[1][both]
        known = np.isfinite(x) & np.isfinite(y)
        if known.sum() >= FEWEST and np.array_equal(x[known], y[known]):
            return f"equals {target!r}"
        if known.sum() >= FEWEST and x[known].std() > 0 and y[known].std() > 0 and _is_line(x[known], y[known]):
            return f"is {target!r} on another scale"
    names = [_names(table, name, both) for name in (column, target)]
    if names[0] is None or names[1] is None:
        return None
    if names[0] == names[1]:
        return f"equals {target!r}"
    pairs, lefts, rights = (len(set(values)) for values in (list(zip(*names)), names[0], names[1]))
    if pairs == lefts == rights and 2 <= lefts <= len(both) / 5:
        return f"says the same as {target!r} in other names"
    return None


def _is_line(x: np.ndarray, y: np.ndarray) -> bool:
    return bool(len(np.unique(y)) > 2 and abs(np.corrcoef(x, y)[0, 1]) > 1 - 1e-9)


def _names(table: Table, column: str, rows: np.ndarray) -> Sequence[Hashable] | None:
    cells = table.column(column)
    try:
        return [as_name(cells[row]) for row in rows.tolist()]
    except DataError:
        return None
