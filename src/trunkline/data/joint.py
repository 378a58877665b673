"""Several tables, each with its own columns and splits → one, in which every row knows whose it is."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from trunkline.data.concat import concatenate
from trunkline.data.splits import Split, Splits
from trunkline.data.table import Table
from trunkline.errors import DataError, counted, suggest

WHOSE = "table"  # the column that says which table a row is from


def named_table(table: Table, name: str, columns: Mapping[str, str | None], split: str | None = None) -> Table:
    """The table with columns under other names, and with one that says its own name.

    Args:
        table: as it was read.
        name: its own.
        columns: `{new name: column}`; a column that is named twice is there twice, and one named `None` is left out.
        split: the column that says which split a row belongs to: it has been read, and is not passed on.

    Raises:
        DataError: there is no such column, or a name is taken.
    """
    renamed = {new: old for new, old in columns.items() if old is not None}
    for new, old in renamed.items():
        if old not in table.columns:
            raise DataError(f"{table.source} has no column {old!r}.{suggest(old, table.columns)}")
        if new in table.columns and new not in renamed.values():
            raise DataError(f"{table.source}: the column {old!r} cannot be called {new!r}: another is called so")
    gone = {*columns, *renamed.values(), split, table.split}
    kept = {column: cells for column, cells in table.cells.items() if column not in gone}
    cells = {**kept, **{new: table.cells[old] for new, old in renamed.items()}}
    if WHOSE in cells:
        raise DataError(f"{table.source}: a column is called {WHOSE!r}, which says whose row it is where there are "
                        f"several tables; `columns: {{other_name: {WHOSE}}}` calls it otherwise")  # fmt: skip
    return replace(table, cells={**cells, WHOSE: [name] * len(table)}, split=None)


def join_splits(parts: Mapping[str, Splits], named: Mapping[str, Callable[[Table], Table]]) -> Splits:
    """All tables below each other, their rows in the splits that they are in; what a table lacks is absent in its rows.

    Args:
        parts: by name of the table.
        named: by name of the table, what gives it its names (`named_table`).
    """
    tables: list[Table] = []
    starts: dict[int, int] = {}
    rows: dict[str, list[np.ndarray]] = {"train": [], "validation": [], "test": []}
    for name, splits in parts.items():
        for kind, split in (("train", splits.train), ("validation", splits.validation), ("test", splits.test)):
            if split is None:
                continue
            if id(split.table) not in starts:
                starts[id(split.table)] = sum(map(len, tables))
                tables.append(named[name](split.table))
            rows[kind].append(starts[id(split.table)] + split.rows)
    whole = concatenate(tables)
    train, validation, test = (Split(whole, np.concatenate(of)) if of else None for of in rows.values())
    assert train is not None, "every table trains"
    return Splits(train, validation, test)


def warn_of_groups(parts: Mapping[str, Splits], columns: Mapping[str, tuple[str, Mapping[str, str | None]]]) -> None:
    """Say where a table trains on groups that another holds out.

    Args:
        parts: by name of the table.
        columns: that name the groups, and what columns are called in all tables together (`named_table`), by table;
            what is called alike then are the same groups.
    """
    trained, held, called = {}, {}, {}
    for name, (column, renamed) in columns.items():
        splits = parts[name]
        called[name] = next((new for new, old in renamed.items() if old == column), column)
        trained[name] = _groups(splits.train, column)
        held[name] = _groups(splits.validation, column) | _groups(splits.test, column)
    for first, second in itertools.permutations(columns, 2):
        both = held[first] & trained[second]
        if both and called[first] == called[second]:
            warnings.warn(
                f"data.tables.{second} trains on {counted(len(both), 'group')} of {columns[second][0]!r} that "
                f"{first!r} holds out. Where a column of both says the split of each group (`split`), and says the "
                "same, they are divided alike.",
                stacklevel=3,
            )


def _groups(split: Split | None, column: str) -> set[str]:
    """The groups of its rows that have a name."""
    if split is None or column not in split.table.columns:
        return set()
    cells = split.table.column(column)
    return {str(cell).strip() for row in split.rows.tolist() if (cell := cells[row]) is not None}
