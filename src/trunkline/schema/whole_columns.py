"""Columns that are read and prepared at once, for all rows; piece by piece where there are many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from trunkline.data import Table
from trunkline.errors import DataError
from trunkline.schema.reading import ColumnValues, Reader, read_column


def prepare_column(
    reader: Reader, table: Table, column: str, rows: np.ndarray, prepare: Callable[[Any], Any]
) -> list[Any]:
    """A column in these rows, which follow each other, read and prepared; `None` where it is absent.

    Raises:
        DataError: a cell cannot be read, or its value not be prepared; with its place.
    """
    items: list[Any] = [None] * len(rows)
    if column not in table.columns:
        return items
    found = read_column(reader, table, column, rows)
    if found.faults:
        row = min(found.faults)
        raise DataError(found.faults[row]).at(*table.place(row), column)
    first = int(rows[0])
    for row, item in zip(found.rows.tolist(), _prepare_each(found, table, column, prepare)):
        items[row - first] = item
    return items


def _prepare_each(found: ColumnValues, table: Table, column: str, prepare: Callable[[Any], Any]) -> list[Any]:
    """Names and truths once for each that differs; the rest one by one."""
    values = found.values
    if len(values) > 0 and isinstance(values[0], str | bool):
        try:
            known = {value: prepare(value) for value in set(values)}
            return [known[value] for value in values]
        except DataError:
            pass  # to be told with its row
    prepared = []
    for row, value in zip(found.rows.tolist(), values):
        try:
            prepared.append(prepare(value))
        except DataError as error:
            raise error.at(*table.place(row), column) from None
    return prepared
