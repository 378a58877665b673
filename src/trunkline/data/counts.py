"""The cells of one column, counted: what `describe` decides from."""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trunkline.cells import as_number, numbers_of
from trunkline.data.table import Cells
from trunkline.errors import DataError

SAMPLE = 1000  # cells that are looked at one by one


@dataclass(frozen=True, eq=False)
class Counts:
    """A column of plain cells, counted.

    Attributes:
        rows: all of them.
        present: cells that are there.
        sample: some of the cells as they are, evenly spaced.
        numbers: distinct numbers, where every cell is one; with `counts`.
        texts: distinct texts, without white space around them, where not every cell is a number; with `counts`.
        counts: cells that hold each.
        padded: cells with white space around them.
        types: Python types of the cells, where there is more than one.
    """

    rows: int
    present: int
    sample: Sequence[Any]
    numbers: np.ndarray | None = None
    texts: Sequence[str] = ()
    counts: np.ndarray | None = None
    padded: int = 0
    types: tuple[str, ...] = ()

    @property
    def distinct(self) -> int:
        """Values that differ."""
        return len(self.texts) if self.numbers is None else len(self.numbers)


def count_cells(cells: Cells) -> Counts:
    """Count a column. Lists, objects, pictures and sounds are only sampled."""
    column = cells if isinstance(cells, pa.ChunkedArray | pa.Array) else _as_arrow(cells)
    rows, present = len(cells), _num_present(cells)
    sample = _sample(cells, present)
    if column is None or pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        return _count_mixed(cells, rows, present, sample)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.string())
    column = column.drop_null()
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return _of_numbers(rows, present, sample, column.cast(pa.float64(), safe=False).to_numpy())
    column = column.cast(pa.large_string())
    trimmed = pc.utf8_trim_whitespace(column)
    padded = int(pc.sum(pc.not_equal(column, trimmed)).as_py() or 0)
    numbers = numbers_of(trimmed)
    if numbers is not None and not _has_codes(trimmed):
        return _of_numbers(rows, present, sample, np.array(numbers), padded)
    counted = pc.value_counts(trimmed)
    counts = counted.field(1).to_numpy()
    return Counts(rows, present, sample, None, counted.field(0).to_pylist(), counts, padded)


def _of_numbers(rows: int, present: int, sample: Sequence[Any], values: np.ndarray, padded: int = 0) -> Counts:
    numbers, counts = np.unique(values, return_counts=True)
    return Counts(rows, present, sample, numbers, (), counts, padded)


def _has_codes(texts: Any) -> bool:
    """Whether a number is written with zeros in front, as only codes are."""
    return bool(pc.any(pc.match_substring_regex(texts, r"^[-+]?0\d")).as_py())


def _count_mixed(cells: Cells, rows: int, present: int, sample: Sequence[Any]) -> Counts:
    """Cells of several types as texts; lists, objects and arrays are not counted."""
    if any(not isinstance(cell, str | int | float) for cell in sample):
        return Counts(rows, present, sample, types=_types(sample))
    texts = Counter(_as_text(cell) for cell in cells if cell is not None)
    padded = sum(isinstance(cell, str) and cell != cell.strip() for cell in cells)
    return Counts(rows, present, sample, None, list(texts), np.array(list(texts.values())), padded, _types(sample))


def _types(sample: Sequence[Any]) -> tuple[str, ...]:
    found = Counter(type(cell).__name__ for cell in sample)
    return tuple(name for name, _ in found.most_common()) if len(found) > 1 else ()


def _as_text(cell: Any) -> str:
    return cell.strip() if isinstance(cell, str) else json.dumps(cell)


def _as_arrow(cells: Sequence[Any]) -> pa.Array | None:
    """The list as an Arrow array, where its cells are of one plain type."""
    first = next((cell for cell in cells if cell is not None), None)
    if first is not None and not isinstance(first, str | int | float | datetime.date):
        return None
    try:
        return pa.array(cells, from_pandas=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError, OverflowError):
        return None


def _num_present(cells: Cells) -> int:
    if isinstance(cells, pa.ChunkedArray | pa.Array):
        return len(cells) - cells.null_count
    return sum(cell is not None for cell in cells)


def _sample(cells: Cells, present: int) -> list[Any]:
    """At most `SAMPLE` present cells, evenly spaced."""
    places = np.linspace(0, present - 1, min(present, SAMPLE)).astype(int)
    if isinstance(cells, pa.ChunkedArray | pa.Array):
        return cells.drop_null().take(pa.array(places)).to_pylist()
    there = [cell for cell in cells if cell is not None]
    return [there[int(place)] for place in places]


def as_numbers(cells: Cells) -> np.ndarray | None:
    """The cells as floats, NaN where one is absent or no number; `None` where fewer than half are numbers."""
    column = cells if isinstance(cells, pa.ChunkedArray | pa.Array) else _as_arrow(cells)
    if column is None or pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        return None
    at_once = numbers_of(column.drop_null())
    numbers = np.full(len(column), np.nan)
    if at_once is not None:
        numbers[column.is_valid().to_numpy(zero_copy_only=False)] = at_once
    else:
        for row, cell in enumerate(column.to_pylist()):
            try:
                numbers[row] = np.nan if cell is None else as_number(cell)
            except DataError:
                continue
    return numbers if 2 * np.isfinite(numbers).sum() >= len(numbers) > 0 else None
