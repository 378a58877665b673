"""Biases of convolutions: exactly, as sums. On CPUs autograd would form the weight's gradient on the way."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from trunkline.engine.graph import Use
from trunkline.engine.levels import Gradients, precise
from trunkline.engine.measures.contract import Measure


class Summed(Measure):
    """Forms `[out]`: gradients at the outputs, summed over rows and positions.

    Args:
        uses: calls of this rank; none where only others have them.
        outputs: `out`.
    """

    def __init__(self, uses: Sequence[Use], *, outputs: int) -> None:
        super().__init__()
        self.edges = [GradientEdge(use.node, 0) for use in uses]
        self._outputs = outputs

    def form(self, gradients: Gradients) -> Tensor:
        """Summed over calls."""
        return torch.stack([precise(d).flatten(2).sum((0, 2)) for d in gradients if d is not None]).sum(0)

    def size(self) -> int:
        """`out`."""
        return self._outputs
