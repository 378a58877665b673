"""Features of nodes and of edges: numbers on one scale, names by a vocabulary, and what becomes of both in a network.

Shape legend: `M` nodes or edges, `C` features that are names, `P` that are numbers, `D` width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.cells import as_name, mean_and_scale
from trunkline.errors import DataError
from trunkline.types import State

Row = Sequence[float | str]


def fit_features(rows: Iterable[Row], what: str) -> list[State]:
    """Of each feature `{"values": [names]}`, or `{"mean", "std"}` where all training rows have a number.

    Args:
        rows: of all nodes, or of all edges, of the training graphs.
        what: they are, for errors.

    Raises:
        DataError: not all have as many features.
    """
    table = list(rows)
    sizes = sorted({len(row) for row in table})
    if len(sizes) > 1:
        raise DataError(f"{what} of some graphs have {sizes[0]} features, those of others {sizes[-1]}")
    return [_fit_column(column) for column in zip(*table)]


def encode_features(rows: Sequence[Row], states: Sequence[State], what: str) -> tuple[Tensor, Tensor]:
    """`[M, C]` ids, 0 of a name that training did not have, and `[M, P]` numbers on their scales.

    Raises:
        DataError: training had another number of features, or numbers where there is a name.
    """
    if rows and len(rows[0]) != len(states):
        raise DataError(f"{what} have {len(rows[0])} features; in training they had {len(states)}")
    columns = [[row[place] for row in rows] for place in range(len(states))]
    names = [_ids(c, s["values"]) for c, s in zip(columns, states) if "values" in s]
    numbers = [_scaled(c, s, place, what) for place, (c, s) in enumerate(zip(columns, states)) if "mean" in s]
    return _beside(names, len(rows), torch.long), _beside(numbers, len(rows), torch.float32)


class FeatureEmbedding(nn.Module):
    """A sum: of an embedding for each name, a linear map of the numbers, and a bias.

    The embedding of names that training did not have is and stays zero.

    Args:
        states: of the features.
        width: `D`.
    """

    offsets: Tensor

    def __init__(self, states: Sequence[State], width: int) -> None:
        super().__init__()
        sizes = [len(state["values"]) + 1 for state in states if "values" in state]
        numbers = len(states) - len(sizes)
        offsets = torch.tensor([0, *sizes]).cumsum(0)
        self.register_buffer("offsets", offsets[:-1], persistent=False)
        # A matrix, not an `nn.Embedding`: it has weight decay.
        self.names = nn.Parameter(torch.randn(int(offsets[-1]), width) * max(len(sizes), 1) ** -0.5)
        self.numbers = nn.Linear(numbers, width, bias=False) if numbers else None
        self.bias = nn.Parameter(torch.randn(width) * 0.02)  # all that nodes without features have
        with torch.no_grad():
            self.names[self.offsets] = 0.0

    def forward(self, names: Tensor, numbers: Tensor) -> Tensor:
        """`names [M, C]`, `numbers [M, P]` → `[M, D]`."""
        x = self.bias.expand(len(names), -1)
        if names.shape[1]:
            x = x + F.embedding(names + self.offsets, self.names).sum(1)
        return x if self.numbers is None else x + self.numbers(numbers)


def _fit_column(column: Sequence[float | str]) -> State:
    if any(isinstance(value, str) for value in column):
        return {"values": sorted(set(map(as_name, column)))}
    mean, std = mean_and_scale([float(value) for value in column])
    return {"mean": mean, "std": std}


def _ids(column: Sequence[float | str], known: Sequence[str]) -> Tensor:
    ids = {name: number for number, name in enumerate(known, start=1)}
    return torch.tensor([ids.get(as_name(value), 0) for value in column], dtype=torch.long)


def _scaled(column: Sequence[Any], state: State, place: int, what: str) -> Tensor:
    for value in column:
        if isinstance(value, str):
            raise DataError(f"feature {place} of {what} is {value!r}; in training it was always a number")
    return ((torch.tensor(column, dtype=torch.float64) - state["mean"]) / state["std"]).float()


def _beside(columns: Sequence[Tensor], rows: int, dtype: torch.dtype) -> Tensor:
    return torch.stack(list(columns), 1) if columns else torch.zeros(rows, 0, dtype=dtype)
