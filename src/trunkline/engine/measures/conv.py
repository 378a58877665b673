"""Weights of convolutions of one group: a linear layer on every patch, looked at in few directions of its channels.

Shape legend: `B` rows, `C` input channels, `P` positions, `c` columns of the basis, `K` positions of the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from trunkline.engine.distributed import sum_over_ranks
from trunkline.engine.graph import Use
from trunkline.engine.levels import Gradients
from trunkline.engine.measures.basis import basis, draw, half
from trunkline.engine.measures.contract import Measure


class Convolved(Measure):
    """Forms `[out, c, K]`: the weight gradient of the same convolution on `c` mixtures of the channels.

    Args:
        uses: calls of this rank; none where only others have them.
        shape: of the weight, `[out, C, K…]`.
        columns: `c`.
        generator: of the step's directions.
        blank: a zero, on the device and in the precision wanted.
    """

    def __init__(
        self, uses: Sequence[Use], *, shape: torch.Size, columns: int, generator: torch.Generator, blank: Tensor
    ) -> None:
        super().__init__()
        self.nodes: list[Any] = [use.node for use in uses]  # what autograd has saved has no type
        self.edges = [GradientEdge(node, 0) for node in self.nodes]
        self.shape = (shape[0], columns, *shape[2:])
        inputs = [node._saved_input.detach().to(blank.dtype) for node in self.nodes]
        flat = [x.flatten(2) for x in inputs]  # [B, C, P]
        start = draw(shape[1], half(columns), generator, blank)
        image = sum(((x @ (start.T @ x).mT).sum(0) for x in flat), torch.zeros_like(start))
        directions = basis(sum_over_ranks(image), draw(shape[1], columns - half(columns), generator, blank))
        self._seen = [(directions.T @ x).unflatten(2, full.shape[2:]) for x, full in zip(flat, inputs)]

    def form(self, gradients: Gradients) -> Tensor:
        """Summed over calls."""
        calls = zip(gradients, self._seen, self.nodes)
        read = [self._weight_gradient(d.to(seen.dtype), seen, node) for d, seen, node in calls if d is not None]
        return torch.stack(read).sum(0) if len(read) > 1 else read[0]

    def _weight_gradient(self, delta: Tensor, seen: Tensor, node: Any) -> Tensor:
        weight = seen.new_empty(()).expand(self.shape)  # only its shape is read
        geometry = (getattr(node, f"_saved_{name}") for name in ("stride", "padding", "dilation"))
        padding = node._saved_output_padding
        _, gradient, _ = torch.ops.aten.convolution_backward(
            delta, seen, weight, None, *geometry, False, padding, 1, [False, True, False]
        )
        return gradient

    def size(self) -> int:
        """`out · c · K`."""
        return torch.Size(self.shape).numel()
