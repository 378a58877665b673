"""Where tokens stand, as numbers.

Shape legend: `n` rows, `H` attention heads, `L` tokens, `D` width, `d` numbers a head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def rotated(x: Tensor) -> Tensor:
    """Each pair of numbers turned by an angle that grows with the place: `[n, H, L, d]` → `[n, H, L, d]`.

    So the product of a query and a key follows from how far apart they are, not from where they stand (Su et al. 2021,
    "RoFormer: enhanced Transformer with rotary position embedding", eq. 34). Pairs are halves apart; of an odd `d` the
    last number stays.
    """
    half = x.shape[-1] // 2
    place = torch.arange(x.shape[2], device=x.device).unsqueeze(1)
    rate = torch.exp(torch.arange(half, device=x.device) * (-math.log(10_000.0) / max(half, 1)))
    cos, sin = (place * rate).cos().to(x.dtype), (place * rate).sin().to(x.dtype)  # [L, d / 2]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat([first * cos - second * sin, first * sin + second * cos, rest], -1)


def sinusoids(length: int, width: int, device: torch.device) -> Tensor:
    """Positions as sines and cosines of falling frequency, `[L, D]` (Vaswani et al., 2017, section 3.5)."""
    position = torch.arange(length, device=device).unsqueeze(1)
    rate = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10_000.0) / width))
    return torch.cat([torch.sin(position * rate), torch.cos(position * rate)], 1)[:, :width]
