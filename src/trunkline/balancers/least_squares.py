"""Non-negative least squares on the normal equations, many problems with one matrix at a time.

Which variables are free is found by block principal pivoting (Kim and Park, "Fast Nonnegative Matrix Factorization: An
Active-Set-Like Method and Comparisons", SIAM J. Sci. Comput. 2011, algorithm 2): all variables that break an optimality
condition change sides at once. Few exchanges do for most problems; one that takes more is solved by the active set
method of Lawson and Hanson (1974, chapter 23), as Bro and De Jong (1997) write it, which always ends.

`R` problems with `T` variables each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trunkline.balancers.units import TOLERANCE, Array

Mask = NDArray[np.bool_]

EXCHANGES = 10  # of blocks, before a problem is solved in the way that always ends
SMALL = 24  # variables, of which there is nothing to be gained by leaving the fixed ones out of a system
LARGEST = 2**21  # numbers in one batch of systems: 16 MiB


def nnls(system: Array, targets: Array, guess: Mask | None = None) -> Array:
    """`argmin_{y >= 0} ½ yᵀ A y - yᵀ b` for a positive definite `A`, and every row `b` of `targets`.

    Exact up to rounding: each row solves the equations of its free variables, and no condition is broken by more than
    1e-12.

    Args:
        system: `A [T, T]`, with a diagonal of about 1.
        targets: `[R, T]`, or `[T]` for one problem.
        guess: shaped as `targets`, which variables may be positive.

    Returns:
        Shaped as `targets`.
    """
    if targets.ndim == 1:
        return nnls(system, targets[None], None if guess is None else guess[None])[0]
    free = targets > TOLERANCE if guess is None else guess.copy()
    solutions = solve_free(system, targets, free)
    broken = _broken(system, targets, solutions, free)
    going = np.flatnonzero(broken.any(1))
    for _ in range(EXCHANGES):
        if not len(going):
            break
        own, sides = targets[going], free[going] ^ broken[going]
        found = solve_free(system, own, sides)
        free[going], solutions[going] = sides, found
        broken[going] = _broken(system, own, found, sides)
        going = going[broken[going].any(1)]
    for row in going:
        solutions[row] = lawson_hanson(system, targets[row])
    return np.maximum(solutions, 0.0)


def _broken(system: Array, targets: Array, solutions: Array, free: Mask) -> Mask:
    """Free variables below 0, and fixed ones along which the objective falls, `[R, T]`."""
    return np.where(free, -solutions, targets - solutions @ system) > TOLERANCE


def solve_free(system: Array, targets: Array, free: Mask) -> Array:
    """The minimum over the free variables of each row, 0 for the others, `[R, T]`.

    The systems of a batch are as large as its row with most free variables; the others are filled up with ones.
    """
    size = len(system)
    most = size if size <= SMALL else int(free.sum(1).max(initial=0))
    if len(targets) == 1:
        return _solve_one(system, targets, free)
    rows = max(1, LARGEST // max(1, most**2))
    if len(targets) > rows:
        parts = [solve_free(system, targets[i : i + rows], free[i : i + rows]) for i in range(0, len(targets), rows)]
        return np.concatenate(parts)
    if most == size:
        return _solve_batch(system, targets, free)
    index = np.argsort(~free, axis=1, kind="stable")[:, :most]  # free ones first
    systems = system[index[:, :, None], index[:, None, :]]
    found = _solve_batch(systems, np.take_along_axis(targets, index, 1), np.take_along_axis(free, index, 1))
    solutions = np.zeros_like(targets)
    np.put_along_axis(solutions, index, found, 1)
    return solutions


def _solve_batch(systems: Array, targets: Array, free: Mask) -> Array:
    ones = np.eye(systems.shape[-1])
    systems = np.where(free[:, :, None] & free[:, None, :], systems, ones)
    return np.linalg.solve(systems, np.where(free, targets, 0.0)[:, :, None]).astype(float, copy=False)[:, :, 0]


def _solve_one(system: Array, targets: Array, free: Mask) -> Array:
    solutions, own = np.zeros_like(targets), np.flatnonzero(free[0])
    solutions[0, own] = np.linalg.solve(system[own[:, None], own], targets[0, own])
    return solutions


def lawson_hanson(system: Array, target: Array) -> Array:
    """One problem, for `target [T]`.

    Lawson and Hanson free one variable at a time. Here every variable along which the objective falls is freed at
    once: along the way to the new minimum the objective falls, so at least one of them goes up and is kept. The
    objective falls strictly either way, so no set of free variables comes back.
    """
    solution = np.zeros_like(target)
    free = target > TOLERANCE
    _descend(system, target, solution, free)
    for _ in range(3 * len(target)):
        descent = np.where(free, 0.0, target - system @ solution)
        if descent.max() <= TOLERANCE:
            break
        free |= descent > TOLERANCE
        _descend(system, target, solution, free)
    return solution


def _descend(system: Array, target: Array, solution: Array, free: Mask) -> None:
    """Move `solution` to the minimum over the `free` variables, fixing at 0 those that would become negative."""
    while free.any():
        own = free.nonzero()[0]
        goal = np.linalg.solve(system[own[:, None], own], target[free])
        if (goal > 0).all():
            solution[free] = goal
            return
        now = solution[free]
        with np.errstate(invalid="ignore", over="ignore"):
            reach = np.where(goal > 0, np.inf, now / np.maximum(now - goal, np.finfo(np.float64).tiny))
        blocked = reach == reach.min()
        moved = now + reach.min() * (goal - now)
        solution[free] = np.where(blocked, 0.0, moved)
        free[np.flatnonzero(free)[blocked]] = False
