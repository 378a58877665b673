"""Several tables → one, below each other."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa

from trunkline.data.splits import SPLIT_NAMES
from trunkline.data.table import PIECE, Cells, LazyCells, Table, are_there, bytes_of, emptied
from trunkline.errors import DataError, brief
from trunkline.files import is_plain_file

LOOKED_AT = 20  # cells that say whether a column holds paths


def concatenate(tables: Sequence[Table]) -> Table:
    """All rows, in order; a column that a table lacks is absent in its rows.

    Where tables lie in different folders, cells that are paths of files become absolute.
    """
    if len(tables) == 1:
        return tables[0]
    bases = {table.base for table in tables}
    base = bases.pop() if len(bases) == 1 else None
    if base is None:
        tables = [_with_absolute_paths(table) for table in tables]
    columns = dict.fromkeys(name for table in tables for name in table.columns)
    splits = {table.split for table in tables}
    return Table(
        ", ".join(table.source for table in tables),
        {name: _below([table.cells.get(name, len(table)) for table in tables]) for name in columns},
        base,
        splits.pop() if len(splits) == 1 else None,
        _parts(tables),
    )


def _parts(tables: Sequence[Table]) -> tuple[tuple[str, int], ...]:
    starts = itertools.accumulate(map(len, tables), initial=0)
    return tuple(
        (source, start + first)
        for table, start in zip(tables, starts)
        for source, first in table.parts or ((table.source, 0),)
    )


def with_split(table: Table, name: str) -> Table:
    """The table with a column `split` that says `name` in every row, where it says nothing.

    Raises:
        DataError: it has such a column, which says otherwise.
    """
    if "split" not in table.cells:
        return replace(table, cells={"split": [name] * len(table), **table.cells}, split="split")
    told = table.column("split")
    if others := sorted({str(cell) for cell in told if cell is not None and _meant(cell) != _meant(name)}):
        raise DataError(
            f"{table.source} is the split {name!r}, and its column 'split' says {brief(others[0])}: leave the column "
            "out, or call it otherwise"
        )
    return replace(
        table, cells={**table.cells, "split": [name if cell is None else cell for cell in told]}, split="split"
    )


def _meant(name: Any) -> str:
    """Of a split's names the one that all others stand for."""
    plain = str(name).strip().lower()
    return SPLIT_NAMES.get(plain, plain)


def with_splits_of_all(tables: Sequence[Table]) -> Sequence[Table]:
    """Where some bring their own held-out rows, the rows of the others are for training, unless they say otherwise."""
    if all(table.split is None for table in tables) or all(table.split is not None for table in tables):
        return tables
    return [
        table if table.split is not None else replace(table, split="split") if "split" in table.cells
        else with_split(table, "train")
        for table in tables
    ]  # fmt: skip


def _below(parts: Sequence[Cells | int]) -> Cells:
    """Cells below each other; a number is so many absent ones."""
    types = {part.type for part in parts if isinstance(part, pa.ChunkedArray)} - {pa.null()}
    if len(types) <= 1 and all(isinstance(part, pa.ChunkedArray | int) for part in parts):
        kind = types.pop() if types else pa.null()
        return pa.chunked_array([chunk for part in parts for chunk in _chunks(part, kind)], kind)
    is_long = sum(part if isinstance(part, int) else len(part) for part in parts) > PIECE
    if is_long or any(isinstance(part, LazyCells) for part in parts):
        return JoinedCells([[None] * part if isinstance(part, int) else part for part in parts])
    return [cell for part in parts for cell in _as_list(part)]


def _chunks(part: Any, kind: pa.DataType) -> list[pa.Array]:
    if isinstance(part, int):
        return [pa.nulls(part, kind)]
    return part.chunks if part.type == kind else [pa.nulls(len(part), kind)]


def _as_list(part: Any) -> Sequence[Any]:
    if isinstance(part, int):
        return [None] * part
    return part.to_pylist() if isinstance(part, pa.ChunkedArray) else part


class JoinedCells(LazyCells):
    """Columns below each other, of several types, or of which some are made as they are asked for.

    Args:
        parts: from the top.
    """

    def __init__(self, parts: Sequence[Cells]) -> None:
        self.parts = parts
        self.starts = np.cumsum([0, *map(len, parts)]).tolist()

    def __len__(self) -> int:
        return self.starts[-1]

    @overload
    def __getitem__(self, place: int) -> Any: ...
    @overload
    def __getitem__(self, place: slice) -> JoinedCells: ...
    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            start, stop, step = place.indices(len(self))
            assert step == 1, "pieces are not thinned out"
            within = [slice(max(0, start - s), max(0, stop - s)) for s in self.starts[:-1]]
            return JoinedCells([part[piece] for part, piece in zip(self.parts, within)])
        number = bisect.bisect_right(self.starts, place) - 1
        cell = self.parts[number][place - self.starts[number]]
        return cell.as_py() if isinstance(cell, pa.Scalar) else cell

    def present(self) -> np.ndarray:
        return np.concatenate([are_there(part) for part in self.parts])

    @property
    def nbytes(self) -> int:
        return sum(bytes_of(part) for part in self.parts)

    def without(self, rows: Collection[int]) -> JoinedCells:
        ordered, bounds = np.sort(list(rows)), self.starts
        within = [ordered[(ordered >= a) & (ordered < b)] - a for a, b in itertools.pairwise(bounds)]
        return JoinedCells([emptied(part, gone.tolist()) for part, gone in zip(self.parts, within)])


def _with_absolute_paths(table: Table) -> Table:
    base = table.base
    if base is None:
        return table
    cells = {
        name: _absolute(table, name, base) if _are_paths(table, name, base) else c for name, c in table.cells.items()
    }
    return replace(table, cells=cells, base=None)


def _absolute(table: Table, name: str, base: Path) -> list[Any]:
    return [str(base / cell) if isinstance(cell, str) else cell for cell in table.column(name)]


def _are_paths(table: Table, name: str, base: Path) -> bool:
    """Whether some of the first cells name files."""
    there = np.flatnonzero(table.present(name))[:LOOKED_AT]
    cells = [table.cell(int(row), name) for row in there]
    return any(isinstance(c, str) and 0 < len(c) < 500 and "\n" not in c and is_plain_file(base / c) for c in cells)
