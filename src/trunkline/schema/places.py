"""Labels of places in a picture, or of the words of a text: do they fit it?"""

from __future__ import annotations

import warnings
from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from trunkline.cells import as_file
from trunkline.data import Table
from trunkline.errors import DataError
from trunkline.machine import cores
from trunkline.schema.columns import InputColumn, Schema, TaskColumn
from trunkline.schema.fault import Fault, tell_faults
from trunkline.schema.reading import read_values
from trunkline.tasks import Task

REMARKS = 5  # that a warning shows


def miscounted(
    schema: Schema, table: Table, is_wanted: np.ndarray, known: Set[tuple[int, str]]
) -> dict[tuple[int, str], Fault]:
    """Labels that do not fit the words of their text, by row and column. Arguments: see `misplaced`."""
    faults: dict[tuple[int, str], Fault] = {}
    for column in schema.tasks.values():
        of = None if column.of is None else schema.inputs[column.of]
        if of is None or type(column.task).check_words is Task.check_words:
            continue
        rows = _both_there(column, of, table, is_wanted, known)
        labels = read_values(column.task, table, column.column, rows)
        texts = read_values(of.modality, table, of.column, rows)
        for (row, label), (_, text) in zip(labels, texts, strict=True):
            words = of.modality.count_words(text)
            try:
                if words is not None:
                    column.task.check_words(label, words)
            except DataError as error:
                faults[row, column.column] = Fault.at(table, row, column.column, str(error))
    return faults


def _both_there(
    column: TaskColumn, of: InputColumn, table: Table, is_wanted: np.ndarray, known: Set[tuple[int, str]]
) -> list[int]:
    """The rows that have the label and what it is about, both readable."""
    there = table.present(of.column) & table.present(column.column) & is_wanted
    return [row for row in np.flatnonzero(there).tolist() if known.isdisjoint(((row, of.column), (row, column.column)))]


def misplaced(
    schema: Schema, table: Table, is_wanted: np.ndarray, known: Set[tuple[int, str]]
) -> dict[tuple[int, str], Fault]:
    """Labels that do not fit their picture, by row and column; a warning tells of what is odd, but can be used.

    Args:
        schema: what is bound to which column.
        table: to look through.
        is_wanted: `[rows]` bool.
        known: cells that cannot be read.
    """
    faults: dict[tuple[int, str], Fault] = {}
    for column in schema.tasks.values():
        of = None if column.of is None else schema.inputs[column.of]
        if of is None or type(column.task).check_place is Task.check_place:
            continue
        found, remarks = _look(column, of, table, _both_there(column, of, table, is_wanted, known))
        faults |= {(fault.row, column.column): fault for fault in found}
        if remarks:
            warnings.warn(tell_faults(remarks, REMARKS), stacklevel=2)
    return faults


def _look(column: TaskColumn, of: InputColumn, table: Table, rows: list[int]) -> tuple[list[Fault], list[Fault]]:
    """What does not fit, and what is odd."""

    def look(row: int) -> tuple[str | None, list[str]]:
        cell, picture = table.cell(row, column.column), table.cell(row, of.column)
        size = of.modality.measure(as_file(picture, table.base) if of.modality.reads_files else picture)
        if size is None:
            return None, []
        try:
            label = as_file(cell, table.base) if column.task.reads_files else cell
            return None, list(column.task.check_place(label, size))
        except DataError as error:
            return str(error), []

    with ThreadPoolExecutor(cores()) as pool:
        found = list(zip(rows, pool.map(look, rows)))
    faults = [Fault.at(table, row, column.column, why) for row, (why, _) in found if why is not None]
    return faults, [Fault.at(table, row, column.column, odd) for row, (_, each) in found for odd in each]
