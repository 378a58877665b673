"""Numbers: one column of a table, standardised by the training split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from trunkline.arrays.table import NumberCells
from trunkline.cells import mean_and_scale, numbers_of
from trunkline.contexts import Context
from trunkline.modalities.contract import Modality
from trunkline.modalities.curves import fit_curve
from trunkline.modalities.table import TableBlock
from trunkline.types import State


class Number(Modality):
    """A number. Encoded in the table block.

    Args:
        decimal: read texts as people write numbers, with this sign before the decimals: `$1,200.50`, `1.200,50 €`,
            `12 kg`. By default a text is a plain number.
    """

    axis = "set"
    block = TableBlock

    def __init__(self, decimal: Literal[".", ","] | None = None) -> None:
        self.decimal = decimal

    @property
    def cells(self) -> NumberCells:
        """Reading and standardising."""
        return NumberCells(self.decimal)

    def read(self, cell: Any) -> float:
        """A finite float."""
        return self.cells.read(cell)

    def read_many(self, cells: pa.Array) -> Sequence[float] | None:
        """All of them, where each is a plain number."""
        return None if self.decimal is not None else numbers_of(cells)

    def fit(self, values: Iterable[float]) -> State:
        """`{"mean", "std", "knots", "common"}`; a constant column has `std` 1.

        Nothing of nothing: the block then takes it for absent. Mean and deviation are those of the middle 98 %, which
        an outlier does not move.
        """
        column = np.fromiter(values, dtype=np.float64)
        if len(column) == 0:
            return {}
        middle = np.clip(column, *np.quantile(column, [0.01, 0.99]))
        mean, std = mean_and_scale(middle if np.ptp(middle) > 0 else column)
        return {"mean": mean, "std": std, **fit_curve(column)}

    def prepare(self, value: float, state: State, rng: np.random.Generator | None) -> tuple[float, Context | None]:
        """Standardised; 0 where training saw no value."""
        return self.cells.prepare(value, state)
