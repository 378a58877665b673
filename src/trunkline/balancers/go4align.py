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
from typing import ClassVar

import torch
from torch import Tensor

from trunkline.balancers.contract import LossBalancer, check_options
from trunkline.balancers.state import TaskState

GREATEST = 1e150  # indicator, of a loss next to nothing: its square is a number


def go4align_indicators(losses: Tensor, log_shares: Tensor) -> Tensor:
    """`γ [T]`, from positive losses and logarithms of `p`, up to a constant, all `[T]`."""
    return losses.sum() / losses * log_shares.softmax(0)


def group_means(values: Tensor, num_groups: int) -> Tensor:
    """Each number's mean in its group `[T]`, where the groups have the least squared distances to their means.

    Where the values are, without waiting for the device.

    Args:
        values: `[T]`.
        num_groups: at most; no more than there are numbers.
    """
    ranked, order = values.sort()
    places = torch.arange(len(values) + 1, device=values.device)
    sums, squares = (torch.nn.functional.pad(each.cumsum(0), (1, 0)) for each in (ranked, ranked.square()))
    lengths = places - places[:, None]
    # Of the run from one place to another, [from, to]: squared distances to its mean.
    spread = squares - squares[:, None] - (sums - sums[:, None]).square() / lengths.clamp(min=1)
    spread = torch.where(lengths > 0, spread.clamp(min=0), torch.where(lengths == 0, 0.0, torch.inf))
    best, cuts = spread[0], []
    for _ in range(num_groups - 1):
        best, cut = (best[:, None] + spread).min(0)
        cuts.append(cut)
    edges = [places[-1:]]
    for cut in reversed(cuts):
        edges.append(cut[edges[-1]])  # an index of one number, not a number: that would wait
    groups = (places[:-1, None] >= torch.cat(edges)).sum(1)
    members = (places[:num_groups, None] == groups).to(values)  # [groups, T]
    means = members @ ranked / members.sum(1)
    return torch.empty_like(values).index_copy(0, order, means[groups])


class GO4Align(LossBalancer):
    """Weights of groups, found anew in each step.

    Args:
        num_groups: how many groups, at most one a task.
        step_size: `β`, how fast tasks with great losses lose their share.
    """

    positive: ClassVar[bool] = True
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
        """Weighted by the means of the groups."""
        known = losses.detach().double()
        indicators = go4align_indicators(known, self.log_shares(tasks).to(known))
        means = group_means(indicators.clamp(max=GREATEST), min(self.num_groups, len(tasks)))
        weights = means.clamp(max=torch.finfo(losses.dtype).max).to(losses)
        return weights * losses, weights
