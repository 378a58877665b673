"""JSONL → columns; a large file is written once as Arrow and mapped, with the very same cells."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from trunkline.cells import parse_json
from trunkline.data.encodings import as_utf8, explain_bytes
from trunkline.data.json_cells import JsonCells
from trunkline.data.mapped import is_big, mapped_copy, unpacked_size
from trunkline.data.rows import row_cells
from trunkline.data.table import PIECE, Cells, Reading
from trunkline.errors import DataError

PLAIN = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
AS_JSON = b"json"  # what a mapped column's metadata says of cells that lie there as JSON
LARGEST = 2**63 - 1


def jsonl_cells(path: Path, how: Reading) -> Mapping[str, Cells]:
    """Read a JSONL file, one object a line."""
    if not is_big(unpacked_size(path)):
        with as_utf8(path, how.encoding) as file:
            return row_cells(path.name, "line", _json_lines(path, file, how), how.na)
    table = mapped_copy(path, how, lambda: _typed(path, how))
    is_json = [(field.metadata or {}).get(b"cells") == AS_JSON for field in table.schema]
    cells = zip(table.column_names, table.columns, is_json)
    return {name: JsonCells(column) if lies else column for name, column, lies in cells}


def _typed(path: Path, how: Reading) -> Iterator[pa.Table]:
    """Piece by piece in the types that all of a column's cells have; it is read twice."""
    kinds: dict[str, set[type]] = {}
    for _, piece in _pieces(path, how):
        for name, column in piece.items():
            kinds.setdefault(name, set()).update(map(_kind, column))
    types = {name: _type(found - {type(None)}) for name, found in kinds.items()}
    fields = [pa.field(n, t or pa.string(), metadata=None if t else {b"cells": AS_JSON}) for n, t in types.items()]
    for rows, piece in _pieces(path, how):
        columns = [_column(piece.get(name, [None] * rows), kind) for name, kind in types.items()]
        yield pa.table(columns, schema=pa.schema(fields))


def _pieces(path: Path, how: Reading) -> Iterator[tuple[int, Mapping[str, Cells]]]:
    """How many rows, and what columns they have: none, where every line is `{}`."""
    with as_utf8(path, how.encoding) as file:
        lines = _json_lines(path, file, how)
        while some := list(itertools.islice(lines, PIECE)):
            yield len(some), row_cells(path.name, "line", some, how.na)


def _kind(cell: Any) -> type:
    """Its type; of what a column of its type cannot hold, none that Arrow has."""
    if type(cell) is int and not -LARGEST <= cell <= LARGEST:
        return object
    if isinstance(cell, str) and not cell.isascii():
        try:
            cell.encode()
        except UnicodeEncodeError:
            return object  # half a surrogate pair, which JSON can hold
    return type(cell)


def _type(kinds: set[type]) -> pa.DataType | None:
    """Of a column whose cells are of these kinds; `None` where only JSON holds them all."""
    return PLAIN.get(next(iter(kinds))) if len(kinds) == 1 else None


def _column(cells: Iterable[Any], kind: pa.DataType | None) -> pa.Array:
    if kind is not None:
        return pa.array(cells, kind, from_pandas=False)
    return pa.array([None if cell is None else json.dumps(cell) for cell in cells], pa.string())


def _json_lines(path: Path, lines: Iterable[bytes], how: Reading) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            if text.strip():
                yield number, parse_json(text)
        except UnicodeDecodeError as error:
            explain_bytes(path, how.encoding)
            raise DataError(f"{path.name}, line {number} is not UTF-8 ({error})") from error
        except ValueError as error:
            raise DataError(f"{path.name}, line {number} is not JSON: {error}") from error
