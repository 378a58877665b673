"""Equal weights: the sum of the losses of the present tasks. What every other balancer is measured against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from trunkline.balancers.contract import LossBalancer


class Equal(LossBalancer):
    """Every present task counts once.

    A sum and not a mean: the step of one task does not shrink because another is present. Fixed weights are
    this with preferences (`tasks.*.weight`, or `preferences` of the engine), which work with every balancer.
    """

    separate: ClassVar[bool] = True

    def weigh(self, losses: Tensor, tasks: Sequence[str]) -> tuple[Tensor, Tensor]:
        """The losses as they are."""
        return losses, torch.ones_like(losses)
