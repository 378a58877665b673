"""Numbers as curves: each column's value becomes a vector along a curve that is learned piece by piece.

Shape legend: `n` rows, `P` numbers, `K` knots or common values of a column at most, `D` width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from trunkline.arrays.scaling import standardised
from trunkline.types import State

KNOTS = 64  # pieces a column has at most
COMMON = 128  # values of their own a column has at most
OFTEN = 10  # rows in which a value must occur to be one of its own
ROWS_A_PIECE = 10
BUDGET = 768  # pieces, and likewise common values, of all columns of a table together


def fit_curve(column: np.ndarray) -> State:
    """`{"knots", "common"}` of a column of finite numbers, both in its own units, ascending.

    Knots lie at quantiles in which no single value counts for more than one piece: a column that is zero in nine rows
    of ten has its knots where the tenth is. Common values are the most frequent ones.
    """
    values, counts = np.unique(column, return_counts=True)
    pieces = min(KNOTS, len(column) // ROWS_A_PIECE)
    most = np.argsort(-counts, kind="stable")[:COMMON]
    common = np.sort(values[most[counts[most] >= OFTEN]])
    return {"knots": _quantiles(values, counts, pieces).tolist(), "common": common.tolist()}


def _quantiles(values: np.ndarray, counts: np.ndarray, pieces: int) -> np.ndarray:
    """`pieces + 1` of the distinct values, at even shares of the capped counts; all of them where they are fewer."""
    if pieces < 2 or len(values) < 3:
        return values[:0]
    if len(values) <= pieces + 1:
        return values
    weights = counts.astype(np.float64)
    for _ in range(20):
        weights = np.minimum(counts, weights.sum() / pieces)
    shares = np.cumsum(weights) - weights[0]
    places = np.searchsorted(shares / shares[-1], np.linspace(0, 1, pieces + 1))
    return np.unique(values[places.clip(0, len(values) - 1)])


class Curves(nn.Module):
    """`P` numbers, standardised → their tokens: a line, a curve of pieces, and a token for each common value.

    The curve is the piecewise linear encoding of Gorishniy, Rubachev and Babenko, "On embeddings for numerical
    features in tabular deep learning" (2022), eq. 1: the share of each piece that lies below the number. The line goes
    on where the pieces end, bent so that an outlier does not drown the rest: `x / √(1 + (x / 4)²)`. A value that
    training met often has a token of its own beside, so a code that hides in a number is one step away, not many
    narrow pieces.

    Args:
        states: one a column: `{"mean", "std"}` and, where known, what `fit_curve` says.
        width: `D`.
        inputs: columns of the table in all, by which the first tokens are scaled.
    """

    low: Tensor
    span: Tensor
    values: Tensor

    def __init__(self, states: Sequence[State], width: int, *, inputs: int) -> None:
        super().__init__()
        room = BUDGET // max(len(states), 1)
        knots = [_standardised(thinned(state.get("knots", ()), room), state) for state in states]
        common = [_standardised(thinned(state.get("common", ()), room), state) for state in states]
        low, high = _padded([k[:-1] for k in knots]), _padded([k[1:] for k in knots])
        self.register_buffer("low", low, persistent=False)  # [P, K]; where there is no piece, infinity
        self.register_buffer("span", torch.where(low.isfinite(), high - low, 1.0), persistent=False)
        self.register_buffer("values", _padded(common), persistent=False)
        scale = max(inputs, 1) ** -0.5
        self.line_weight = nn.Parameter(torch.randn(len(states), width) * scale)
        self.piece_weight = nn.Parameter(torch.randn(*low.shape, width) * scale / max(low.shape[1], 1) ** 0.5)
        self.value_weight = nn.Parameter(torch.zeros(*self.values.shape, width))

    def pieces(self, x: Tensor) -> Tensor:
        """The share of each piece below the numbers, `[n, P]` → `[n, P, K]`; 0 where a column has no such piece."""
        return ((x.unsqueeze(-1) - self.low) / self.span).clamp(0.0, 1.0)

    def tokens(self, x: Tensor) -> Tensor:
        """`[n, P]` → `[n, P, D]`."""
        tokens = bent(x).unsqueeze(-1) * self.line_weight
        if self.low.shape[1]:
            tokens = tokens + torch.einsum("npk,pkd->npd", self.pieces(x), self.piece_weight)
        return tokens + self._own(x) if self.values.shape[1] else tokens

    def total(self, x: Tensor, flags: Tensor | None) -> Tensor:
        """The sum of the tokens of what is there, `[n, P]` and `[n, P]` bool (`None`: all) → `[n, D]`."""
        total = (bent(x) if flags is None else bent(x) * flags) @ self.line_weight
        if self.low.shape[1]:
            pieces = self.pieces(x) if flags is None else self.pieces(x) * flags.unsqueeze(-1)
            total = total + pieces.flatten(1) @ self.piece_weight.flatten(0, 1)
        if self.values.shape[1]:
            own = self._own(x) if flags is None else self._own(x) * flags.unsqueeze(-1)
            total = total + own.sum(1)
        return total

    def _own(self, x: Tensor) -> Tensor:
        """Tokens of common values, zero for any other number: `[n, P, D]`."""
        same = x.unsqueeze(-1) == self.values  # [n, P, K]
        places = same.int().argmax(-1) + torch.arange(x.shape[1], device=x.device) * self.values.shape[1]
        own = nn.functional.embedding(places, self.value_weight.flatten(0, 1))
        return own * same.any(-1).unsqueeze(-1)


def bent(x: Tensor) -> Tensor:
    """The line near the middle, never beyond ±4 (Holzmüller, Grinsztajn and Steinwart 2024, "smooth clipping")."""
    return x / (1 + (x / 4).square()).sqrt()


def thinned(values: Sequence[float], room: int) -> list[float]:
    """Evenly spaced ones of these, at most `room`; none where room is for less than four."""
    count = min(len(values), room)
    return [] if room < 4 else [values[int(i)] for i in np.linspace(0, len(values) - 1, count)]


def _standardised(values: Sequence[float], state: State) -> list[float]:
    return sorted(set(standardised(values, state).tolist())) if values else []  # a column without values has no scale


def _padded(rows: Sequence[Sequence[float]]) -> Tensor:
    """`[P, K]`, infinity where a row ends."""
    longest = max(map(len, rows), default=0)
    padded = [[*row, *[float("inf")] * (longest - len(row))] for row in rows]
    return torch.tensor(padded, dtype=torch.float32).reshape(len(rows), longest)
