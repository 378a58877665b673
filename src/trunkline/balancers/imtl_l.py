"""IMTL-L: a learned scale for each loss, such that all scaled losses become the same.

Liu, Li, Kuang, Xue, Chen, Yang, Liao and Zhang, "Towards Impartial Multi-task Learning", ICLR 2021, section 3.3:

    total = Σ_t  exp(s_t) L_t - s_t

At the optimum of `s_t` the scaled loss `exp(s_t) L_t` is 1, whatever the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from trunkline.balancers.contract import LossBalancer
from trunkline.balancers.state import TaskVector


def imtl_l_terms(losses: Tensor, scales: Tensor) -> Tensor:
    """`exp(s_t) L_t - s_t`, from losses and log scales, all `[T]`."""
    return scales.exp() * losses - scales


class IMTLL(LossBalancer):
    """One learned log scale a task, 0 at first: all weights start at 1. The run's optimiser learns them.

    Of a loss that is not positive the scale would grow without end.
    """

    positive: ClassVar[bool] = True
    scales: TaskVector

    def start(self, tasks: Sequence[str]) -> None:
        """One number a task."""
        self.scales = TaskVector(tasks, 0.0)

    def weigh(self, losses: Tensor, tasks: Sequence[str]) -> tuple[Tensor, Tensor]:
        """With the scales that have been learned so far."""
        scales = self.scales(tasks)
        return imtl_l_terms(losses, scales), scales.exp().detach()
