"""Directions of a layer's input in which the tasks' weight gradients are looked at.

Task `k`'s gradient at a layer `x ↦ W x` is `Gₖ = δₖᵀ a [out, in]`. With a random `S [in, c]`, `E[S Sᵀ] = I`, the
products `⟨Gᵢ S, Gⱼ S⟩` are right on average, and `Gₖ S = δₖᵀ (a S)` costs `c / in` of a weight gradient. Half of the
columns are where `a` is largest, found by one step of subspace iteration (Halko, Martinsson and Tropp 2011, algorithm
4.4): what `Gₖ` has there is exact. The others are random directions in the complement, so that only what lies there
is estimated (the idea of Hutch++, Meyer, Musco, Musco and Woodruff 2021, for inner products).

Shape legend: `in` width of the input, `c` columns.
"""

from __future__ import annotations

import torch
from torch import Tensor


def half(columns: int) -> int:
    """How many of the columns are where the input is largest."""
    return columns // 2


def draw(width: int, columns: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """Standard normal `[in, c]`, drawn on the host: the same on every device and rank."""
    return torch.randn(width, columns, generator=generator).to(like)


def basis(image: Tensor, noise: Tensor) -> Tensor:
    """`S [in, c]` with `E[S Sᵀ] = I` over the noise; `S Sᵀ = I` where `c = in`.

    Args:
        image: `[in, q]`, what the input's second moment makes of random directions; its range is kept as it is.
        noise: `[in, c − q]`, standard normal.
    """
    width, kept = image.shape
    directions, _ = torch.linalg.qr(torch.cat([image, noise], 1))
    directions[:, kept:] *= ((width - kept) / max(1, noise.shape[1])) ** 0.5
    return directions
