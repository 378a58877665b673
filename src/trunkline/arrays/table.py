"""Numbers and categories: columns of a table.

Shape legend: `n` rows, `P` columns of numbers, `C` of categories.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trunkline.arrays.contract import Arrays, Cells, State
from trunkline.arrays.scaling import near
from trunkline.cells import as_name, read_number
from trunkline.contexts import Context


@dataclass(frozen=True)
class NumberCells(Cells):
    """Numbers; `decimal`: the sign before the decimals in texts that people wrote."""

    decimal: str | None = None

    def read(self, cell: Any) -> float:
        """A finite float."""
        return read_number(cell, self.decimal)

    def prepare(self, value: float, state: State) -> tuple[float, Context | None]:
        """Standardised; 0 where training saw no value."""
        return (value - state["mean"]) / state["std"] if state else 0.0, None


@dataclass(frozen=True)
class NameCells(Cells):
    """Names out of a few."""

    def read(self, cell: Any) -> str:
        """The name as text."""
        return as_name(cell)

    def prepare(self, value: str, state: State) -> tuple[int, Context | None]:
        """Its number, from 1; 0 is unknown."""
        return state["values"].get(value, 0), None


def pack(states: Mapping[str, State], items: Mapping[str, Sequence[Any]]) -> Arrays:
    """Prepared items of each column, `None` where absent → `{"numbers": [n, P] float32, "categories": [n, C] int64}`,
    0 where absent.
    """
    rows = len(next(iter(items.values())))

    def columns(is_category: bool, dtype: Any) -> np.ndarray:
        names = [name for name, state in states.items() if ("values" in state) == is_category]
        filled = [[0 if value is None else value for value in items[name]] for name in names]
        return np.array(filled, dtype=dtype).reshape(len(names), rows).T

    return {"numbers": near(columns(False, np.float64)).copy(), "categories": columns(True, np.int64).copy()}
