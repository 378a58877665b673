"""Projection of gradients onto the cone of directions that no task objects to, from their Gramian alone.

The projection of `Jᵀ u` onto `{d : J d >= 0}` is `Jᵀ v` with `v = argmin_{v >= u} vᵀ G v` (Quinton and Rey 2024,
proposition 1). With `v = u + y` and every gradient scaled to length one, that is a non-negative least squares problem
`min ‖d + Σ_j y_j ĝ_j‖²`, `y >= 0`, in which norms of any ratio have disappeared.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from trunkline.balancers.least_squares import nnls
from trunkline.balancers.units import TOLERANCE, Array, as_array, as_units, strictly_convex


def project_weights(gramian: Tensor) -> Array:
    """Weights of every task's projected gradient: row `i` is `argmin_{v >= e_i} vᵀ G v`.

    A task whose gradient is zero is left as it is, and helps no other.

    Args:
        gramian: `[T, T]`, symmetric positive semi-definite up to rounding, finite, in the precision of its products.

    Returns:
        `[T, T]`, non-negative, with a diagonal of at least 1.
    """
    if len(gramian) == 2:
        return _project_pair(as_array(gramian))
    active, norms, cosines, size, _ = units = as_units(gramian)
    weights = np.eye(size)
    if len(active) > 1:
        system = strictly_convex(units)
        shares = _cancelling(cosines, system) if system is not cosines else None
        shares = nnls(system, -cosines) if shares is None else shares
        weights[np.ix_(active, active)] += shares * norms[:, None] / norms
    return weights


def _cancelling(cosines: Array, system: Array) -> Array | None:
    """What is added to each unit gradient if the cone is that of directions which change nothing, else `None`.

    It is, if a combination of the gradients in which all have positive weights is zero: it is then the projection of
    every gradient. Where there are more tasks than dimensions this is usual, and T problems need not be solved.
    """
    weights = 1.0 + nnls(system, -cosines.sum(1))
    ridge = system[0, 0] - cosines[0, 0]
    if np.abs(cosines @ weights).max() > (2 * ridge + 100 * TOLERANCE) * weights.max():
        return None
    return weights / weights[:, None] - np.eye(len(weights))


def _project_pair(gramian: Array) -> Array:
    """Two gradients in conflict each give up what lies along the other."""
    (first, both), (_, second) = gramian.tolist()
    shares = [-both / square if both < 0.0 < square else 0.0 for square in (first, second)]
    return np.array([[1.0, shares[1]], [shares[0], 1.0]])
