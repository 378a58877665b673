"""Cells → decoded values: one by one, or a whole column at once with the same result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from trunkline.cells import as_file
from trunkline.data import PIECE, Table, are_there
from trunkline.errors import DataError
from trunkline.modalities import Modality
from trunkline.tasks import Task

Reader = Modality | Task
AT_ONCE = 64  # rows from which on a column is read as a whole


@dataclass(frozen=True, eq=False)
class ColumnValues:
    """A column, decoded.

    Attributes:
        rows: that have a cell which can be read, ascending.
        values: of each of them.
        faults: why a cell cannot be read, by row.
    """

    rows: np.ndarray
    values: Sequence[Any]
    faults: Mapping[int, str] = field(default_factory=dict)


def read_values(
    reader: Reader, table: Table, column: str, rows: Iterable[int], *, skips: bool = False
) -> Iterator[tuple[int, Any]]:
    """Row numbers and decoded values of these rows, where present, in their order.

    Args:
        reader: of the cells.
        table: where they are.
        column: which of its columns.
        rows: which of its rows.
        skips: leave out what cannot be read.

    Raises:
        DataError: a cell cannot be read; its place stands in front.
    """
    if column not in table.columns:
        return
    numbers = rows if isinstance(rows, np.ndarray) else np.array(list(rows), dtype=np.int64)
    if reader.reads_files or len(numbers) < AT_ONCE:
        for row in numbers.tolist():
            if (cell := table.cell(row, column)) is not None:
                try:
                    value = read_cell(reader, table, column, row, cell)
                except DataError:
                    if skips:
                        continue
                    raise
                yield row, value
        return
    for start in range(0, len(numbers), PIECE):
        wanted = numbers[start : start + PIECE]
        found = read_column(reader, table, column, np.unique(wanted))
        values = dict(zip(found.rows.tolist(), found.values))
        for row in wanted.tolist():
            if row in values:
                yield row, values[row]
            elif row in found.faults and not skips:
                raise DataError(found.faults[row]).at(*table.place(row), column)


def read_cell(reader: Reader, table: Table, column: str, row: int, cell: Any) -> Any:
    """Decode one cell.

    Raises:
        DataError: with source, row (from 1) and column in front.
    """
    try:
        return cell_reader(reader, table)(cell)
    except DataError as error:
        raise error.at(*table.place(row), column) from None


def cell_reader(reader: Reader, table: Table, *, only_look: bool = False) -> Callable[[Any], Any]:
    """`read` (or `check`, which only looks), with paths made absolute, and bytes that stand in a cell as a file."""
    base, read = table.base, reader.check if only_look else reader.read
    if not reader.reads_files:
        return read

    return lambda cell: read(as_file(cell, base))


def read_column(reader: Reader, table: Table, column: str, wanted: np.ndarray) -> ColumnValues:
    """The present cells of these rows, ascending, of a column that is no column of files.

    Numbers are read as one array; of other cells each different one is read once.
    """
    cells = table.take(column, wanted)
    rows = wanted[are_there(cells)]
    at_once = as_array(cells)
    if at_once is not None and (values := reader.read_many(at_once)) is not None:
        return ColumnValues(rows, values)
    # Not of floats: 0.0 and -0.0 are equal, and texts of their own.
    if at_once is not None and not (pa.types.is_nested(at_once.type) or pa.types.is_floating(at_once.type)):
        coded = at_once.dictionary_encode()
        distinct, codes = coded.dictionary.to_pylist(), coded.indices.to_numpy()
    else:
        plain = cells.to_pylist() if isinstance(cells, pa.ChunkedArray) else cells
        distinct, codes = [cell for cell in plain if cell is not None], np.arange(len(rows))
    values, reasons = _read_each(reader, distinct)
    if not reasons:
        return ColumnValues(rows, [values[code] for code in codes.tolist()])
    is_good = np.array([number not in reasons for number in range(len(distinct))])[codes]
    faults = {int(row): reasons[int(code)] for row, code in zip(rows[~is_good], codes[~is_good])}
    return ColumnValues(rows[is_good], [values[code] for code in codes[is_good].tolist()], faults)


def as_array(cells: Any) -> pa.Array | None:
    """The present cells as one Arrow array; `None` where they are not of one plain type."""
    if isinstance(cells, pa.ChunkedArray):
        return cells.drop_null().combine_chunks()
    there = [cell for cell in cells if cell is not None]
    kinds = {type(cell) for cell in there}
    if len(kinds) != 1 or not kinds <= {str, int, float, bool}:
        return None
    try:
        return pa.array(there, from_pandas=False)
    except (pa.ArrowInvalid, UnicodeEncodeError, OverflowError):
        return None  # half a surrogate pair, or a number of more than 64 bits


def _read_each(reader: Reader, cells: Sequence[Any]) -> tuple[list[Any], dict[int, str]]:
    """Values, and why one cannot be read, by place."""
    values: list[Any] = []
    reasons: dict[int, str] = {}
    for number, cell in enumerate(cells):
        try:
            values.append(reader.read(cell))
        except DataError as error:
            values.append(None)
            reasons[number] = str(error)
    return values, reasons
