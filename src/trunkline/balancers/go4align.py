"""GO4Align: tasks whose risks develop alike form groups, and a group has one weight.

Shen, Wang, Xiao, van Noord and Worring, "GO4Align: Group Optimization for Multi-Task Alignment", NeurIPS 2024, as its
code has it. With `p` uniform at first, in each step

    p_t ∝ p_t exp(-β L_t),   s_t = Σ_j L_j / L_t,   γ = s · p      (risk-guided indicators)
    groups = k-means of γ in one dimension,   w_t = the mean of γ in the group of t
    total = Σ_t w_t L_t,   w without gradient

k-means of numbers has an exact solution, which cuts the sorted numbers into runs; it is found here, where the code runs
Lloyd's iterations from random starts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trunkline.balancers.contract import LossBalancer, check_options, check_positive
from trunkline.balancers.state import TaskState

Array = NDArray[np.float64]


def go4align_indicators(losses: Tensor, log_shares: Tensor) -> Tensor:
    """`γ [T]`, from positive losses and logarithms of `p`, up to a constant, all `[T]`."""
    return losses.sum() / losses * log_shares.softmax(0)


def group_means(values: Array, num_groups: int) -> Array:
    """Each number's mean in its group `[T]`, where the groups have the least squared distances to their means.

    Args:
        values: `[T]`.
        num_groups: at most; no more than there are different numbers.
    """
    order = np.argsort(values)
    ranked = values[order]
    size = len(ranked)
    sums, squares = (np.concatenate([[0.0], np.cumsum(each)]) for each in (ranked, ranked**2))
    start = np.arange(size + 1)

    def spread(stop: int) -> Array:
        """Squared distances of the runs `[start, stop)`, by start."""
        lengths = stop - start[:stop]
        return squares[stop] - squares[:stop] - (sums[stop] - sums[:stop]) ** 2 / lengths

    best = np.full((num_groups + 1, size + 1), np.inf)
    best[0, 0] = 0.0
    cut = np.zeros((num_groups + 1, size + 1), dtype=int)
    for stop in range(1, size + 1):
        costs = best[:-1, :stop] + spread(stop)
        cut[1:, stop] = costs.argmin(1)
        best[1:, stop] = costs.min(1)
    means = np.empty(size)
    groups, stop = int(best[:, size].argmin()), size
    while stop > 0:
        begin = cut[groups, stop]
        means[order[begin:stop]] = ranked[begin:stop].mean()
        groups, stop = groups - 1, begin
    return means


class GO4Align(LossBalancer):
    """Weights of groups, found anew in each step.

    Args:
        num_groups: how many groups, at most one a task.
        step_size: `β`, how fast tasks with great losses lose their share.
    """

    log_shares: TaskState

    def __init__(self, num_groups: int = 2, *, step_size: float = 1e-4) -> None:
        super().__init__()
        self.num_groups, self.step_size = num_groups, step_size

    def start(self, tasks: Sequence[str]) -> None:
        """Equal shares."""
        check_options(self, "num_groups")
        self.log_shares = TaskState(tasks, 0.0)

    def observe(self, losses: Tensor, tasks: Sequence[str]) -> None:
        """`log p ← log p - β L`; shares are those of the present tasks, so nothing else need be divided."""
        self.log_shares.set(tasks, self.log_shares(tasks) - self.step_size * losses.to(self.log_shares.values))

    def weigh(self, losses: Tensor, tasks: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Weighted by the means of the groups; on the host.

        Raises:
            RunError: a loss is not positive.
        """
        check_positive(losses, tasks, self)
        known = losses.detach().double()
        indicators = go4align_indicators(known, self.log_shares(tasks).to(known)).cpu().numpy()
        means = group_means(indicators, min(self.num_groups, len(tasks)))
        weights = torch.from_numpy(means).clamp(max=torch.finfo(losses.dtype).max).to(losses)
        return weights * losses, weights
