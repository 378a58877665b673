"""Cells and rows that cannot be used: all of them, found before anything is learned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from trunkline.data import Table
from trunkline.errors import DataError
from trunkline.files import is_plain_file
from trunkline.machine import cores
from trunkline.schema.columns import Schema
from trunkline.schema.fault import Fault
from trunkline.schema.places import miscounted, misplaced
from trunkline.schema.reading import Reader, cell_reader, read_column

READ_BYTES = 192 * 2**20  # of a column of files, up to which every file is decoded; above, its beginning is looked at


def find_faults(
    schema: Schema, table: Table, rows: Sequence[int] | np.ndarray | None = None, *, with_targets: bool = True
) -> list[Fault]:
    """Every cell that its input or task cannot read, every label that does not fit its picture or the words of
    its text, and every row that has no input left, in order of rows.

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
                    found.setdefault((row, column), Fault.at(table, row, column, reason, text))
    if with_targets:
        found |= misplaced(schema, table, is_wanted, found.keys())
        found |= miscounted(schema, table, is_wanted, found.keys())
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


def _faults_of(reader: Reader, table: Table, column: str, is_wanted: np.ndarray) -> dict[int, str]:
    if not reader.reads_files:
        found: dict[int, str] = {}
        for piece in table.pieces():
            found.update(read_column(reader, table, column, piece).faults)
        return found
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

    with ThreadPoolExecutor(cores()) as pool:  # decoders and files leave the interpreter free
        return {row: fault for row, fault in zip(rows, pool.map(fault_of, cells)) if fault is not None}


def _bytes_of(cell: Any, base: Path | None) -> int:
    if isinstance(cell, str):
        path = (base or Path()) / cell.strip()
        return path.stat().st_size if is_plain_file(path) else 0
    held = cell.get("bytes") if isinstance(cell, dict) else None
    return len(held) if isinstance(held, bytes) else 0


def _rows_without_input(schema: Schema, table: Table) -> list[Fault]:
    """Rows in which every input is absent."""
    columns = [column.column for column in schema.inputs.values()]
    present = np.stack([table.present(column) for column in columns], 1)
    names = ", ".join(map(repr, list(schema.inputs)[:5]))
    empty = np.flatnonzero(~present.any(1)).tolist()
    reason = f"none of the inputs ({names}) is present; a row needs at least one"
    return [Fault.at(table, row, None, reason) for row in empty]
