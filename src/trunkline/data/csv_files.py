"""CSV and TSV → columns of text, `None` where a cell is empty."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from trunkline.data.arrow import without_na
from trunkline.data.encodings import as_utf8, explain_bytes
from trunkline.data.mapped import is_big, mapped_copy, unpacked_size
from trunkline.data.table import Cells, Reading, check_unique
from trunkline.errors import DataError

# Arrow refuses a row longer than one block; its own 1 MiB is soon full of text or of base64.
BLOCK_BYTES = 64 * 2**20
DELIMITERS = (",", ";", "\t", "|")
SNIFFED = 50  # records that a delimiter is guessed from


def csv_cells(path: Path, how: Reading) -> Mapping[str, Cells]:
    """Read a CSV file; without `delimiter` it is the comma, or what stands equally often in all of the first lines."""
    return _cells(path, how, how.delimiter or _delimiter(path, how))


def tsv_cells(path: Path, how: Reading) -> Mapping[str, Cells]:
    """Read a TSV file."""
    return _cells(path, how, how.delimiter or "\t")


def _cells(path: Path, how: Reading, delimiter: str) -> Mapping[str, Cells]:
    if len(delimiter) != 1:
        raise DataError(f"{path.name}: a delimiter is one character such as ';', not {delimiter!r}")
    header = _header(path, how, delimiter)
    convert = pyarrow.csv.ConvertOptions(
        column_types={name: pa.string() for name in header}, null_values=[""], strings_can_be_null=True
    )
    parse = pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    read = pyarrow.csv.ReadOptions(
        block_size=BLOCK_BYTES, column_names=header, skip_rows=_header_lines(path, how, delimiter)
    )

    def pieces() -> Iterator[pa.Table]:
        with as_utf8(path, how.encoding) as file:
            piece = pa.table({})
            for batch in pyarrow.csv.open_csv(file, read, parse, convert):
                piece = pa.Table.from_batches([batch])
                yield _without_na(piece, how)
            check_end(piece)

    def check_end(table: pa.Table) -> None:
        """A quote that nobody closes swallows the rest of the file as one cell."""
        if len(table) and "\n" in (table.column(-1)[-1].as_py() or ""):
            _explain(path, how, delimiter, len(header))

    try:
        if is_big(unpacked_size(path)):
            table = mapped_copy(path, how, pieces)
        else:
            with as_utf8(path, how.encoding) as file:
                table = _without_na(pyarrow.csv.read_csv(file, read, parse, convert), how)
            check_end(table)
    except pa.ArrowException as error:
        _explain(path, how, delimiter, len(header))
        raise DataError(f"{path.name}: {error}") from error
    return dict(zip(header, table.columns))


def _without_na(table: pa.Table, how: Reading) -> pa.Table:
    columns = [without_na(column, how.na, trim=True) for column in table.columns]
    return pa.table(columns, names=table.column_names)


def _header(path: Path, how: Reading, delimiter: str) -> list[str]:
    _, cells = next(_records(path, how, delimiter), (0, []))
    header = [name.strip() for name in cells]
    if not header:
        raise DataError(f"{path.name} is empty: the first line must name the columns")
    if "" in header:
        raise DataError(f"{path.name}: column {header.index('') + 1} has no name (pandas: `to_csv(index=False)`)")
    check_unique(path.name, header)
    return header


def _header_lines(path: Path, how: Reading, delimiter: str) -> int:
    """Lines of the file that the header fills."""
    return next(_records(path, how, delimiter), (1, []))[0]


def _delimiter(path: Path, how: Reading) -> str:
    """The first of `DELIMITERS` that cuts all of the first records into as many cells, and more than one."""
    for delimiter in DELIMITERS:
        try:
            records = [cells for _, (_, cells) in zip(range(SNIFFED), _records(path, how, delimiter)) if cells]
        except DataError as error:
            if not isinstance(error.__cause__, csv.Error):
                raise
            continue
        widths = {len(cells) for cells in records}
        if len(widths) == 1 and widths.pop() > 1:
            return delimiter
    return ","


def _explain(path: Path, how: Reading, delimiter: str, num_columns: int) -> None:
    """Find what Arrow could not say: the line in the file. Slow, and only called when something is wrong."""
    explain_bytes(path, how.encoding)
    for line, cells in _records(path, how, delimiter):
        if cells and len(cells) != num_columns:
            raise DataError(
                f"{path.name}, line {line}: {len(cells)} cells where the header has {num_columns} columns. "
                f"Put cells that contain {delimiter!r} in double quotes"
                + ("; or say which `delimiter:` it is" if num_columns == 1 else "")
            )


def _records(path: Path, how: Reading, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Number in the file (of its last line) and cells of each record."""
    with as_utf8(path, how.encoding) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        limit, whole = csv.field_size_limit(BLOCK_BYTES), 0
        try:
            for cells in reader:
                yield reader.line_num, cells
                whole = reader.line_num
        except UnicodeDecodeError as error:
            explain_bytes(path, how.encoding)
            raise DataError(f"{path.name} is not UTF-8 ({error}). Save it as UTF-8") from error
        except csv.Error as error:
            if str(error) == "unexpected end of data":
                said = "a double quote opens a cell that nothing closes; inside of a cell it is written twice"
                raise DataError(f"{path.name}, line {whole + 1}: {said}") from error
            raise DataError(f"{path.name}, line {reader.line_num}: {error}") from error
        finally:
            csv.field_size_limit(limit)
