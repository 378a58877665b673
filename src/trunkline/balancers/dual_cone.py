"""Projection of gradients onto the cone of directions that no task objects to, from their Gramian alone.

The projection of `g_i` onto `{d : J d >= 0}` is `Jᵀ v` with `v = argmin_{v >= e_i} vᵀ G v` (Quinton and Rey 2024,
proposition 1). With `v = e_i + u` and every gradient scaled to length one, that is a non-negative least squares
problem `min ‖ĝ_i + Σ_j y_j ĝ_j‖²`, `y >= 0`, in which norms of any ratio have disappeared. It is solved by the active
set method of Lawson and Hanson (1974, chapter 23) on the normal equations, as Bro and De Jong (1997) write it, warm
started with the tasks that conflict with `i`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TOLERANCE = 1e-12  # in units of cosines; float64 products of unit vectors are good to about 1e-15


def project_weights(gramian: Array) -> Array:
    """Weights of every task's projected gradient: row `i` is `argmin_{v >= e_i} vᵀ G v`.

    A task whose gradient is zero is left as it is, and helps no other.

    Args:
        gramian: `[T, T]`, symmetric positive semi-definite up to rounding, finite.

    Returns:
        `[T, T]`, non-negative, with a diagonal of at least 1.
    """
    size = len(gramian)
    weights = np.eye(size)
    norms = np.sqrt(np.diagonal(gramian).clip(min=0.0))
    active = np.flatnonzero(norms > 0)
    if len(active) < 2:
        return weights
    norms = norms[active]
    cosines = (gramian[np.ix_(active, active)] / norms / norms[:, None]).clip(-1.0, 1.0)
    shares = _project_pair(cosines) if len(active) == 2 else _project_many(cosines)
    weights[np.ix_(active, active)] += shares * norms[:, None] / norms
    return weights


def _project_pair(cosines: Array) -> Array:
    """Two unit gradients in conflict each give up what lies along the other."""
    share = max(0.0, -cosines[0, 1])
    return np.array([[0.0, share], [share, 0.0]])


def _project_many(cosines: Array) -> Array:
    """`y [T, T]`: how much of each unit gradient is added to the one of the row."""
    # A Gramian of float32 products may be indefinite by its rounding: a ridge of that size makes the problem
    # strictly convex, so that colinear gradients share their weight and nothing cycles.
    ridge = TOLERANCE - min(0.0, float(np.linalg.eigvalsh(cosines)[0]))
    system = cosines + ridge * np.eye(len(cosines))
    return np.stack([nnls(system, -row) for row in cosines])


def nnls(system: Array, target: Array, tolerance: float = TOLERANCE) -> Array:
    """`argmin_{y >= 0} ½ yᵀ A y - yᵀ b` for a positive definite `A [T, T]` and `b [T]`.

    Lawson and Hanson free one variable at a time. Here every variable along which the objective falls is freed at
    once: along the way to the new minimum the objective falls, so at least one of them goes up and is kept. The
    objective falls strictly either way, so no set of free variables comes back.
    """
    solution = np.zeros_like(target)
    free = target > tolerance
    _descend(system, target, solution, free)
    for _ in range(3 * len(target)):
        descent = np.where(free, 0.0, target - system @ solution)
        if descent.max() <= tolerance:
            break
        free |= descent > tolerance
        _descend(system, target, solution, free)
    return solution


def _descend(system: Array, target: Array, solution: Array, free: NDArray[np.bool_]) -> None:
    """Move `solution` to the minimum over the `free` variables, fixing at 0 those that would become negative."""
    while free.any():
        goal = np.linalg.solve(system[np.ix_(free, free)], target[free])
        if (goal > 0).all():
            solution[free] = goal
            return
        now = solution[free]
        with np.errstate(invalid="ignore"):
            reach = np.where(goal > 0, np.inf, now / np.maximum(now - goal, np.finfo(np.float64).tiny))
        blocked = reach == reach.min()
        moved = now + reach.min() * (goal - now)
        solution[free] = np.where(blocked, 0.0, moved)
        free[np.flatnonzero(free)[blocked]] = False
