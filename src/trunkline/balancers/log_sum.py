"""Log-sum: the sum of the logarithms of the losses, which no scale of a loss can change.

The scale-invariant baseline (SI) of Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022, section 5:

    total = Σ_t log L_t

So the weight of a task is `1 / L_t`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from trunkline.balancers.contract import LossBalancer


class LogSum(LossBalancer):
    """Each task counts by how much of its loss is left: halving any of them is worth the same."""

    positive: ClassVar[bool] = True

    def weigh(self, losses: Tensor, tasks: Sequence[str]) -> tuple[Tensor, Tensor]:
        """The logarithms."""
        return losses.log(), 1 / losses.detach()
