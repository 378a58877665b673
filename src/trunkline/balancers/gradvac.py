"""GradVac: every pair of gradients is turned towards each other until they are as similar as they usually are.

Wang, Tsvetkov, Firat and Cao, "Gradient Vaccine: Investigating and Improving Multi-task Optimization in Massively
Multilingual Models", ICLR 2021, algorithm 1. For all j != i in random order, with `φ = cos(g_i', g_j)` and the usual
similarity `φ̂` of that pair:

    g_i' <- g_i' + ‖g_i'‖ (φ̂ √(1-φ²) - φ √(1-φ̂²)) / (‖g_j‖ √(1-φ̂²)) g_j   if  φ < φ̂      (equation 2)
    φ̂   <- (1 - β) φ̂ + β φ                                                                   (equation 3)

The update is the sum of all `g_i'`. Every parameter that is compared belongs to one group.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from trunkline.balancers.contract import GramianBalancer
from trunkline.balancers.kept import Kept
from trunkline.balancers.orders import RandomOrders
from trunkline.balancers.units import Array, as_array, as_weights
from trunkline.errors import ConfigError

LARGEST = 1.0 - 1e-9  # a target of exactly 1 could be reached by infinite weights alone


def gradvac_weights(gramian: Tensor, targets: Array, orders: NDArray[np.intp], *, beta: float) -> tuple[Tensor, Array]:
    """Weights `[T]` of the sum of the turned gradients, and the targets of the next step `[T, T]`.

    A pair in which a gradient is zero has no similarity: nothing is turned and its target stays.

    Args:
        gramian: `[T, T]`.
        targets: `[T, T]`, `φ̂` of each ordered pair.
        orders: `[T, T - 1]`: row `i` holds the others in the order in which task `i` looks at them.
        beta: how much of `φ̂` is new in each step.
    """
    array = as_array(gramian.double())
    size = len(array)
    rows, norms = np.arange(size), np.sqrt(array.diagonal().clip(min=0.0))
    added, targets = np.zeros((size, size)), targets.copy()
    products, lengths = array.copy(), norms.copy()  # of g_i' with g_j; of g_i'
    for others in np.ascontiguousarray(orders.T):
        product, target, other = products[rows, others], targets[rows, others], norms[others]
        seen = (lengths > 1e-12 * norms) & (other > 0)
        cosine = np.divide(product, lengths, out=target.copy(), where=seen)
        cosine = np.divide(cosine, other, out=cosine, where=seen).clip(-1.0, 1.0)
        goal = target.clip(-LARGEST, LARGEST)
        turn = np.where(seen & (cosine < goal), lengths * (_cotangent(goal) * _sine(cosine) - cosine), 0.0)
        steps = np.divide(turn, other, out=np.zeros(size), where=seen)
        lengths = np.sqrt((lengths**2 + turn * (2 * cosine * lengths + turn)).clip(min=0.0))
        added[rows, others] = steps
        products += steps[:, None] * array[others]
        targets[rows, others] = target + beta * (cosine - target)
    return as_weights(1.0 + added.sum(0), gramian), targets


def _sine(cosine: Array) -> Array:
    return np.sqrt((1.0 - cosine) * (1.0 + cosine))


def _cotangent(cosine: Array) -> Array:
    return cosine / _sine(cosine)


class GradVac(GramianBalancer):
    """Gradients of two tasks are turned until they are as similar as they usually are.

    The first step is PCGrad's: all targets are 0 then.

    Args:
        beta: how much of a pair's usual similarity is new in each step.
        seed: of the order in which each task looks at the others. A checkpoint says how far the orders have come.
    """

    targets: Kept
    orders: RandomOrders

    def __init__(self, beta: float = 0.01, *, seed: int = 0) -> None:
        super().__init__()
        self.beta, self.seed = beta, seed

    def start(self, tasks: Sequence[str]) -> None:
        """One target an ordered pair of tasks."""
        if not 0 <= self.beta <= 1:
            raise ConfigError(f"balancer.beta: {self.beta} is no share; 0 up to 1 is")
        self.targets, self.orders = Kept(tasks, 2, 0.0), RandomOrders(self.seed)

    def begin_step(self) -> None:
        """Other orders; the targets that the last step made."""
        self.targets.begin_step()
        self.orders.begin_step()

    def weigh(self, gramian: Tensor, tasks: Sequence[str]) -> Tensor:
        """Algorithm 1. Of a step in parts, the targets become the mean of what each makes of them."""
        weights, targets = gradvac_weights(gramian, self.targets.began(tasks), self.orders.draw(tasks), beta=self.beta)
        self.targets.keep_mean(tasks, targets)
        return weights
