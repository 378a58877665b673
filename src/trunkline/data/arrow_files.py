"""Files of Arrow's formats → columns; large ones are mapped into memory, not held in it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from trunkline.data.arrow import arrow_cells, arrow_columns
from trunkline.data.encodings import open_plain
from trunkline.data.mapped import is_big, mapped_copy, read_mapped
from trunkline.data.table import PIECE, Cells, Reading
from trunkline.errors import DataError


def parquet_cells(path: Path, how: Reading) -> Mapping[str, Cells]:
    """Read a Parquet file."""
    try:
        with open_plain(path) as file:
            # A gzip stream cannot be read from its end, where Parquet keeps its index.
            whole = io.BytesIO(file.read()) if path.suffix.lower() == ".gz" else file
            parquet = pyarrow.parquet.ParquetFile(whole)
            if not is_big(_decoded_size(parquet)):
                return arrow_cells(path.name, parquet.read(), how)
            return _columns(mapped_copy(path, how, lambda: _read_again(path, parquet.iter_batches, how)))
    # The last two of names that are no UTF-8, and of sizes that are none.
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise DataError(f"{path.name} is not a Parquet file: {error}") from error


def arrow_file_cells(path: Path, how: Reading) -> Mapping[str, Cells]:
    """Read an Arrow file (also called Feather 2) or stream: mapped as it is, where all of it can be used as it is."""
    table = read_mapped(path)
    _check_whole(path, table)
    if not is_big(table.nbytes):
        return arrow_cells(path.name, table, how)
    if any(_is_changed(path, piece, how) for piece in _pieces(table.to_batches)):
        return _columns(mapped_copy(path, how, lambda: _read_again(path, table.to_batches, how)))
    return _columns(table)


def _decoded_size(parquet: pyarrow.parquet.ParquetFile) -> int:
    """Bytes in memory, from those of the first rows: what stands in the file is encoded, and may be far smaller."""
    first = next(parquet.iter_batches(PIECE), None)
    return 0 if first is None else first.nbytes * parquet.metadata.num_rows // max(1, len(first))


def _check_whole(path: Path, table: pa.Table) -> None:
    """Such files are used as they lie; what a damaged one says of places is not to be followed.

    Raises:
        DataError: it is damaged.
    """
    try:
        _ = table.column_names  # which may be no UTF-8
        for batch in table.to_batches(PIECE):
            for column in batch.columns:
                if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
                    column.validate(full=True)  # of texts `arrow_cells` says more
    except (pa.ArrowException, ValueError) as error:
        raise DataError(f"{path.name} is a damaged Arrow file: {error}") from error


def _columns(table: pa.Table) -> Mapping[str, Cells]:
    return dict(zip(table.column_names, table.columns))


def _is_changed(path: Path, piece: pa.Table, how: Reading) -> bool:
    columns = piece.columns  # asked for again they would be others
    cells = arrow_columns(path.name, piece.column_names, columns, how)
    return any(cells[name] is not column for name, column in zip(piece.column_names, columns))


def _read_again(path: Path, batches: Callable[[int], Iterator[pa.RecordBatch]], how: Reading) -> Iterator[pa.Table]:
    """Piece by piece as `arrow_cells` gives it."""
    first = 1
    for piece in _pieces(batches):
        yield pa.table(dict(arrow_cells(path.name, piece, how, first=first)))
        first += len(piece)


def _pieces(batches: Callable[[int], Iterator[pa.RecordBatch]]) -> Iterator[pa.Table]:
    return (pa.Table.from_batches([batch]) for batch in batches(PIECE))
