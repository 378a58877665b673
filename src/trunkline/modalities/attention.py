"""What encoders from scratch are made of where tokens look at each other.

Shape legend: `n` rows, `L` tokens, `D` width, `H` attention heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.positions import rotated


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
