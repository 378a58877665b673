"""Cells and rows that cannot be used: all of them, found before anything is learned."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trunkline.data import Table
from trunkline.errors import DataError
from trunkline.schema.columns import Schema
from trunkline.schema.reading import Reader, cell_reader, read_column

READ_BYTES = 192 * 2**20  # of a column of files, up to which every file is decoded; above, its beginning is looked at
TOLD = 20
NAMED = 4  # rows that have one fault in common


@dataclass(frozen=True)
class Fault:
    """Something in a row that cannot be used.

    Attributes:
        source: the table.
        row: its number, from 0.
        column: `None` where the row as a whole is at fault.
        reason: what is wrong.
        text: of the cell, where it is one.
    """

    source: str
    row: int
    column: str | None
    reason: str
    text: str | None = None

    def tell(self) -> str:
        """In one line, rows counted from 1."""
        if self.column is None:
            return f"{self.source}, row {self.row + 1}: {self.reason}"
        return str(DataError(self.reason).at(self.source, self.row + 1, self.column))

    def tell_all(self, rows: Sequence[int]) -> str:
        """The same of all rows that have it; where they are several, with what would make such cells absent."""
        if len(rows) == 1:
            return self.tell()
        first = ", ".join(str(row + 1) for row in rows[:NAMED])
        where = f"{self.source}, {len(rows)} rows ({first}{', …' if len(rows) > NAMED else ''})"
        if self.column is None:
            return f"{where}: {self.reason}"
        hint = "" if self.text is None else f"; `na: [{json.dumps(self.text, ensure_ascii=False)}]` makes them absent"
        return f"{where}, column {self.column!r}: {self.reason}{hint}"

    def as_plain(self) -> dict[str, Any]:
        """As a line of `skipped.jsonl`; rows counted from 1."""
        return {"source": self.source, "row": self.row + 1, "column": self.column, "reason": self.reason}


def find_faults(
    schema: Schema, table: Table, rows: Sequence[int] | np.ndarray | None = None, *, with_targets: bool = True
) -> list[Fault]:
    """Every cell that its input or task cannot read, and every row that has no input left, in order of rows.

    Files are decoded while they are few, and else opened: what shows only in the middle of one is met later.

    Args:
        schema: what reads which column.
        table: to look through.
        rows: only these; all by default.
        with_targets: look at target columns, too.
    """
    wanted = np.arange(len(table)) if rows is None else np.asarray(rows, dtype=np.int64)
    is_wanted = np.zeros(len(table), dtype=bool)
    is_wanted[wanted] = True
    readers: list[tuple[Reader, str]] = [(i.modality, i.column) for i in schema.inputs.values()]
    readers += [(t.task, t.column) for t in schema.tasks.values()] if with_targets else []
    found: dict[tuple[int, str], Fault] = {}
    for reader, column in readers:
        if column in table.columns:
            for row, reason in _faults_of(reader, table, column, is_wanted).items():
                if is_wanted[row]:
                    cell = None if reader.reads_files else table.cell(row, column)
                    text = cell if isinstance(cell, str) else None
                    found.setdefault((row, column), Fault(table.source, row, column, reason, text))
    faults = list(found.values())
    faults += [f for f in _rows_without_input(schema, table) if is_wanted[f.row]]
    return sorted(faults, key=lambda fault: fault.row)


def bad_cells(faults: Iterable[Fault]) -> dict[str, set[int]]:
    """Rows by column, as `Table.without` takes them."""
    cells: dict[str, set[int]] = {}
    for fault in faults:
        if fault.column is not None:
            cells.setdefault(fault.column, set()).add(fault.row)
    return cells


def tell_faults(faults: Sequence[Fault], at_most: int = TOLD) -> str:
    """One line for all rows with the same fault, and how many more faults there are."""
    alike: dict[Fault, list[int]] = {}
    for fault in faults:
        alike.setdefault(replace(fault, row=0), []).append(fault.row)
    told = list(alike.items())[:at_most]
    lines = [replace(fault, row=rows[0]).tell_all(rows) for fault, rows in told]
    more = len(faults) - sum(len(rows) for _, rows in told)
    return "\n".join([*lines, f"… and {more} more"] if more else lines)


def _faults_of(reader: Reader, table: Table, column: str, is_wanted: np.ndarray) -> dict[int, str]:
    if not reader.reads_files:
        return dict(read_column(reader, table, column).faults)
    rows = np.flatnonzero(table.present(column) & is_wanted).tolist()
    cells = [table.cell(row, column) for row in rows]
    is_much = sum(_bytes_of(cell, table.base) for cell in cells) > READ_BYTES
    look = cell_reader(reader, table, only_look=is_much)

    def fault_of(cell: Any) -> str | None:
        try:
            look(cell)
        except DataError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoders and files leave the interpreter free
        return {row: fault for row, fault in zip(rows, pool.map(fault_of, cells)) if fault is not None}


def _bytes_of(cell: Any, base: Path | None) -> int:
    if isinstance(cell, str):
        path = (base or Path()) / cell.strip()
        return path.stat().st_size if path.is_file() else 0
    return len(cell["bytes"] or b"") if isinstance(cell, dict) and "bytes" in cell else 0


def _rows_without_input(schema: Schema, table: Table) -> list[Fault]:
    """Rows in which every input is absent."""
    columns = [column.column for column in schema.inputs.values()]
    present = np.stack([table.present(column) for column in columns], 1)
    names = ", ".join(map(repr, list(schema.inputs)[:5]))
    empty = np.flatnonzero(~present.any(1)).tolist()
    reason = f"none of the inputs ({names}) is present; a row needs at least one"
    return [Fault(table.source, row, None, reason) for row in empty]
