"""Vectors: cells that are lists of numbers, always as many.

Shape legend: `n` rows, `K` numbers of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trunkline.arrays.contract import ArrayCells, Arrays, State
from trunkline.arrays.scaling import standardised
from trunkline.cells import as_list, as_number
from trunkline.contexts import Context
from trunkline.errors import DataError


@dataclass(frozen=True)
class VectorCells(ArrayCells):
    """Lists of numbers of one length.

    Attributes:
        length: how many numbers a cell has; `None`: as training had.
        separator: between the numbers of a cell that is text and no JSON.
    """

    length: int | None = None
    separator: str = "|"

    def read(self, cell: Any) -> np.ndarray:
        """`[K]` float64, from a list, an array, JSON, or text with separators.

        Raises:
            DataError: it is no list of finite numbers, or of another length than `length`.
        """
        vector = read_array(cell) if isinstance(cell, np.ndarray) else read_list(cell, self.separator)
        if len(vector) == 0:
            raise DataError("the vector is empty: it has no numbers; leave the cell empty where it is absent")
        if self.length is not None and len(vector) != self.length:
            raise DataError(f"a vector of {len(vector)} numbers; this input has length={self.length}")
        return vector

    def prepare(self, value: np.ndarray, state: State) -> tuple[np.ndarray, Context | None]:
        """`[K]` float32, standardised.

        Raises:
            DataError: training vectors had another length.
        """
        if len(value) != len(state["mean"]):
            raise DataError(f"a vector of {len(value)} numbers; those of training had {len(state['mean'])}")
        return standardised(value, state), None

    def collate(self, items: Sequence[np.ndarray]) -> Arrays:
        """`{"vector": [n, K]}`."""
        return {"vector": np.stack(items)}


def read_array(cell: np.ndarray) -> np.ndarray:
    """An array of one axis as float64.

    Raises:
        DataError: it has another shape, is not of numbers, or one of them is not finite.
    """
    if cell.ndim != 1 or cell.dtype.kind not in "biuf":
        raise DataError(f"an array of {cell.dtype}, shape {list(cell.shape)}, is no vector; give numbers of one axis")
    if len(wrong := np.flatnonzero(~np.isfinite(cell))):
        raise DataError(f"number {wrong[0] + 1} of the vector is {cell[wrong[0]]}, which is not finite")
    return cell.astype(np.float64)


def read_list(cell: Any, separator: str) -> np.ndarray:
    """Each item as a finite number, by the rules of plain numbers.

    Raises:
        DataError: the cell is no list, or an item no finite number.
    """
    items = as_list(cell, separator=separator)
    numbers = np.empty(len(items))
    for place, item in enumerate(items):
        try:
            numbers[place] = as_number(item)
        except DataError as error:
            raise DataError(f"number {place + 1} of the vector: {error}") from None
    return numbers
