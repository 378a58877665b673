"""What encoders from scratch are made of where tokens look at each other.

Shape legend: `n` rows, `L` tokens, `D` width, `H` attention heads.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TransformerLayer(nn.Module):
    """Self-attention and a feed-forward net, each normalised before and added to what came in (Xiong et al., 2020).

    Args:
        width: `D`.
        heads: `H`.
        dropout: probability, of what is added.
        begin: factor on the weights that say what is added, before any is learned.
        ordered: attention knows how far apart tokens are (`rotated`), and looks at tokens that have looked at both
            neighbours (a convolution of width 3 in every channel); so it needs no positions among what comes in.
    """

    def __init__(self, width: int, heads: int, dropout: float, begin: float = 1.0, *, ordered: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.neighbours = nn.Conv1d(width, width, 3, padding=1, groups=width) if ordered else None
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_query_key_value = nn.Linear(width, 3 * width)
        self.to_out = nn.Linear(width, width)
        outer = nn.Linear(4 * width, width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), outer)
        self.dropout = nn.Dropout(dropout)
        with torch.no_grad():
            self.to_out.weight.mul_(begin), outer.weight.mul_(begin)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`x [n, L, D]`, `mask [n, L]` → `[n, L, D]`."""
        seen = self.attention_norm(x)
        if self.neighbours is not None:
            seen = seen.masked_fill(~mask.unsqueeze(2), 0.0)
            seen = seen + self.neighbours(seen.transpose(1, 2)).transpose(1, 2)
        x = x + self.dropout(self.attend(seen, mask))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        """Every token looks at the tokens its row has."""
        parts = self.to_query_key_value(x).unflatten(2, (3, self.heads, -1))  # [n, L, 3, H, D / H]
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        if self.neighbours is not None:
            query, key = rotated(query), rotated(key)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :])
        return self.to_out(seen.transpose(1, 2).flatten(2))


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
