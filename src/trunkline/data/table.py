"""A table: named columns of cells, `None` where a row has nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from trunkline.errors import DataError, suggest

Cells = Sequence[Any]  # a list, or an Arrow array


@dataclass(frozen=True, eq=False)
class Table:
    """Rows and named columns. A cell is a plain value, or `None` where it is absent.

    Columns read from CSV, TSV and Parquet stay in Arrow memory; a cell becomes a Python value when it is asked for.

    Attributes:
        source: where it came from, as error messages name it.
        cells: by column, as long as the table.
        base: the folder that relative paths in cells start from; `None` for the working directory.

    Example:
        >>> from trunkline.data import read_table
        >>> table = read_table([{"note": "red", "kind": "a"}, {"note": None, "kind": "b"}])
        >>> len(table), table.columns, table.row(1)
        (2, ('note', 'kind'), {'note': None, 'kind': 'b'})
    """

    source: str
    cells: Mapping[str, Cells]
    base: Path | None = None

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

    def row(self, row: int) -> dict[str, Any]:
        """One row, every column a key."""
        return {name: _as_value(cells[row]) for name, cells in self.cells.items()}

    def _cells_of(self, name: str) -> Cells:
        if name not in self.cells:
            raise DataError(f"{self.source} has no column {name!r}.{suggest(name, self.cells)}")
        return self.cells[name]


def _as_value(cell: Any) -> Any:
    return cell.as_py() if isinstance(cell, pa.Scalar) else cell
