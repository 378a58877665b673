"""Small parameters, and those that enter operations of no known kind: their gradients as autograd forms them."""

from __future__ import annotations

from torch import Tensor

from trunkline.engine.graph import dense
from trunkline.engine.levels import Gradients
from trunkline.engine.measures.contract import Measure


class Exact(Measure):
    """One copy of the parameter a task."""

    def __init__(self, leaf: Tensor) -> None:
        super().__init__()
        self.edges, self.leaf = [leaf], leaf

    def form(self, gradients: Gradients) -> Tensor:
        """The gradient."""
        (gradient,) = gradients
        assert gradient is not None
        return dense(gradient)

    def size(self) -> int:
        """All of it."""
        return self.leaf.numel()
