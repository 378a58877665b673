"""Uncertainty weighting: each task's noise is learned, and divides its loss.

Kendall, Gal and Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and Semantics",
CVPR 2018, equation 10, with the log variance `s = log σ²` learned as the paper does in section 3.2:

    total = Σ_t  exp(-s_t) L_t + s_t / 2

That is a classification loss exactly as the paper writes it (`L / σ² + log σ`), and a Gaussian regression loss when
`L` is half the squared error (`‖y - f‖² / 2σ² + log σ`, equation 5). At the optimum `exp(-s_t) = 1 / (2 L_t)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from trunkline.balancers.contract import LossBalancer
from trunkline.balancers.state import TaskVector


def uncertainty_terms(losses: Tensor, log_variances: Tensor) -> Tensor:
    """`exp(-s_t) L_t + s_t / 2`, `[T]`, from losses and log variances `[T]`."""
    return losses * (-log_variances).exp() + log_variances / 2


class Uncertainty(LossBalancer):
    """One learned log variance a task, 0 at first: all weights start at 1."""

    separate: ClassVar[bool] = True
    log_variances: TaskVector

    def start(self, tasks: Sequence[str]) -> None:
        """One number a task."""
        self.log_variances = TaskVector(tasks, 0.0)

    def weigh(self, losses: Tensor, tasks: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Equation 10 with what has been learned so far."""
        log_variances = self.log_variances(tasks)
        return uncertainty_terms(losses, log_variances), (-log_variances).exp().detach()
