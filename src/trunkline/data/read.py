"""Files, rows and data frames → `Table`."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from trunkline.data.table import Cells, Table
from trunkline.errors import DataError

Na = Collection[str | int | float]

# Arrow refuses a row longer than one block; its own 1 MiB is soon full of text or of base64.
BLOCK_BYTES = 64 * 2**20


def read_table(source: Any, *, na: Na = ()) -> Table:
    """Read a table.

    In CSV and TSV every cell stays text, so `007` stays `007`, and an empty cell is absent. In Parquet a null and a
    NaN are absent; in JSONL (one object a line) a `null`, a NaN and a missing key.

    Args:
        source: a path to `.csv`, `.tsv`, `.parquet` or `.jsonl` (each also `.gz`); or a list of dicts, an Arrow
            table, or a data frame (anything with `columns` and `frame[column]`). A `Table` is given back as it is.
        na: further values that mean absent, such as `?` or `NA`.

    Raises:
        DataError: there is no such file, it cannot be read, or it holds no rows.

    Example:
        >>> read_table([{"age": 3}, {"age": "?"}], na=["?"]).column("age")
        [3, None]
    """
    if isinstance(source, Table):
        return source
    if isinstance(source, str | Path):
        return _read_file(Path(source), na)
    if isinstance(source, pa.Table):
        return _checked("Arrow table", _arrow_cells("Arrow table", source, na))
    if hasattr(source, "columns"):
        return _checked("data frame", _frame_cells(source, na))
    if not isinstance(source, Iterable):
        raise DataError(f"{source!r} is not a table: give a path, a list of dicts or a data frame")
    return _checked("rows", _row_cells("rows", "row", enumerate(source, start=1), na))


def _read_file(path: Path, na: Na) -> Table:
    suffixes = [s.lower() for s in path.suffixes]
    kind = next((s for s in reversed(suffixes) if s != ".gz"), "")
    if kind not in _READERS:
        raise DataError(f"{path} is not a table that can be read. Known: {', '.join(_READERS)}, each also with .gz")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    try:
        cells = _READERS[kind](path, na)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a whole gzip file: {error}") from error
    return _checked(path.name, cells, path.parent.absolute())


def _checked(source: str, cells: Mapping[str, Cells], base: Path | None = None) -> Table:
    table = Table(source, cells, base)
    if len(table) == 0:
        raise DataError(f"{source} holds no rows")
    return table


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")  # type: ignore[return-value]


# --- CSV and TSV


def _csv_cells(path: Path, na: Na, delimiter: str = ",") -> Mapping[str, Cells]:
    header = _csv_header(path, delimiter)
    convert = pyarrow.csv.ConvertOptions(
        column_types={name: pa.string() for name in header},
        null_values=["", *map(str, na)],
        strings_can_be_null=True,
    )
    parse = pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    read = pyarrow.csv.ReadOptions(block_size=BLOCK_BYTES)
    try:
        with _open(path) as file:
            table = pyarrow.csv.read_csv(file, read, parse, convert)
    except pa.ArrowInvalid as error:
        _explain_csv(path, delimiter, len(header))
        raise DataError(f"{path.name}: {error}") from error
    # A quote that nobody closes swallows the rest of the file as one cell.
    if len(table) and "\n" in (table.column(-1)[-1].as_py() or ""):
        _explain_csv(path, delimiter, len(header))
    return dict(zip(header, table.columns))


def _csv_header(path: Path, delimiter: str) -> list[str]:
    _, header = next(_csv_lines(path, delimiter), (0, []))
    if not header:
        raise DataError(f"{path.name} is empty: the first line must name the columns")
    if "" in header:
        raise DataError(f"{path.name}: column {header.index('') + 1} has no name (pandas: `to_csv(index=False)`)")
    _check_unique(path.name, header)
    return header


def _explain_csv(path: Path, delimiter: str, num_columns: int) -> None:
    """Find what Arrow could not say: the line in the file. Slow, and only called when something is wrong."""
    for line, cells in _csv_lines(path, delimiter):
        if cells and len(cells) != num_columns:
            raise DataError(
                f"{path.name}, line {line}: {len(cells)} cells where the header has {num_columns} columns. "
                f"Put cells that contain {delimiter!r} in double quotes"
            )


def _csv_lines(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Number in the file (of its last line) and cells of each record."""
    with _open(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        limit = csv.field_size_limit(BLOCK_BYTES)
        try:
            for cells in reader:
                yield reader.line_num, cells
        except UnicodeDecodeError as error:
            raise DataError(f"{path.name} is not UTF-8 ({error}). Save it as UTF-8") from error
        except csv.Error as error:
            raise DataError(f"{path.name}, line {reader.line_num}: {error}") from error
        finally:
            csv.field_size_limit(limit)


def _tsv_cells(path: Path, na: Na) -> Mapping[str, Cells]:
    return _csv_cells(path, na, delimiter="\t")


# --- Parquet and Arrow


def _parquet_cells(path: Path, na: Na) -> Mapping[str, Cells]:
    try:
        with _open(path) as file:
            # A gzip stream cannot be read from its end, where Parquet keeps its index.
            whole = io.BytesIO(file.read()) if path.suffix.lower() == ".gz" else file
            table = pyarrow.parquet.ParquetFile(whole).read()
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path.name} is not a Parquet file: {error}") from error
    return _arrow_cells(path.name, table, na)


