"""What each column of a table holds, seen from its cells: its kind, with the reason, and the mess in it.

Nothing here knows what a kind is used for; who reads the description decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from trunkline.data.counts import Counts, count_cells
from trunkline.data.description import Description
from trunkline.data.kinds import objects_as, texts_as
from trunkline.data.numerals import numbers_as, sentinels, texts_as_numbers
from trunkline.data.table import Cells, Table

COMMON = 20  # frequent values that a description keeps


def describe(table: Table, columns: Iterable[str] | None = None) -> dict[str, Description]:
    """What these columns hold; by default all of them.

    Example:
        >>> from trunkline.data import read_table
        >>> table = read_table([{"age": 3.5, "town": "a"}, {"age": 7, "town": "b"}, {"age": 9, "town": "a"}])
        >>> {name: found.kind for name, found in describe(table).items()}
        {'age': 'number', 'town': 'category'}
    """
    return {
        name: describe_column(name, table.cells[name], table.base)
        for name in (table.columns if columns is None else columns)
    }


def describe_column(name: str, cells: Cells, base: Path | None = None) -> Description:
    """What one column holds.

    Args:
        name: of the column; `patient_id` says something that its cells do not.
        cells: all of them.
        base: the folder that paths in cells start from.
    """
    counts = count_cells(cells)
    if counts.present == 0:
        return Description("empty", "every cell is absent", counts.rows, distinct=0)
    if counts.counts is None:
        return replace(objects_as(counts.sample), rows=counts.rows, present=counts.present)
    found = _decide(name, counts, base)
    mess = list(found.mess)
    if counts.padded:
        mess.append(f"{counts.padded} cells have white space around them")
    if counts.types:
        mess.append(f"cells of several types: {', '.join(counts.types)}")
    return replace(
        found,
        rows=counts.rows,
        present=counts.present,
        distinct=counts.distinct,
        common=_common(counts),
        mess=tuple(mess),
    )


def _decide(name: str, counts: Counts, base: Path | None) -> Description:
    if counts.numbers is not None:
        assert counts.counts is not None
        finite = np.isfinite(counts.numbers)
        if not finite.any():
            return Description("unknown", "no number is finite")
        numbers, of = counts.numbers[finite], counts.counts[finite]
        na = sentinels(numbers, of)
        if na:
            numbers, of = numbers[1:], of[1:]
        found = replace(numbers_as(name, numbers, of), na=na)
        mess = [f"{int(counts.counts[~finite].sum())} cells are not finite"] if not finite.all() else []
        mess += [f"{na[0]} seems to mean absent"] if na else []
        return replace(found, mess=tuple(mess))
    return texts_as_numbers(name, counts) or texts_as(name, counts, base)


def _common(counts: Counts) -> tuple[str, ...]:
    """The most frequent values, as text."""
    assert counts.counts is not None
    order = np.argsort(-counts.counts, kind="stable")[:COMMON]
    if counts.numbers is not None:
        return tuple(f"{counts.numbers[i]:.6g}" for i in order)
    return tuple(counts.texts[int(i)] for i in order)
