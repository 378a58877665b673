"""Layers of which trunks and fusions are made, pre-norm (Xiong et al. 2020).

Shape legend: `B` rows, `L` tokens, `C` tokens of a context, `N` latents, `D` width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class ResidualMLP(nn.Module):
    """`x + W₂ gelu(W₁ norm(x))` on each token; `[…, D]` → `[…, D]`."""

    def __init__(self, width: int, *, expansion: float, dropout: float) -> None:
        super().__init__()
        self.num_hidden = max(1, round(width * expansion))
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, self.num_hidden)
        self.dropout = nn.Dropout(dropout)
        self.outer = nn.Linear(self.num_hidden, width)

    def hidden(self, x: Tensor) -> Tensor:
        """What comes before the last linear map, `[…, hidden]`."""
        return self.dropout(nn.functional.gelu(self.inner(self.norm(x))))

    def forward(self, x: Tensor) -> Tensor:
        """Apply."""
        return x + self.outer(self.hidden(x))


class SelfAttention(nn.Module):
    """`x + W_o attention(norm(x))`, several heads; `[B, L, D]` → `[B, L, D]`."""

    def __init__(self, width: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Tokens whose `mask [B, L]` is `False` are not read."""
        query, key, value = (_of_heads(y, self.heads) for y in self.query_key_value(self.norm(x)).chunk(3, -1))
        read = scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None])
        return x + self.dropout(self.out(read.transpose(1, 2).flatten(2)))


class CrossAttention(nn.Module):
    """`x + W_o attention(norm(x), norm(context))`: what asks and what is read are two sequences."""

    def __init__(self, width: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.context_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """`x [B, L, D]`, `context [B, C, D]`, of which `mask [B, C]` are read, one a row at least → `[B, L, D]`."""
        query = _of_heads(self.query(self.norm(x)), self.heads)
        key, value = (_of_heads(y, self.heads) for y in self.key_value(self.context_norm(context)).chunk(2, -1))
        read = scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None])
        return x + self.dropout(self.out(read.transpose(1, 2).flatten(2)))


class LatentLayers(nn.Module):
    """Learned latents read a sequence, then attend to each other (encode, process: Jaegle et al. 2022, section 3.1).

    Args:
        width: `D`.
        latents: `N`, how many.
        layers: of attention among them; 0 or more.
        heads: of attention.
        expansion: hidden units per unit of width.
        dropout: on what attention and the hidden units say.
    """

    def __init__(self, width: int, *, latents: int, layers: int, heads: int, expansion: float, dropout: float) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(latents, width) * 0.02)
        self.encode = CrossAttention(width, heads=heads, dropout=dropout)
        self.attention = nn.ModuleList(SelfAttention(width, heads=heads, dropout=dropout) for _ in range(layers))
        self.mlps = nn.ModuleList(
            ResidualMLP(width, expansion=expansion, dropout=dropout) for _ in range(layers + 1)
        )  # one behind what is read, and one behind each layer of attention

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, L, D]`, of which `mask [B, L]` are read, one a row at least → latents `[B, N, D]`, and a mask of all."""
        x = self.latents.to(values.dtype).expand(values.shape[0], -1, -1)
        every = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        x = self.mlps[0](self.encode(x, values, mask))
        for attention, mlp in zip(self.attention, self.mlps[1:]):
            x = mlp(attention(x, every))
        return x, every


def _of_heads(x: Tensor, heads: int) -> Tensor:
    """`[B, L, D]` → `[B, heads, L, D / heads]`."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)
