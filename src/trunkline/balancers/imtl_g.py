"""IMTL-G: the update has equal projections onto all tasks' gradients.

Liu, Li, Kuang, Xue, Chen, Yang, Liao and Zhang, "Towards Impartial Multi-Task Learning", ICLR 2021, section 3.1:
with unit gradients `u_t = g_t / ‖g_t‖`, weights such that

    (Σ_t α_t g_t) · u_i = (Σ_t α_t g_t) · u_j  for all i, j,   Σ_t α_t = 1

That is `α_t ∝ (C⁻¹ 1)_t / ‖g_t‖` with the cosines `C`. For dependent gradients `C⁺` stands for the inverse, as in
Quinton and Rey, "Jacobian Descent for Multi-Objective Optimization", 2024. Where weights have both signs their sum can
be negative, and the paper's update would make *every* loss rise; here `|Σ_t α_t| = 1`, and all projections are
positive.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from trunkline.balancers.contract import GramianBalancer
from trunkline.balancers.equiangular import equiangular
from trunkline.balancers.units import as_units, as_weights


def imtl_g_weights(gramian: Tensor) -> Tensor:
    """Weights `[T]` from `gramian [T, T]`; 0 for a task without gradient, and for all where no direction serves all."""
    units = as_units(gramian)
    if not len(units.active):
        return gramian.new_zeros(units.size)
    weights = equiangular(units) * (units.norms.min() / units.norms)
    total = abs(weights.sum())
    serves = total > units.noise * np.abs(weights).sum()
    return as_weights(units.spread(weights / total if serves else np.zeros_like(weights)), gramian)


class IMTLG(GramianBalancer):
    """The update has the same cosine with every task's gradient, however long that is."""

    def weigh(self, gramian: Tensor, tasks: Sequence[str]) -> Tensor:
        """Section 3.1."""
        return imtl_g_weights(gramian)
