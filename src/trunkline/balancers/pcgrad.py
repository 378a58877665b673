"""PCGrad: every task's gradient gives up what conflicts with the others', one after the other; then all are added.

Yu, Kumar, Gupta, Levine, Hausman and Finn, "Gradient Surgery for Multi-Task Learning", NeurIPS 2020, algorithm 1:

    g_i^PC <- g_i^PC - (g_i^PC · g_j) / ‖g_j‖² g_j   if  g_i^PC · g_j < 0,   for all j != i in random order

The sum is the paper's; most code divides it by T.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from trunkline.balancers.contract import GramianBalancer
from trunkline.balancers.orders import RandomOrders
from trunkline.balancers.units import Array, as_array, as_weights


def pcgrad_weights(gramian: Tensor, orders: NDArray[np.intp]) -> Tensor:
    """Weights `[T]` of the sum of the projected gradients.

    Args:
        gramian: `[T, T]`.
        orders: `[T, T - 1]`: row `i` holds the others in the order in which task `i` looks at them.
    """
    array = as_array(gramian.double())
    return as_weights(_pair(array) if len(array) == 2 else _project(array, orders), gramian)


def _pair(gramian: Array) -> Array:
    (first, both), (_, second) = gramian.tolist()
    return np.array([1.0 - both / square if both < 0.0 < square else 1.0 for square in (first, second)])


def _project(gramian: Array, orders: NDArray[np.intp]) -> Array:
    """Tasks do not see what others gave up, so they all take their next step at once."""
    size = len(gramian)
    rows, squares = np.arange(size), gramian.diagonal()
    added = np.zeros((size, size))
    products = gramian.copy()  # [i, j]: of g_i^PC and g_j
    for others in np.ascontiguousarray(orders.T):
        product, square = products[rows, others], squares[others]
        steps = np.divide(-product, square, out=np.zeros(size), where=(product < 0) & (square > 0))
        added[rows, others] = steps
        products += steps[:, None] * gramian[others]
    return 1.0 + added.sum(0)


class PCGrad(GramianBalancer):
    """Each gradient gives up what conflicts with the others; without conflict, the plain sum of the gradients.

    Args:
        seed: of the order in which each task looks at the others. A checkpoint says how far the orders have come.
    """

    orders: RandomOrders

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    def start(self, tasks: Sequence[str]) -> None:
        """Orders from the first one on."""
        self.orders = RandomOrders(self.seed)

    def begin_step(self) -> None:
        """Other orders."""
        self.orders.begin_step()

    def weigh(self, gramian: Tensor, tasks: Sequence[str]) -> Tensor:
        """Algorithm 1."""
        return pcgrad_weights(gramian, self.orders.draw(tasks))
