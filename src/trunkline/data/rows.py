"""Lists of dicts and data frames → columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from trunkline.cells import plain_cell
from trunkline.data.arrow import arrow_cells, arrow_column
from trunkline.data.table import Cells, Na, Reading, check_unique
from trunkline.errors import DataError, brief


def row_cells(source: str, unit: str, rows: Iterable[tuple[int, Any]], na: Na) -> Mapping[str, Cells]:
    """Numbered rows → columns, in the order in which they are first seen."""
    cells: dict[str, list[Any]] = {}
    num_rows = 0
    for number, row in rows:
        if not isinstance(row, Mapping):
            raise DataError(f'{source}, {unit} {number}: {brief(row)} is no row. A row looks like {{"column": value}}')
        for name, value in row.items():
            column = cells.setdefault(str(name), [])
            column.extend([None] * (num_rows - len(column)))
            column.append(_value(value, na))
        num_rows += 1
    for column in cells.values():
        column.extend([None] * (num_rows - len(column)))
    return cells


def frame_cells(frame: Any, how: Reading) -> Mapping[str, Cells]:
    """Columns of a data frame (anything with `columns` and `frame[column]`)."""
    names = [str(name) for name in frame.columns]
    check_unique("data frame", names)
    if hasattr(frame, "to_arrow"):  # polars
        return arrow_cells("data frame", frame.to_arrow(), how)
    return {name: _series_cells(frame[key], how.na) for name, key in zip(names, frame.columns)}


def _as_arrow(series: Any) -> pa.ChunkedArray | None:
    """A column in Arrow memory; `None` of what Arrow lacks: complex numbers, intervals, half a surrogate pair."""
    try:
        return pa.chunked_array([pa.array(series, from_pandas=True)])
    # The last is what half a surrogate pair raises: it is no letter, and a reader of the cell tells the user so.
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, UnicodeEncodeError):
        return None  # nothing is lost: such a column is taken cell by cell


def _series_cells(series: Any, na: Na) -> Cells:
    # Columns of plain values keep their memory; those of objects may hold anything.
    if hasattr(series, "isna") and str(getattr(series, "dtype", "object")) != "object":
        held = _as_arrow(series)
        if held is not None:
            return arrow_column(held, na)
    # pandas has its own absent values (NaN, NA, NaT) and its own way to find them.
    absent: Sequence[bool] = series.isna() if hasattr(series, "isna") else [False] * len(series)
    values = series.to_list() if hasattr(series, "to_list") else series
    return [None if gone else _value(value, na) for value, gone in zip(values, absent)]


def _value(value: Any, na: Na) -> Any:
    """The value, or `None` where it means absent; a date as ISO text."""
    value = plain_cell(value)
    # True == 1, but a list of absent values that has 1 does not mean True.
    is_scalar = isinstance(value, str | int | float) and not isinstance(value, bool)
    return None if is_scalar and value in na else value
