"""Several tables → one, below each other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from trunkline.data.table import Cells, Table

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
        {name: _below([table.cells.get(name, [None] * len(table)) for table in tables]) for name in columns},
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
    """The table with a column `split` that says `name` in every row, where it has none."""
    cells = {"split": [name] * len(table)} | dict(table.cells)
    return replace(table, cells=cells, split="split")


def _below(parts: Sequence[Cells]) -> Cells:
    types = {part.type for part in parts if isinstance(part, pa.ChunkedArray)}
    if len(types) == 1 and all(isinstance(part, pa.ChunkedArray) for part in parts):
        chunks = [chunk for part in parts if isinstance(part, pa.ChunkedArray) for chunk in part.chunks]
        return pa.chunked_array(chunks, types.pop())
    return [cell for part in parts for cell in (part.to_pylist() if isinstance(part, pa.ChunkedArray) else part)]


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
    return any(isinstance(c, str) and 0 < len(c) < 500 and "\n" not in c and (base / c).is_file() for c in cells)
