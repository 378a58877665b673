"""GLS: the geometric mean of the losses.

Chennupati, Sistu, Yogamani and Rawashdeh, "MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss Strategy for
Multi-Task Learning", CVPR Workshops 2019, section 3.2:

    total = (Π_t L_t)^(1/T)

Its derivative by `L_t` is `total / (T L_t)`, so the terms `w_t L_t` with these weights add up to the total itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from trunkline.balancers.contract import LossBalancer


def geometric_mean(losses: Tensor) -> Tensor:
    """Of positive losses `[..., T]`, `[...]`; by logarithms, since a product of a hundred small losses is 0."""
    return losses.log().mean(-1).exp()


def gls_weights(losses: Tensor) -> Tensor:
    """Derivatives of the geometric mean by each of the losses, both `[..., T]`."""
    return geometric_mean(losses).unsqueeze(-1) / losses.shape[-1] / losses


class GLS(LossBalancer):
    """In the direction of log-sum; the length of the step shrinks with the geometric mean."""

    positive: ClassVar[bool] = True

    def weigh(self, losses: Tensor, tasks: Sequence[str]) -> tuple[Tensor, Tensor]:
        """The geometric mean, in equal terms."""
        weights = gls_weights(losses.detach())
        return weights * losses, weights
