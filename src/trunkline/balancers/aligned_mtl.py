"""Aligned-MTL: gradients are replaced by orthogonal ones of equal length, as near to them as can be.

Senushkin, Patakin, Kuznetsov and Konushin, "Independent Component Alignment for Multi-Task Learning", CVPR 2023,
algorithm 1: with `G = V Λ Vᵀ` of rank R,

    α = √σ V Λ^(-1/2) Vᵀ w,   w_t = 1/T,   σ = λ_R

so that the aligned gradients have the Gramian `λ_R I` (on the span of `G`). `scale` says what σ is: the smallest of the
R eigenvalues as in the paper, or their mean or median, as in the authors' code.

The rank is that of the cosines: whether gradients are dependent has nothing to do with their lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from torch import Tensor

from trunkline.balancers.contract import GramianBalancer
from trunkline.balancers.units import Array, are_independent, as_units, as_weights
from trunkline.errors import ConfigError, suggest

Scale = Literal["min", "rmse", "median"]


def _lower_median(values: Array) -> np.float64:
    """Of an even number of values, the lower one of the middle."""
    return np.sort(values)[(len(values) - 1) // 2]


SCALES: dict[str, Callable[[Array], np.float64]] = {"min": np.min, "rmse": np.mean, "median": _lower_median}


ALIKE = 1e4  # ratio of norms up to which eigenvalues of the Gramian are good to eight digits


def aligned_mtl_weights(gramian: Tensor, *, scale: Scale = "min") -> Tensor:
    """Weights `[T]` of the mean of the aligned gradients, from `gramian [T, T]`; the plain mean where all are zero."""
    units = as_units(gramian)
    if not len(units.active):
        return gramian.new_full((units.size,), 1 / units.size)
    if are_independent(units) and units.norms.max() < ALIKE * units.norms.min():
        values, vectors = np.linalg.eigh(units.cosines * units.norms * units.norms[:, None])
        weights = vectors @ (vectors.sum(0) * np.sqrt(SCALES[scale](values) / values)) / units.size
        return as_weights(units.spread(weights), gramian)
    values, vectors = np.linalg.eigh(units.cosines)
    kept = values > units.noise * values.max()
    rows = units.norms[:, None] * vectors[:, kept] * np.sqrt(values[kept])  # [A, R], whose Gramian is that of rank R
    vectors, lengths, _ = np.linalg.svd(rows / units.norms.max(), full_matrices=False)
    sides = lengths > np.finfo(np.float64).eps * units.size  # norms of more than 1 : 10¹⁵ have no span of their own
    vectors, lengths = vectors[:, sides], lengths[sides]
    weights = vectors @ (vectors.sum(0) * (np.sqrt(SCALES[scale](lengths**2)) / lengths)) / units.size
    return as_weights(units.spread(weights), gramian)


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
