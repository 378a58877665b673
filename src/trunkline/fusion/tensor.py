"""Tensor fusion (Zadeh, Chen, Poria, Cambria, Morency, EMNLP 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trunkline.errors import ConfigError
from trunkline.fusion.contract import Fusion, FusionModule
from trunkline.fusion.layers import KeptTokens, normalised, pools_and_norms, present_columns
from trunkline.types import Tokens

MOST = 1 << 16  # products
FEW = 1 << 12


def outer_product(vectors: Sequence[Tensor]) -> Tensor:
    """`[x₁; 1] ⊗ … ⊗ [xₙ; 1]` (eq. 1), `n` times `[B, k]` → `[B, (k + 1)ⁿ]`."""
    product = vectors[0].new_ones(vectors[0].shape[0], 1)
    for vector in vectors:
        extended = torch.cat([vector, vector.new_ones(vector.shape[0], 1)], 1)
        product = (product.unsqueeze(2) * extended.unsqueeze(1)).flatten(1)
    return product


class TensorModule(FusionModule):
    """Layers of `TensorFusion`; see there."""

    def __init__(self, encoders: Sequence[str], keep: Sequence[str], width: int, size: int) -> None:
        super().__init__()
        self.encoders = tuple(encoders)
        self.pools, self.norms = pools_and_norms(encoders, width)
        self.maps = nn.ModuleList(nn.Linear(width, size) for _ in encoders)
        self.mix = nn.Linear((size + 1) ** len(encoders), width)
        self.kept = KeptTokens(keep, width)

    def forward(self, tokens: dict[str, Tokens], present: dict[str, Tensor]) -> Tokens:
        mapped = torch.stack(
            [
                nn.functional.gelu(one(x))
                for one, x in zip(self.maps, normalised(tokens, self.encoders, self.pools, self.norms))
            ],
            1,
        )
        here = present_columns(present, self.encoders).unsqueeze(-1)
        heard = torch.where(here, mapped, torch.zeros_like(mapped))
        row = nn.functional.gelu(self.mix(outer_product(heard.unbind(1))))
        return self.kept(row, list(tokens.values()))


class TensorFusion(Fusion):
    """Every product of features, one or none of each input: what inputs say alone, in pairs, …, all together.

    `h = W ([x₁; 1] ⊗ … ⊗ [xₙ; 1])` (eq. 1), with `xᵢ` an input's pooled tokens through a small layer of its own (the
    paper's embedding sub-networks). The 1 keeps the products of fewer inputs among those of all. An absent input is
    `[0; 1]`: products with it are 0, and those without it are what they are. Spans that a task reads follow behind,
    with a projection of the row added to each token.

    There are `(size + 1)ⁿ` products; `low_rank` has such of limited rank without making them.

    Args:
        size: numbers of each input; by default 16, or as many as have no more than 4 096 products.
    """

    def __init__(self, size: int | None = None) -> None:
        self.size = size

    def build(self, encoders: Sequence[str], keep: Sequence[str], width: int) -> TensorModule:
        """The layers.

        Raises:
            ConfigError: `size` is under 1, or there are too many products.
        """
        size = largest_size(len(encoders)) if self.size is None else self.size
        if size < 1:
            raise ConfigError(f"fusion.size: {size} leaves nothing of an input; give 1 or more")
        if (products := (size + 1) ** len(encoders)) > MOST:
            raise ConfigError(f"fusion.size: {size} numbers of each of {len(encoders)} inputs have {products} "
                              f"products, over {MOST}; take fewer numbers, or `fusion: low_rank`")  # fmt: skip
        return TensorModule(encoders, keep, width, size)


def largest_size(inputs: int) -> int:
    """Of an input, so that there are few products; at least 1, so that a number of inputs that is too large is told."""
    return next((size for size in range(16, 1, -1) if (size + 1) ** inputs <= FEW), 1)
