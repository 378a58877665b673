"""Arrow tables and columns → cells that stay in Arrow memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from trunkline.data.table import Cells, Na, Reading, check_unique
from trunkline.errors import DataError


def arrow_cells(source: str, table: pa.Table, how: Reading, *, first: int = 1) -> Mapping[str, Cells]:
    """Columns of an Arrow table; `first`: which row of the source its first is."""
    return arrow_columns(source, table.column_names, table.columns, how, first=first)


def arrow_columns(
    source: str, names: Sequence[str], columns: Sequence[pa.ChunkedArray], how: Reading, *, first: int = 1
) -> Mapping[str, Cells]:
    """The same of columns by name; one that needs no other reading is handed back as it is."""
    check_unique(source, names)
    for name, column in zip(names, columns):
        _check_utf8(source, name, column, first)
    return {name: _cells_of(source, name, column, how.na) for name, column in zip(names, columns)}


def _cells_of(source: str, name: str, column: pa.ChunkedArray, na: Na) -> pa.ChunkedArray:
    try:
        return arrow_column(column, na)
    except pa.ArrowException as error:
        raise DataError(f"the column of type {column.type} cannot be read: {error}").at(source, None, name) from error


def _check_utf8(source: str, name: str, column: pa.ChunkedArray, first: int) -> None:
    """Is every text of a column UTF-8? Arrow and Parquet take what writers say on trust.

    Raises:
        DataError: with the first row that is not; or its texts lie where nothing is, as in a damaged file.
    """
    kind = column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        plain = pa.binary() if pa.types.is_string(kind) else pa.large_binary()
        try:
            for chunk in column.chunks:
                chunk.view(plain).validate(full=True)  # whose places are wrong must not be looked into
        except pa.ArrowInvalid as error:
            raise DataError(f"the texts are damaged: {error}").at(source, None, name) from None
        for row, cell in enumerate(column.cast(pa.large_binary()).to_pylist(), start=first):
            try:
                (cell or b"").decode()
            except UnicodeDecodeError as error:
                said = f"the text is not UTF-8 (byte 0x{cell[error.start]:02x} of {cell[:40]!r}); write it as UTF-8"
                raise DataError(said).at(source, row, name) from None
        raise


def arrow_column(column: pa.ChunkedArray, na: Na) -> pa.ChunkedArray:
    """Decimals as floats, dictionaries as their values, dates as ISO text; NaN and `na` as null."""
    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    if pa.types.is_temporal(column.type) and not pa.types.is_duration(column.type):
        column = column.cast(pa.string())
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    if pa.types.is_floating(column.type) and pc.any(pc.is_nan(column)).as_py():
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    return without_na(column, na, trim=False)


def without_na(column: pa.ChunkedArray, na: Na, *, trim: bool) -> pa.ChunkedArray:
    """The column with null for what means absent.

    Args:
        column: of any type; texts and numbers are looked at.
        na: values that mean absent.
        trim: in files of text: numbers in `na` are meant as they are written, and white space around a cell, or
            nothing but white space, is looked through.
    """
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        absent = _as_written(na) if trim else [value for value in na if isinstance(value, str)]
        if not absent:
            return column
        looked_at = pc.utf8_trim_whitespace(column) if trim else column
        is_gone = pc.is_in(looked_at, value_set=pa.array(absent, column.type))
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        numbers = [float(value) for value in na if not isinstance(value, str | bool)]
        if not numbers:
            return column
        is_gone = pc.is_in(column.cast(pa.float64(), safe=False), value_set=pa.array(numbers, pa.float64()))
    else:
        return column
    return pc.if_else(is_gone, pa.scalar(None, column.type), column) if pc.any(is_gone).as_py() else column


def _as_written(na: Na) -> list[str]:
    """How the values may stand in a file of text; nothing is one of them."""
    numbers = [value for value in na if not isinstance(value, str)]
    return list(dict.fromkeys(["", *map(str, na), *(str(float(n)) for n in numbers)]))
