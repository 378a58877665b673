"""Features of nodes and of edges: numbers on one scale, names by a vocabulary, and what becomes of both in a network.

Shape legend: `M` nodes or edges, `C` features that are names, `P` that are numbers, `D` width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.arrays.nodes import Row
from trunkline.cells import as_name, mean_and_scale
from trunkline.errors import DataError
from trunkline.types import State


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
        x = self.bias.expand(names.shape[0], -1)
        if names.shape[1]:
            x = x + F.embedding(names + self.offsets, self.names).sum(1)
        return x if self.numbers is None else x + self.numbers(numbers)


def _fit_column(column: Sequence[float | str]) -> State:
    if any(isinstance(value, str) for value in column):
        return {"values": sorted(set(map(as_name, column)))}
    mean, std = mean_and_scale([float(value) for value in column])
    return {"mean": mean, "std": std}
