"""ConFIG: the direction with equal cosines to all tasks' gradients, as long as their projections onto it.

Liu, Chu and Thuerey, "ConFIG: Towards Conflict-free Training of Physics Informed Neural Networks", ICLR 2025, equations
2 and 3: with unit gradients `u_t`, the rows of `U`,

    g = (Σ_t g_t · g_u) g_u,    g_u = U⁺ 1 / ‖U⁺ 1‖

On the Gramian: `U⁺ 1 = Uᵀ C⁺ 1` with the cosines `C`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from trunkline.balancers.contract import GramianBalancer
from trunkline.balancers.equiangular import equiangular
from trunkline.balancers.units import as_units, as_weights


def config_weights(gramian: Tensor) -> Tensor:
    """Weights `[T]` from `gramian [T, T]`; 0 for a task without gradient, and for all where no direction serves all."""
    units = as_units(gramian)
    if not len(units.active):
        return gramian.new_zeros(units.size)
    direction = equiangular(units)
    projections = units.cosines @ direction  # 1, where there is such a direction
    square = direction @ projections
    if square <= 0.0:
        return gramian.new_zeros(units.size)
    weights = direction * ((units.norms @ projections) / square) / units.norms
    return as_weights(units.spread(weights), gramian)


class ConFIG(GramianBalancer):
    """The same cosine with every task's gradient, as IMTL-G; longer the more the tasks agree."""

    def weigh(self, gramian: Tensor, tasks: Sequence[str]) -> Tensor:
        """Equations 2 and 3."""
        return config_weights(gramian)
