"""A table: named columns of cells, `None` where a row has nothing."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trunkline.errors import DataError, suggest

Cells = Sequence[Any]  # a list, or an Arrow array
Na = Collection[str | int | float]


@dataclass(frozen=True)
class Reading:
    """How a table is read.

    Attributes:
        na: values that mean absent, besides the empty cell.
        encoding: of files of text; by default UTF-8, or UTF-16 where the file's first bytes say so.
        delimiter: between the cells of a CSV file; by default found.
        pictures: the folder that COCO's file names start from; by default found.
    """

    na: Na = ()
    encoding: str | None = None
    delimiter: str | None = None
    pictures: Path | None = None


@dataclass(frozen=True, eq=False)
class Table:
    """Rows and named columns. A cell is a plain value, or `None` where it is absent.

    Columns read from CSV, TSV and Parquet stay in Arrow memory; a cell becomes a Python value when it is asked for.

    Attributes:
        source: where it came from, as error messages name it.
        cells: by column, as long as the table.
        base: the folder that relative paths in cells start from; `None` for the working directory.
        split: the column that says which split a row belongs to, where the source is split itself.
        parts: of several tables below each other the source and the first row of each.

    Example:
        >>> from trunkline.data import read_table
        >>> table = read_table([{"note": "red", "kind": "a"}, {"note": None, "kind": "b"}])
        >>> len(table), table.columns, table.row(1)
        (2, ('note', 'kind'), {'note': None, 'kind': 'b'})
    """

    source: str
    cells: Mapping[str, Cells]
    base: Path | None = None
    split: str | None = None
    parts: tuple[tuple[str, int], ...] = ()

    def place(self, row: int) -> tuple[str, int]:
        """Where a row is from, as error messages name it: the source, and the row's number there, from 1."""
        if not self.parts:
            return self.source, row + 1
        source, start = self.parts[bisect.bisect_right([start for _, start in self.parts], row) - 1]
        return source, row - start + 1

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(self.cells)

    def __len__(self) -> int:
        return len(next(iter(self.cells.values()), ()))

    def __repr__(self) -> str:
        return f"Table({self.source!r}, {len(self)} rows, {len(self.cells)} columns)"

    def cell(self, row: int, column: str) -> Any:
        """One value; `None` where it is absent.

        Raises:
            DataError: there is no such column.
        """
        return _as_value(self._cells_of(column)[row])

    def column(self, name: str) -> list[Any]:
        """All values of one column, `None` where absent.

        Raises:
            DataError: there is no such column.
        """
        cells = self._cells_of(name)
        return cells.to_pylist() if isinstance(cells, pa.ChunkedArray) else list(cells)

    def present(self, name: str) -> np.ndarray:
        """Which rows have a cell in this column, `[rows]` bool; none where there is no such column."""
        if name not in self.cells:
            return np.zeros(len(self), dtype=bool)
        cells = self.cells[name]
        if isinstance(cells, pa.ChunkedArray):
            return cells.is_valid().to_numpy()
        return np.fromiter((cell is not None for cell in cells), dtype=bool, count=len(cells))

    def without(self, cells: Mapping[str, Collection[int]]) -> Table:
        """The same table with some cells absent: rows by column."""
        if not any(cells.values()):
            return self
        return replace(self, cells={name: _emptied(column, cells.get(name, ())) for name, column in self.cells.items()})

    def row(self, row: int) -> dict[str, Any]:
        """One row, every column a key."""
        return {name: _as_value(cells[row]) for name, cells in self.cells.items()}

    def _cells_of(self, name: str) -> Cells:
        if name not in self.cells:
            raise DataError(f"{self.source} has no column {name!r}.{suggest(name, self.cells)}")
        return self.cells[name]


def _emptied(column: Cells, rows: Collection[int]) -> Cells:
    if not rows:
        return column
    if isinstance(column, pa.ChunkedArray):
        keeps = np.ones(len(column), dtype=bool)
        keeps[list(rows)] = False
        return pc.if_else(pa.array(keeps), column, pa.scalar(None, column.type))
    gone = set(rows)
    return [None if row in gone else cell for row, cell in enumerate(column)]


def _as_value(cell: Any) -> Any:
    return cell.as_py() if isinstance(cell, pa.Scalar) else cell


def check_unique(source: str, names: Sequence[str]) -> None:
    """Is no column named twice?

    Raises:
        DataError: which one.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{source} has more than one column named {', '.join(map(repr, twice))}")
