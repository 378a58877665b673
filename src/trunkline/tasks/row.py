"""The head of row tasks: one linear layer for all tasks of a stack, on normalised features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trunkline.tasks.contract import Head
from trunkline.tasks.stacking import StackedLinear


class RowHead(Head):
    """`[V, n, D]` → `[n, G, K]`.

    Args:
        first_guess: `[G, K]`, the output before anything is learned (the bias starts there), so that the first steps
            are not spent on finding how frequent each answer is.
        width: `D`.
    """

    first_guess: Tensor

    def __init__(self, first_guess: Tensor, width: int) -> None:
        super().__init__()
        self.register_buffer("first_guess", first_guess, persistent=False)
        tasks, outputs = first_guess.shape
        self.linear = StackedLinear(tasks, width, outputs)
        with torch.no_grad():
            self.linear.bias.copy_(first_guess)

    def predict_output(self, view: Tensor) -> Tensor:
        """`[n, G, K]`."""
        return self.linear(nn.functional.layer_norm(view, view.shape[-1:]))


class WeightedRowHead(RowHead):
    """A head of kinds whose classes may weigh differently and whose labels may be smoothed.

    Args:
        first_guess: `[G, K]`.
        width: `D`.
        weights: of the classes in the loss, `[G, …]`; `None` where all weigh the same.
        smoothing: share of each label that is spread evenly over what it could be.
    """

    weights: Tensor | None

    def __init__(self, first_guess: Tensor, width: int, weights: Tensor | None = None, smoothing: float = 0.0) -> None:
        super().__init__(first_guess, width)
        self.register_buffer("weights", weights, persistent=False)
        self.smoothing = smoothing


def repeat_rows(output: Sequence[Sequence[float]], rows: int, like: Tensor) -> Tensor:
    """The same output `[G, K]` for every row: `[rows, G, K]`."""
    return torch.tensor(output, device=like.device, dtype=torch.float32).expand(rows, -1, -1)


def logit(probability: float, *, margin: float = 1e-3) -> float:
    """`log(p / (1 − p))`, with `p` kept off 0 and 1 by `margin`."""
    p = min(max(probability, margin), 1 - margin)
    return float(torch.logit(torch.tensor(p, dtype=torch.float64)))
