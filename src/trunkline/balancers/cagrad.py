"""CAGrad: the worst off task gains as much as it can near the mean gradient.

Liu, Liu, Jin, Stone and Liu, "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021,
section 3 and algorithm 1: with the mean gradient `g_0`,

    max_d min_t g_t · d   with   ‖d - g_0‖ <= c ‖g_0‖

whose solution is `d = g_0 + √φ / ‖g_w‖ g_w`, `φ = c² ‖g_0‖²`, where `w` minimises `g_w · g_0 + √φ ‖g_w‖` over the
simplex. The authors' code divides it by `1 + c²`, which the paper does not.

It is solved from the side of `d = g_0 + √φ û`. The shortest `û` with which every task gains at least ν has weights that
are a non-negative least squares solution, and a length that grows with ν. While the same tasks have positive weights,
its square is a quadratic function of ν, so where it is 1 is known at once; that is repeated until they stay the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from trunkline.balancers.contract import GramianBalancer
from trunkline.balancers.least_squares import nnls
from trunkline.balancers.units import TOLERANCE, Array, as_array, as_units, as_weights, strictly_convex
from trunkline.errors import ConfigError

STEPS = 50
STATIONARY = 1e-14  # squared distance of 0 from the hull of the gradients, in units of the shortest one


def cagrad_weights(gramian: Tensor, *, c: float = 0.5) -> Tensor:
    """Weights `[T]` of `d`, from `gramian [T, T]`.

    Where 0 lies in the hull of the gradients, no direction serves all and many may be equally good: `d` is then the one
    nearest to the mean.
    """
    array = as_array(gramian)
    size = len(array)
    units = as_units(gramian)
    active, norms = units.active, units.norms
    length = math.sqrt(max(0.0, array.sum())) / size
    mean = np.full(size, 1 / size)
    if c == 0 or not length > 0:
        return as_weights(mean, gramian)
    radius = c * length
    gains = array[active].sum(1) / size / norms / radius
    inverse = norms.min() / norms
    system = strictly_convex(units)
    shares = nnls(system, -gains)  # with which no task loses
    if len(active) == size or shares @ system @ shares > 1.0:
        shares = _worst_off(system, gains, inverse, shares)
    return as_weights(mean + units.spread(shares * (radius / norms)), gramian)


def _worst_off(system: Array, gains: Array, inverse: Array, harmless: Array) -> Array:
    """Weights of the unit gradients in the `û` of length 1 whose smallest gain is largest; `harmless` if that is 0.

    Args:
        system: `C [A, A]`, cosines.
        gains: `[A]`, of the mean: with the weights `z` and the smallest gain `ν`, `C z + gains >= ν inverse`, and equal
            where `z > 0`.
        inverse: `[A]`, one over the norm of each gradient.
        harmless: `[A]`, the shortest weights with `ν = 0`.
    """
    z, nu, last = harmless, 0.0, 0.0
    if z @ system @ z <= 1.0:  # from above, where the length falls to 1 without passing it
        nu = ((gains + 1.0) / inverse).min()
        z = nnls(system, nu * inverse - gains)
    for step in range(STEPS):
        free = z > 0
        if not free.any():  # too low: the mean gives as much
            nu = (nu + last) / 2
            z = nnls(system, nu * inverse - gains)
            continue
        own = free.nonzero()[0]
        sides = np.array([inverse[own], gains[own]])
        p, q = np.linalg.solve(system[own[:, None], own], sides.T).T  # z = ν p - q
        (a, b), (_, e) = (sides @ np.array([p, q]).T).tolist()  # ‖û‖² = a ν² - 2 b ν + e
        square = z @ system @ z
        root = b**2 - a * (e - 1.0)
        newton = nu + (1.0 - math.sqrt(square)) * math.sqrt(square) / (a * nu - b)
        is_closed = root > 0 and step < STEPS // 2
        last, nu = nu, (b + math.sqrt(root)) / a if is_closed else newton
        target, z = nu * inverse - gains, np.zeros_like(gains)
        z[own] = nu * p - q
        if is_closed and z.min() >= 0.0 and (target - system @ z)[~free].max(initial=0.0) <= TOLERANCE:
            break  # the same tasks, and the length that was asked for
        z = nnls(system, target, free)
        if ((z > 0) == free).all() and abs(nu - last) <= 1e-12 * (abs(nu) + 1.0):
            break
    return harmless if a * STATIONARY > 1.0 and nu >= 0 else z


class CAGrad(GramianBalancer):
    """The worst off task gains most, near the mean gradient.

    Args:
        c: how far from the mean gradient the update may be, as a share of its length: 0 up to 1, at which nothing holds
            it to the mean any more.
    """

    def __init__(self, c: float = 0.5) -> None:
        super().__init__()
        self.c = c

    def start(self, tasks: Sequence[str]) -> None:
        """Nothing is kept."""
        if not 0 <= self.c < 1:
            raise ConfigError(f"balancer.c: {self.c} is out of range; give 0 (the mean) up to, but not, 1")

    def weigh(self, gramian: Tensor, tasks: Sequence[str]) -> Tensor:
        """Algorithm 1."""
        return cagrad_weights(gramian, c=self.c)
