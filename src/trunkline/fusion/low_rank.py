"""Low-rank multimodal fusion (Liu, Shen, Lakshminarasimhan, Liang, Zadeh, Morency, ACL 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from trunkline.errors import ConfigError
from trunkline.fusion.contract import Fusion, FusionModule
from trunkline.fusion.layers import KeptTokens, normalised, pools_and_norms, present_columns
from trunkline.types import Tokens


def low_rank_product(vectors: Tensor, factors: Tensor, constants: Tensor) -> Tensor:
    """`Σᵣ Πᵢ w⁽ʳ⁾ᵢ · [xᵢ; 1]` (eq. 6, as the sum over ranks of products).

    `[B, E, D]`, `[E, R, K, D]` and, for the ones, `[E, R, K]` → `[B, K]`. The tensor fusion of `[xᵢ; 1]` by the weights
    `Σᵣ w⁽ʳ⁾₁ ⊗ … ⊗ w⁽ʳ⁾ₙ`, neither of which is ever made.
    """
    said = torch.einsum("bed,erkd->berk", vectors, factors) + constants
    return reduce(torch.mul, said.unbind(1)).sum(1)  # not `prod`, whose gradient waits for the device


class LowRankModule(FusionModule):
    """Layers of `LowRank`; see there."""

    def __init__(self, encoders: Sequence[str], keep: Sequence[str], width: int, rank: int) -> None:
        super().__init__()
        self.encoders = tuple(encoders)
        self.pools, self.norms = pools_and_norms(encoders, width)
        size = (width * len(encoders)) ** -0.5  # so that products of many inputs have no longer tails than those of few
        self.factors = nn.Parameter(torch.randn(len(encoders), rank, width, width) * size)
        self.constants = nn.Parameter(torch.ones(len(encoders), rank, width))
        self.norm = nn.LayerNorm(width)
        self.kept = KeptTokens(keep, width)

    def forward(self, tokens: dict[str, Tokens], present: dict[str, Tensor]) -> Tokens:
        vectors = torch.stack(normalised(tokens, self.encoders, self.pools, self.norms), 1)
        here = present_columns(present, self.encoders).unsqueeze(-1)
        heard = torch.where(here, vectors, torch.zeros_like(vectors))
        row = nn.functional.gelu(self.norm(low_rank_product(heard, self.factors, self.constants)))
        return self.kept(row, list(tokens.values()))


class LowRank(Fusion):
    """Products of what the inputs say, `h = Σᵣ Πᵢ (Wᵣᵢ xᵢ + bᵣᵢ)`: a tensor fusion whose weights have rank `R`.

    Eq. 6 of the paper, with `xᵢ` an input's pooled and normalised tokens and `bᵣᵢ` the weights of the 1 that stands
    behind them. An absent input is `[0; 1]`: it leaves `bᵣᵢ`, which is 1 at first. A layer norm follows, since products
    of several have long tails. Cost and size grow linearly with the number of inputs. Spans that a task reads follow
    behind, with a projection of the row added to each token.

    Args:
        rank: `R`.
    """

    def __init__(self, rank: int = 4) -> None:
        self.rank = rank

    def build(self, encoders: Sequence[str], keep: Sequence[str], width: int) -> LowRankModule:
        """The layers.

        Raises:
            ConfigError: `rank` is under 1.
        """
        if self.rank < 1:
            raise ConfigError(f"fusion.rank: {self.rank} leaves no product; give 1 or more")
        return LowRankModule(encoders, keep, width, self.rank)
