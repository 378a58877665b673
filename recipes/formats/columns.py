"""Tables of other people: columns chosen, renamed, derived."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trunkline.data import read_table
from trunkline.errors import DataError, suggest

Row = dict[str, Any]


def choose_columns(
    path: Path, columns: Mapping[str, str], is_value: Mapping[str, tuple[str, str]] | None = None
) -> Iterator[Row]:
    """The rows of a table with other columns.

    Args:
        path: a CSV, TSV, JSONL or Parquet file, each also `.gz`.
        columns: new name → the table's name.
        is_value: new name → (the table's name, a value): 1 where the cell has this value, 0 where it has another,
            absent where the cell is absent.

    Raises:
        DataError: there is no such file or column.

    Example:
        >>> choose_columns(Path("adult.csv"), {"age": "age"}, {"never_married": ("marital-status", "Never-married")})
        <generator object choose_columns at 0x...>
    """
    table = read_table(path)
    wanted = [*columns.values(), *(column for column, _ in (is_value or {}).values())]
    for column in wanted:
        if column not in table.columns:
            raise DataError(f"{path}: the table has no column {column!r}.{suggest(column, table.columns)}")
    for number in range(len(table)):
        row = table.row(number)
        chosen = {new: row[old] for new, old in columns.items()}
        for new, (old, value) in (is_value or {}).items():
            chosen[new] = None if row[old] is None else int(row[old] == value)
        yield chosen
