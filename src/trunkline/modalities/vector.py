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

from trunkline.arrays.vectors import VectorCells
from trunkline.contexts import Context
from trunkline.errors import ConfigError, DataError
from trunkline.modalities.contract import Choices, Encoder, Modality, as_tensors
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

    @property
    def cells(self) -> VectorCells:
        """Reading and standardising."""
        return VectorCells(self.length, self.separator)

    def read(self, cell: Any) -> np.ndarray:
        """`[K]` float64, from a list, an array, JSON, or text with separators.

        Raises:
            DataError: it is no list of finite numbers, or of another length than `length`.
        """
        return self.cells.read(cell)

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
        item, context = self.cells.prepare(value, state)
        return torch.from_numpy(item), context

    def collate(self, items: Sequence[Tensor]) -> dict[str, Tensor]:
        """`{"vector": [n, K]}`."""
        return as_tensors(self.cells.collate([item.numpy() for item in items]))

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
