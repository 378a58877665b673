"""What several experts say, each for itself, joined.

Shape legend: `E` experts, `n` rows, `G` tasks, `K` numbers a task.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def product_of_experts(logs: Tensor, prior: Tensor, present: Tensor) -> Tensor:
    """`log p(y)^{1−n} Πᵢ p(y | xᵢ)` over the `n` inputs that are present; not normalised.

    The same with log-odds of a yes, which are differences of two such logarithms.

    Args:
        logs: `[E, n, G, K]`.
        prior: `[G, K]`, what is said without any input.
        present: `[E, n]` bool.
    """
    evidence = torch.where(present[..., None, None], logs - prior, torch.zeros_like(logs))
    return prior + evidence.sum(0)


class GaussianExperts(nn.Module):
    """Means of normal distributions multiplied, with the standard normal prior counted once.

    `m = Σᵢ λᵢ mᵢ / (Σᵢ λᵢ + 1 − n)` over the `n` inputs that are present. The precisions `λᵢ = 1 + softplus(aᵢ)` are
    learned, one for each input and task: no input knows less than the prior, whose precision is 1.
    """

    def __init__(self, experts: int, tasks: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.zeros(experts, tasks))

    def forward(self, means: Tensor, present: Tensor) -> Tensor:
        """`[E, n, G, 1]`, `[E, n]` → `[n, G, 1]`."""
        known = present[..., None].to(means.dtype)  # [E, n, 1]
        precision = (1 + F.softplus(self.a)).to(means.dtype).unsqueeze(1) * known  # [E, n, G]
        held = torch.where(present[..., None], means[..., 0], torch.zeros_like(means[..., 0]))
        mean = (precision * held).sum(0) / (precision.sum(0) + 1 - known.sum(0))
        return mean.unsqueeze(-1)
