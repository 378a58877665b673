"""Nash-MTL: the tasks bargain over the update.

Navon, Shamsian, Achituve, Maron, Kawaguchi, Chechik and Fetaya, "Multi-Task Learning as a Bargaining Game", ICML 2022,
claim 3.1 and algorithm 1: the Nash bargaining solution is `Σ_t α_t g_t` with

    G α = 1 / α,   α > 0

that is, `α_t (G α)_t = 1` for all tasks. Its length is √T, whatever the gradients' lengths.

The authors' code shortens the update to a norm of 1, which the paper does not say, and which is so of every update of
two tasks or more. `max_norm` does that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from trunkline.balancers.contract import GramianBalancer
from trunkline.balancers.fairness import solve_fairness
from trunkline.balancers.units import TOLERANCE, Array, as_array, as_units, as_weights, rounding_of
from trunkline.errors import ConfigError


def nash_mtl_weights(gramian: Tensor, *, max_norm: float | None = None) -> Tensor:
    """The solution `α [T]` of `G α = 1 / α`; 0 for a task without gradient.

    Args:
        gramian: `[T, T]`.
        max_norm: weights of an update that would be longer are made smaller, alike.
    """
    array = as_array(gramian)
    weights = _bargain(gramian)
    if max_norm is None:
        return as_weights(weights, gramian)
    length = math.sqrt(max(0.0, float(weights @ array @ weights)))
    return as_weights(weights * (max_norm / length) if length > max_norm else weights, gramian)


def _bargain(gramian: Tensor) -> Array:
    if len(gramian) == 2:
        (first, both), (_, second) = gramian.tolist()  # of Python, in float64
        if first > 0.0 < second:
            product = math.sqrt(first) * math.sqrt(second)
            share = math.sqrt(1 / max((product + both) / product + rounding_of(gramian), TOLERANCE))
            return np.array([share / math.sqrt(first), share / math.sqrt(second)])
    units = as_units(gramian)
    if not len(units.active):
        return np.zeros(units.size)
    return units.spread(solve_fairness(units, 1.0))


class NashMTL(GramianBalancer):
    """Every task gains the same share: no task's gradient length counts.

    Args:
        max_norm: of the update, which has the length √T without it. The authors' code has 1.
    """

    def __init__(self, max_norm: float | None = None) -> None:
        super().__init__()
        self.max_norm = max_norm

    def start(self, tasks: Sequence[str]) -> None:
        """Nothing is kept."""
        if self.max_norm is not None and not self.max_norm > 0:
            raise ConfigError(f"balancer.max_norm: {self.max_norm} is no length; a number above 0 is, or nothing")

    def weigh(self, gramian: Tensor, tasks: Sequence[str]) -> Tensor:
        """Claim 3.1."""
        return nash_mtl_weights(gramian, max_norm=self.max_norm)
