"""Layers of which trunks, fusions and encoders are made, pre-norm (Xiong et al. 2020).

Shape legend: `B` rows, `L` tokens, `C` tokens of a context, `N` latents, `D` width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from trunkline.types import Tokens

POOL_HEADS = 4  # of the attention that pools tokens


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


class Pool(nn.Module):
    """An input's tokens → one vector `[B, D]`: half their mean, half their mean as weighed by learned attention.

    Each head weighs its share of the features with a query of its own (Yang et al. 2016, "Hierarchical attention
    networks", eq. 5 to 7, without the hidden layer), so that one telling word or corner is not lost among many tokens.
    It starts as the plain mean, and of a single token it stays that: so an absent input, one learned token, is pooled
    alike whether or not other rows of the batch have it. A table's tokens, one a column, are averaged: all of them
    count in every row. A feature pyramid is pooled grid by grid, and the grids averaged, so that the many places of the
    finest do not drown the few that have seen most of the picture; an absent one is its one token. An input with a
    token of its own for the whole (a `set` before its others) is that token.

    Args:
        width: `D`.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = math.gcd(width, POOL_HEADS)
        self.score = nn.Linear(width, self.heads, bias=False)  # a softmax over tokens would not feel it
        nn.init.zeros_(self.score.weight)

    def forward(self, tokens: Tokens) -> Tensor:
        if tokens.spans[0].axis == "set" and tokens.spans[-1].axis != "set":  # columns of a table are sets alone
            return tokens.values[:, 0]
        if tokens.spans[0].axis != "grid" or len(tokens.spans) == 1:
            return self._pool(tokens)
        grids = tokens.parts()
        rows = torch.stack([self._pool(grid) for grid in grids])  # [S, B, D]
        counts = torch.stack([grid.mask.any(1) for grid in grids]).to(rows.dtype)  # [S, B]
        return (rows * (counts / counts.sum(0)).unsqueeze(-1)).sum(0)

    def _pool(self, tokens: Tokens) -> Tensor:
        """Of tokens that all rows have in common: a single grid, or the whole of any other input."""
        mean = tokens.row()
        if tokens.values.shape[1] == 1 or tokens.spans[0].axis == "set":
            return mean
        scores = self.score(tokens.values)  # [B, L, H]
        lowest = torch.finfo(scores.dtype).min  # not -inf: of a grid that a row lacks every token is hidden
        scores = scores.masked_fill(~tokens.mask.unsqueeze(-1), lowest)
        parts = tokens.values.unflatten(-1, (self.heads, -1)) * scores.softmax(1).unsqueeze(-1)
        return (mean + parts.sum(1).flatten(1)) / 2
