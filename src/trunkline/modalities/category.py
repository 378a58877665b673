"""Categories: one column of a table with few values, each with its embedding."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from trunkline.arrays.table import NameCells
from trunkline.cells import tell_odd_names
from trunkline.contexts import Context
from trunkline.errors import refuse
from trunkline.modalities.contract import Modality
from trunkline.modalities.table import TableBlock
from trunkline.types import State


class Category(Modality):
    """A name out of a few. Encoded in the table block; a name that training never saw is known as unknown.

    Args:
        max_values: the most frequent this many names get an embedding of their own; one that occurs in a single row
            has nothing to learn from, and is unknown.
    """

    axis = "set"
    block = TableBlock

    def __init__(self, max_values: int = 10_000) -> None:
        self.max_values = max_values

    @property
    def cells(self) -> NameCells:
        """Reading and numbering."""
        return NameCells()

    def read(self, cell: Any) -> str:
        """The name as text; 3, 3.0 and "3.0" are one name, true and "True" another, "007" and "1e3" their own."""
        return self.cells.read(cell)

    def fit(self, values: Iterable[str]) -> State:
        """`{"values": {name: number}}`, numbered from 1, most frequent first, equal counts by name."""
        refuse("category input", {f"max_values={self.max_values}: 0 or more": self.max_values < 0})
        values = list(values)
        if odd := tell_odd_names(set(values)):
            warnings.warn(odd, stacklevel=2)
        names, counts = np.unique(np.array(values, dtype=object), return_counts=True)
        order = sorted(range(len(names)), key=lambda i: (-counts[i], names[i]))
        return {"values": {names[i]: number for number, i in enumerate(order[: self.max_values], 1) if counts[i] > 1}}

    def prepare(self, value: str, state: State, rng: np.random.Generator | None) -> tuple[int, Context | None]:
        """Its number, from 1; 0 is unknown."""
        return self.cells.prepare(value, state)
