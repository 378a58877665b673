"""FairGrad: α-fair shares of the update.

Ban and Ji, "Fair Resource Allocation in Multi-Task Learning", ICML 2024, equation 4: weights `w > 0` such that

    G w = w^(-1/α)

α = 1 is proportional fairness, Nash-MTL's equation; the larger α, the more the worst off task decides (MGDA at the
limit); α = 0 is the plain sum.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trunkline.balancers.contract import GramianBalancer
from trunkline.balancers.fairness import solve_fairness
from trunkline.balancers.units import as_units, as_weights
from trunkline.errors import ConfigError


def fairgrad_weights(gramian: Tensor, *, alpha: float = 1.0) -> Tensor:
    """The solution `w [T]` of `G w = w^(-1/α)`, from `gramian [T, T]`; 0 for a task without gradient."""
    if alpha == 0:
        return torch.ones_like(gramian.diagonal())
    units = as_units(gramian)
    if not len(units.active):
        return gramian.new_zeros(units.size)
    weights = solve_fairness(units, 1 / alpha)
    return as_weights(units.spread(weights), gramian)


class FairGrad(GramianBalancer):
    """Every task gains, the weak ones more the larger α is.

    Args:
        alpha: 0 for the sum, 1 for proportional fairness; 2 and more favour the tasks that gain least.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha

    def start(self, tasks: Sequence[str]) -> None:
        """Nothing is kept."""
        if self.alpha != 0 and not 0.1 <= self.alpha < float("inf"):  # between, float64 overflows
            raise ConfigError(f"balancer.alpha: {self.alpha} cannot be; 0, or 0.1 and more can")

    def weigh(self, gramian: Tensor, tasks: Sequence[str]) -> Tensor:
        """Equation 4."""
        return fairgrad_weights(gramian, alpha=self.alpha)
