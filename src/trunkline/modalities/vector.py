"""Vectors: a cell that is a list of numbers, always as many (an embedding, a spectrum, key points) → one token.

Shape legend: `n` rows, `K` numbers of a vector, `D` width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trunkline.cells import as_list, as_number
from trunkline.contexts import Context
from trunkline.errors import ConfigError, DataError
from trunkline.modalities.contract import Choices, Encoder, Modality
from trunkline.types import State, Tokens


class Vector(Modality):
    """A list of numbers of one length, each place of it standardised by the training rows.

    Args:
        length: how many numbers a cell has. `None`: as many as most training cells have.
        separator: between the numbers of a cell that is text and no JSON.
        dropout: probability with which training leaves a number out.
    """

    axis = "set"

    def __init__(self, length: int | None = None, *, separator: str = "|", dropout: float = 0.1) -> None:
        self.length = length
        self.separator = separator
        self.dropout = dropout

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

    def choose(self, sample: Sequence[np.ndarray], rows: int, *, is_read: bool = False) -> Choices:
        """`length`: the one that most cells have, so that another one is an error with its row."""
        if len(sample) == 0:
            return {}
        (length, count), *_ = Counter(map(len, sample)).most_common(1)
        return {"length": (length, f"{count} of {len(sample)} training cells have so many numbers")}

    def fit(self, values: Iterable[np.ndarray]) -> State:
        """`{"mean": [K], "std": [K]}`; the scale of a place where all are equal is 1.

        Raises:
            DataError: vectors differ in length.
        """
        vectors = list(values)
        lengths = sorted({len(v) for v in vectors})
        if len(lengths) > 1:
            raise DataError(f"vectors of different lengths, from {lengths[0]} to {lengths[-1]}; one is wanted")
        if not vectors:
            return {"mean": [0.0] * (self.length or 1), "std": [1.0] * (self.length or 1)}
        table = np.stack(vectors)
        mean, std = table.mean(0), table.std(0)
        is_constant = std <= 1e-12 * np.maximum(np.abs(mean), np.finfo(np.float64).tiny)
        return {"mean": mean.tolist(), "std": np.where(is_constant, 1.0, std).tolist()}

    def prepare(
        self, value: np.ndarray, state: State, rng: np.random.Generator | None
    ) -> tuple[Tensor, Context | None]:
        """`[K]` float32, standardised.

        Raises:
            DataError: training vectors had another length.
        """
        if len(value) != len(state["mean"]):
            raise DataError(f"a vector of {len(value)} numbers; those of training had {len(state['mean'])}")
        return torch.from_numpy((value - state["mean"]) / state["std"]).float(), None

    def collate(self, items: Sequence[Tensor]) -> dict[str, Tensor]:
        """`{"vector": [n, K]}`."""
        return {"vector": torch.stack(list(items))}

    def build(self, state: State, width: int) -> VectorEncoder:
        """The layers.

        Raises:
            ConfigError: `dropout` is no probability.
        """
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout: {self.dropout} is not a probability; give 0 or more, and less than 1")
        return VectorEncoder(len(state["mean"]), width, dropout=self.dropout)


class VectorEncoder(Encoder):
    """A linear map, and beside it a layer of hidden units for what is not linear.

    Args:
        length: `K`.
        width: `D`.
        dropout: probability with which training leaves a number out.
    """

    def __init__(self, length: int, width: int, *, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.straight = nn.Linear(length, width)
        self.bent = nn.Sequential(nn.Linear(length, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, values: dict[str, Tensor]) -> Tokens:
        """`{"vector": [n, K]}` → one token, `[n, 1, D]`."""
        x = self.dropout(values["vector"])
        return Tokens.of_rows(self.straight(x) + self.bent(x), "")


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
