"""Aligned-MTL: gradients are replaced by orthogonal ones of equal length, as near to them as can be.

Senushkin, Patakin, Kuznetsov and Konushin, "Independent Component Alignment for Multi-Task Learning", CVPR 2023,
algorithm 1: with `G = V Λ Vᵀ` of rank R,

    α = √σ V Λ^(-1/2) Vᵀ w,   w_t = 1/T,   σ = λ_R

so that the aligned gradients have the Gramian `λ_R I` (on the span of `G`). `scale` says what σ is: the smallest of the
R eigenvalues as in the paper, or their mean or median, as in the authors' code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from trunkline.balancers.contract import GramianBalancer
from trunkline.errors import ConfigError, suggest

Scale = Literal["min", "rmse", "median"]

SCALES: dict[str, Callable[[Tensor], Tensor]] = {"min": torch.min, "rmse": torch.mean, "median": torch.median}


def aligned_mtl_weights(gramian: Tensor, *, scale: Scale = "min") -> Tensor:
    """Weights `[T]` of the mean of the aligned gradients, from `gramian [T, T]`; the plain mean where all are zero."""
    size = len(gramian)
    values, vectors = torch.linalg.eigh(gramian)  # ascending
    rank = int((values > values[-1] * size * torch.finfo(gramian.dtype).eps).sum())
    if rank == 0:
        return gramian.new_full((size,), 1 / size)
    values, vectors = values[size - rank :], vectors[:, size - rank :]
    return vectors @ (vectors.sum(0) * (SCALES[scale](values) / values).sqrt()) / size


class AlignedMTL(GramianBalancer):
    """The mean of orthogonal gradients: no two tasks conflict, and the weakest direction says how far to go.

    Args:
        scale: the length of the aligned gradients: `min`, `rmse` or `median` of the principal components.
    """

    def __init__(self, scale: Scale = "min") -> None:
        super().__init__()
        self.scale = scale

    def start(self, tasks: Sequence[str]) -> None:
        """Nothing is kept."""
        if self.scale not in SCALES:
            raise ConfigError(f"balancer.scale: there is no {self.scale!r}.{suggest(self.scale, list(SCALES))}")

    def weigh(self, gramian: Tensor, tasks: Sequence[str]) -> Tensor:
        """Algorithm 1."""
        return aligned_mtl_weights(gramian, scale=self.scale)