def _arrow_cells(source: str, table: pa.Table, na: Na) -> Mapping[str, Cells]:
    _check_unique(source, table.column_names)
    return {name: _without_na(_plain(column), na) for name, column in zip(table.column_names, table.columns)}


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Decimals as floats, dictionaries as their values, NaN as null."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    return column


def _without_na(column: pa.ChunkedArray, na: Na) -> Cells:
    return [_value(cell, na) for cell in column.to_pylist()] if na else column


# --- rows


def _jsonl_cells(path: Path, na: Na) -> Mapping[str, Cells]:
    with _open(path) as file:
        return _row_cells(path.name, "line", _json_lines(path.name, file), na)


def _json_lines(source: str, lines: Iterable[bytes]) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            if text.strip():
                yield number, json.loads(text)
        except UnicodeDecodeError as error:
            raise DataError(f"{source}, line {number} is not UTF-8 ({error}). Save the file as UTF-8") from error
        except json.JSONDecodeError as error:
            raise DataError(f"{source}, line {number} is not JSON: {error}") from error


def _row_cells(source: str, unit: str, rows: Iterable[tuple[int, Any]], na: Na) -> Mapping[str, Cells]:
    """Numbered rows → columns, in the order in which they are first seen."""
    cells: dict[str, list[Any]] = {}
    num_rows = 0
    for number, row in rows:
        if not isinstance(row, Mapping):
            raise DataError(f'{source}, {unit} {number}: {row!r} is no row. A row looks like {{"column": value}}')
        for name, value in row.items():
            column = cells.setdefault(str(name), [])
            column.extend([None] * (num_rows - len(column)))
            column.append(_value(value, na))
        num_rows += 1
    for column in cells.values():
        column.extend([None] * (num_rows - len(column)))
    return cells


def _frame_cells(frame: Any, na: Na) -> Mapping[str, Cells]:
    names = [str(name) for name in frame.columns]
    _check_unique("data frame", names)
    return {name: _series_cells(frame[key], na) for name, key in zip(names, frame.columns)}


def _series_cells(series: Any, na: Na) -> list[Any]:
    # pandas has its own absent values (NaN, NA, NaT) and its own way to find them.
    absent: Sequence[bool] = series.isna() if hasattr(series, "isna") else [False] * len(series)
    # Its own list has plain values where iterating gives NumPy's (pandas) or columns of a frame (polars).
    values = series.to_list() if hasattr(series, "to_list") else series
    return [None if gone else _value(value, na) for value, gone in zip(values, absent)]


def _value(value: Any, na: Na) -> Any:
    """The value, or `None` where it means absent."""
    if isinstance(value, float) and value != value:
        return None
    # True == 1, but a list of absent values that has 1 does not mean True.
    is_scalar = isinstance(value, str | int | float) and not isinstance(value, bool)
    return None if is_scalar and value in na else value


def _check_unique(source: str, names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{source} has more than one column named {', '.join(map(repr, twice))}")


_READERS: dict[str, Callable[[Path, Na], Mapping[str, Cells]]] = {
    ".csv": _csv_cells,
    ".tsv": _tsv_cells,
    ".parquet": _parquet_cells,
    ".jsonl": _jsonl_cells,
}
