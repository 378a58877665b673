"""Numbers: one column of a table, standardised by the training split."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from trunkline.cells import as_number, mean_and_scale
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
        """`{"mean", "std"}`; a constant column has `std` 1. Nothing of nothing: the block then takes it for absent."""
        column = list(values)
        if not column:
            return {}
        mean, std = mean_and_scale(column)
        return {"mean": mean, "std": std}

    def prepare(self, value: float, state: State, rng: np.random.Generator | None) -> tuple[float, Context | None]:
        """Standardised; 0 where training saw no value."""
        return (value - state["mean"]) / state["std"] if state else 0.0, None
