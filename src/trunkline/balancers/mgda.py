"""MGDA: the shortest vector in the convex hull of the tasks' gradients.

Désidéri, "Multiple-gradient descent algorithm (MGDA) for multiobjective optimization", Comptes Rendus Mathématique
2012, and Sener and Koltun, "Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018, equation 3:

    min ‖Σ_t α_t g_t‖²   with   Σ_t α_t = 1,  α >= 0

At the level `features` this is the second paper's MGDA-UB. The first paper's normalisation of gradients is not done.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from trunkline.balancers.contract import GramianBalancer
from trunkline.balancers.least_squares import nnls
from trunkline.balancers.units import Array, as_array, as_units, as_weights, strictly_convex


def min_norm_weights(gramian: Tensor) -> Array:
    """The minimum of `αᵀ G α` over the simplex, `[T]`, exactly.

    Up to its scale, it is the non-negative least squares solution of `‖Σ y_t g_t‖² + (m - m Σ y_t)²` for any `m > 0`:
    both have the optimality conditions that `(G y)_t` is equal where `y_t > 0`, and not smaller elsewhere.
    """
    if len(gramian) == 2:
        return _min_norm_pair(as_array(gramian))
    units = as_units(gramian)
    if len(units.active) < units.size:  # the shortest vector is a zero gradient
        missing = np.ones(units.size)
        missing[units.active] = 0.0
        return missing / missing.sum()
    inverse = units.norms.min() / units.norms
    y = nnls(strictly_convex(units) + np.outer(inverse, inverse), inverse) * inverse
    return units.spread(y / y.sum())


def _min_norm_pair(gramian: Array) -> Array:
    """The foot of the perpendicular from 0 to a line, or its nearer end."""
    (first, both), (_, second) = gramian.tolist()
    if both >= min(first, second):
        share = 0.5 if first == second else float(first < second)
    else:
        share = (second - both) / ((first - both) + (second - both))
    return np.array([share, 1.0 - share])


def mgda_weights(gramian: Tensor) -> Tensor:
    """Weights `[T]` of the shortest vector in the hull, from `gramian [T, T]`."""
    return as_weights(min_norm_weights(gramian), gramian)


class MGDA(GramianBalancer):
    """No task gets worse to first order, and the worst off is helped most.

    The update is as long as the hull is far from 0, so tasks with small gradients decide; one with a zero gradient
    is stationary already, and stops the shared part.
    """

    def weigh(self, gramian: Tensor, tasks: Sequence[str]) -> Tensor:
        """Equation 3."""
        return mgda_weights(gramian)
