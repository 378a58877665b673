"""The positive solution of `G w = w^(-1/α)`: Nash bargaining at α = 1, α-fairness in general.

With `v_t = ‖g_t‖ w_t`, cosines `C` and `p = 1/α` the equations are `(C v)_t = q_t v_t^(-p)`, `q_t = ‖g_t‖^(p-1)`: the
gradient of a strictly convex function of `v > 0` is zero. Newton's method finds it; no step takes a variable nearer to
0 than a hundredth of it, nor goes past the point where the function rises by half as much as it fell at first.
"""

from __future__ import annotations

import numpy as np

from trunkline.balancers.units import Array, Units, strictly_convex

ACCURATE = 1e-13  # of q_t v_t^(-p), relative
ROUNDING = 1e-15  # of Σ_j v_j, of which (C v)_t is a difference
STEPS = 200
HALVINGS = 30  # of a step
FAR = 0.1  # from 1
FARTHEST = 500.0  # logarithm of a rate: beyond, float64 would overflow, and a task's say is all or nothing
LARGEST = 1e6  # a solution beyond it belongs to gradients whose hull has 0 in it, up to their rounding


def solve_fairness(units: Units, power: float) -> Array:
    """`w > 0` with `Σ_j ‖g_i‖ C_ij ‖g_j‖ w_j = w_i^(-power)`, `[A]`.

    Where 0 is a positive combination of the gradients there is none. The cosines get a ridge of their noise then:
    weights are large, but finite, and the update `Jᵀ w` they make is not longer than the equations ask for.

    Args:
        units: gradients.
        power: 1/α, positive.
    """
    cosines, norms = units.lifted, units.norms
    unit = np.exp(np.log(norms).mean())
    rates = np.exp(np.clip((power - 1) * np.log(norms / unit), -FARTHEST, FARTHEST))
    scale = unit ** ((power - 1) / (power + 1))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        solution, found = _newton(cosines, rates, power)
        if not found:
            solution, _ = _newton(strictly_convex(units), rates, power, largest=np.inf)
    return scale * solution / norms


def _newton(cosines: Array, rates: Array, power: float, *, largest: float = LARGEST) -> tuple[Array, bool]:
    """The `v` above, or the last one where it is not found, and whether it is."""
    start = rates ** (1 / (1 + power))  # exact for orthogonal gradients
    v = start * _stretch(cosines, rates, power, start)
    limit = largest * v
    for _ in range(STEPS):
        product, wanted = cosines @ v, rates * v**-power
        missing = wanted - product
        if (np.abs(missing) <= ACCURATE * wanted + ROUNDING * v.sum()).all():
            return v, True
        hessian = cosines.copy()
        hessian.flat[:: len(v) + 1] += power * wanted / v
        try:
            new = _advance(cosines, rates, power, v, missing, np.linalg.solve(hessian, missing).astype(float))
        except np.linalg.LinAlgError:
            break
        if new is None or not (new < limit).all():
            break
        stretch = _stretch(cosines, rates, power, new)
        v = new * stretch if abs(stretch - 1.0) > FAR else new  # near the solution it is rounding
    return v, False


def _stretch(cosines: Array, rates: Array, power: float, v: Array) -> float:
    """The `s` at which the function is least along `s v`: where a solution is long, Newton's steps double alone."""
    length = float(v @ cosines @ v)
    return float((rates * v ** (1 - power)).sum() / length) ** (1 / (1 + power)) if length > 0 else 1.0


def _advance(cosines: Array, rates: Array, power: float, v: Array, missing: Array, step: Array) -> Array | None:
    """As much of a Newton step as is safe; `None` where no part of it is, since the function is not convex."""
    along = cosines @ step
    fall = missing @ step
    share = min(1.0, 0.99 / max(0.99, -(step / v).min()))
    for _ in range(HALVINGS):
        new: Array = v + share * step
        if (rates * new**-power - rates * v**-power + missing - share * along) @ step >= -0.5 * fall:
            return new
        share /= 2
    return None
