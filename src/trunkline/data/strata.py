"""Classes to keep in proportion when rows are drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trunkline.data.counts import as_numbers
from trunkline.data.table import Table

MOST_BINS, FEWEST_IN_BIN = 10, 10


def stratify_labels(table: Table, columns: Sequence[str]) -> list[str] | None:
    """Classes of the first of these columns that looks like categories: few values, each on many rows.

    Where none does, ranges of the first that holds numbers, with equally many rows in each. Absent is a class of its
    own. `None` when there is no such column.
    """
    there = [column for column in columns if column in table.columns]
    for column in there:
        labels = [str(cell) for cell in table.column(column)]
        if 2 <= len(set(labels)) <= math.sqrt(len(labels)) + 1:
            return labels
    for column in there:
        numbers = as_numbers(table.cells[column])
        if numbers is not None:
            return _ranges(numbers)
    return None


def _ranges(numbers: np.ndarray) -> list[str] | None:
    """The quantile bin of each number, `nan` where there is none."""
    known = numbers[np.isfinite(numbers)]
    bins = min(MOST_BINS, len(known) // FEWEST_IN_BIN)
    if bins < 2:
        return None
    edges = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)[1:-1]))
    return [str(place) for place in np.where(np.isfinite(numbers), np.searchsorted(edges, numbers, "right"), -1)]
