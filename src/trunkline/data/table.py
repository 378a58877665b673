"""A table: named columns of cells, `None` where a row has nothing."""

from __future__ import annotations

import bisect
import itertools
from abc import abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trunkline.errors import DataError, suggest

Cells = Sequence[Any]  # a list, an Arrow array, or cells that are made as they are asked for
Na = Collection[str | int | float]
PIECE = 2**16  # rows of a large table that are read, or prepared, at once


class LazyCells(Sequence[Any]):
    """A column whose cells are made when they are asked for, and not kept."""

    @abstractmethod
    def present(self) -> np.ndarray:
        """Which rows have a cell, `[rows]` bool; no cell is made for it."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Of all cells, where they lie."""

    @abstractmethod
    def without(self, rows: Collection[int]) -> LazyCells:
        """The same with the cells of these rows absent."""


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

    Columns read from CSV, TSV and Parquet stay in Arrow memory, or, of large files, in a file that is mapped; a cell
    becomes a Python value when it is asked for.

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

    @property
    def nbytes(self) -> int:
        """Of the columns that lie in Arrow memory, or in files."""
        return sum(map(bytes_of, self.cells.values()))

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
        return are_there(self.cells[name])

    def take(self, name: str, rows: np.ndarray) -> Cells:
        """The cells of these rows, ascending, without a copy of others.

        Raises:
            DataError: there is no such column.
        """
        cells = self._cells_of(name)
        if len(rows) == 0 or rows[-1] - rows[0] + 1 == len(rows):
            return cells[int(rows[0]) : int(rows[-1]) + 1] if len(rows) else cells[:0]
        if not isinstance(cells, pa.ChunkedArray):
            return [cells[row] for row in rows.tolist()]
        starts = np.cumsum([0, *map(len, cells.chunks)])
        bounds = np.searchsorted(rows, starts)
        # Chunk by chunk: Arrow would join all chunks of a column of texts first.
        parts = zip(cells.chunks, starts.tolist(), bounds[:-1].tolist(), bounds[1:].tolist())
        return pa.chunked_array([c.take(pa.array(rows[a:b] - s)) for c, s, a, b in parts if b > a], cells.type)

    def pieces(self) -> Iterator[np.ndarray]:
        """All row numbers, so many at once as a large table is read by."""
        for start in range(0, len(self), PIECE):
            yield np.arange(start, min(start + PIECE, len(self)))

    def letters(self, name: str) -> np.ndarray:
        """Characters of each cell as text, `[rows]`; 0 where it is absent.

        Raises:
            DataError: there is no such column.
        """
        cells = self._cells_of(name)
        if isinstance(cells, pa.ChunkedArray) and pa.types.is_string(cells.type):
            return pc.fill_null(pc.utf8_length(cells), 0).to_numpy().astype(np.int64)
        values = map(_as_value, cells)
        return np.fromiter((0 if value is None else len(str(value)) for value in values), np.int64, len(cells))

    def cut(self, rows: np.ndarray) -> Table:
        """These rows, ascending, as a table of their own."""
        return replace(self, cells={name: self.take(name, rows) for name in self.cells}, parts=())

    def without(self, cells: Mapping[str, Collection[int]]) -> Table:
        """The same table with some cells absent: rows by column."""
        if not any(cells.values()):
            return self
        return replace(self, cells={name: emptied(column, cells.get(name, ())) for name, column in self.cells.items()})

    def row(self, row: int) -> dict[str, Any]:
        """One row, every column a key."""
        return {name: _as_value(cells[row]) for name, cells in self.cells.items()}

    def _cells_of(self, name: str) -> Cells:
        if name not in self.cells:
            raise DataError(f"{self.source} has no column {name!r}.{suggest(name, self.cells)}")
        return self.cells[name]


def are_there(cells: Cells) -> np.ndarray:
    """Which cells are not absent, `[rows]` bool."""
    if isinstance(cells, pa.ChunkedArray):
        return cells.is_valid().to_numpy()
    if isinstance(cells, LazyCells):
        return cells.present()
    return np.fromiter((cell is not None for cell in cells), dtype=bool, count=len(cells))


def bytes_of(cells: Cells) -> int:
    """What the cells take in Arrow memory or in files; of a list, which is in Python's memory, nothing is said."""
    return cells.nbytes if isinstance(cells, pa.ChunkedArray | LazyCells) else 0


def _emptied_chunk(chunk: pa.Array, rows: np.ndarray) -> pa.Array:
    keeps = np.ones(len(chunk), dtype=bool)
    keeps[rows] = False
    return pc.if_else(pa.array(keeps), chunk, pa.scalar(None, chunk.type))


def emptied(column: Cells, rows: Collection[int]) -> Cells:
    """The column with the cells of these rows absent."""
    if not rows:
        return column
    if isinstance(column, LazyCells):
        return column.without(rows)
    if isinstance(column, pa.ChunkedArray):
        ordered, bounds = np.sort(list(rows)), np.cumsum([0, *map(len, column.chunks)])
        places = [ordered[(ordered >= a) & (ordered < b)] - a for a, b in itertools.pairwise(bounds.tolist())]
        chunks = [_emptied_chunk(chunk, here) if len(here) else chunk for chunk, here in zip(column.chunks, places)]
        return pa.chunked_array(chunks, column.type)  # the others stay where they lie
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
