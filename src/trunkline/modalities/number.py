"""Numbers: one column of a table, standardised by the training split."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from trunkline.cells import as_number
from trunkline.modalities.contract import Modality
from trunkline.modalities.table import TableBlock
from trunkline.types import Context, State


class Number(Modality):
    """A number. Encoded in the table block."""

    axis = "set"
    block = TableBlock

    def read(self, cell: Any) -> float:
        """A finite float."""
        return as_number(cell)

    def fit(self, values: Iterable[float]) -> State:
        """`{"mean", "std"}`; a constant column has `std` 1."""
        column = np.fromiter(values, dtype=np.float64)
        if len(column) == 0:
            return {"mean": 0.0, "std": 1.0}
        std = float(column.std())
        return {"mean": float(column.mean()), "std": std if std > 0 else 1.0}

    def prepare(self, value: float, state: State, rng: np.random.Generator | None) -> tuple[float, Context | None]:
        """Standardised."""
        return (value - state["mean"]) / state["std"], None
