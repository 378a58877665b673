"""UW-SO: uncertainty weighting at its optimum, softened.

Kirchdorfer, Elich, Kutsche, Stuckenschmidt, Schott and Köhler, "Analytical Uncertainty-Based Loss Weighting in
Multi-Task Learning", GCPR 2024: the best weight for `L / σ + log σ` is `1 / L`; a softmax of these with a temperature
`τ` keeps one small loss from taking everything by degrees:

    total = Σ_t w_t L_t,   w = softmax(1 / (τ L)),   w without gradient
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from trunkline.balancers.contract import LossBalancer, check_options


def uw_so_weights(losses: Tensor, temperature: float) -> Tensor:
    """`softmax(1 / (τ L))`, `[..., T]`, from positive losses `[..., T]`."""
    inverse = (1 / losses).clamp(max=torch.finfo(losses.dtype).max)  # of a loss too small to be divided by
    return ((inverse - inverse.amax(-1, keepdim=True)) / temperature).softmax(-1)


class UWSO(LossBalancer):
    """Weights that add up to 1, greater for smaller losses.

    Args:
        temperature: evens the weights out. The paper tunes it for each set of data and has no default; 1 is plain.
    """

    positive: ClassVar[bool] = True

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature

    def start(self, tasks: Sequence[str]) -> None:
        """Nothing is kept."""
        check_options(self, "temperature")

    def weigh(self, losses: Tensor, tasks: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Weighted by their own inverses."""
        weights = uw_so_weights(losses.detach(), self.temperature)
        return weights * losses, weights
