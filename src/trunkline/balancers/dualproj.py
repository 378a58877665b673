"""DualProj: the mean gradient, projected so that no task objects.

Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017, equation 11, with the mean of
the tasks' gradients in place of the new task's; named and written so in Quinton and Rey, "Jacobian Descent for
Multi-Objective Optimization", 2024:

    min ‖d - 1/T Σ_t g_t‖²   with   J d >= 0;   d = Jᵀ v,  v = argmin_{v >= 1/T} vᵀ G v
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from trunkline.balancers.contract import GramianBalancer
from trunkline.balancers.least_squares import nnls
from trunkline.balancers.units import Array, as_array, as_units, as_weights, strictly_convex


def project_mean(gramian: Tensor) -> Array:
    """`argmin_{v >= 1/T} vᵀ G v`, `[T]`. A task whose gradient is zero keeps 1/T."""
    size = len(gramian)
    if size == 2:
        return _project_pair(as_array(gramian))
    units = as_units(gramian)
    if not len(units.active):
        return np.full(size, 1 / size)
    norms = units.norms / units.norms.max()
    target = -(units.cosines @ norms)
    added = nnls(strictly_convex(units), target) if target.max() > 0 else np.zeros_like(target)
    return units.spread((1.0 + added / norms) / size, 1 / size)


def _project_pair(gramian: Array) -> Array:
    """Only the shorter of two gradients can object to their mean."""
    (first, both), (_, second) = gramian.tolist()
    shares = [max(1.0, -both / square) if square > 0.0 else 1.0 for square in (first, second)]
    return np.array(shares) / 2


def dualproj_weights(gramian: Tensor) -> Tensor:
    """Weights `[T]` of the projected mean, from `gramian [T, T]`."""
    return as_weights(project_mean(gramian), gramian)


class DualProj(GramianBalancer):
    """No task gets worse to first order; without conflict with the mean, the plain mean of the gradients."""

    def weigh(self, gramian: Tensor, tasks: Sequence[str]) -> Tensor:
        """Equation 11."""
        return dualproj_weights(gramian)
