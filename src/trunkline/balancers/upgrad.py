"""UPGrad: project every task's gradient so that no task objects, then take the mean.

Quinton and Rey, "Jacobian Descent for Multi-Objective Optimization", 2024, equation 5: `A_UPGrad(J)` is the mean of
the projections of the rows of `J` onto the dual cone `{d : J d >= 0}`. By proposition 1 its weights are

    w = 1/T Σ_i argmin_{v >= e_i} vᵀ G v
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from trunkline.balancers.contract import GramianBalancer
from trunkline.balancers.dual_cone import project_weights
from trunkline.balancers.units import as_weights


def upgrad_weights(gramian: Tensor) -> Tensor:
    """Weights `[T]` of the mean of the projected gradients, from `gramian [T, T]`; solved in float64 on the host."""
    return as_weights(project_weights(gramian).mean(0), gramian)


class UPGrad(GramianBalancer):
    """No task gets worse to first order; without conflict, the plain mean of the gradients."""

    def weigh(self, gramian: Tensor, tasks: Sequence[str]) -> Tensor:
        """Proposition 1."""
        return upgrad_weights(gramian)
