"""What the fusions are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from trunkline.errors import ConfigError
from trunkline.layers import Pool
from trunkline.types import Tokens


def pools_and_norms(encoders: Sequence[str], width: int) -> tuple[nn.ModuleList, nn.ModuleList]:
    """What makes one vector of the tokens of each encoder."""
    return nn.ModuleList(Pool(width) for _ in encoders), nn.ModuleList(nn.LayerNorm(width) for _ in encoders)


def normalised(
    tokens: Mapping[str, Tokens], encoders: Sequence[str], pools: nn.ModuleList, norms: nn.ModuleList
) -> list[Tensor]:
    """Each encoder's tokens pooled and normalised: one `[B, D]` an encoder, in order."""
    return [norm(pool(tokens[name])) for name, pool, norm in zip(encoders, pools, norms)]


class InputVectors(nn.Module):
    """One vector an encoder: its tokens pooled, normalised, and mapped by a layer of its own."""

    def __init__(self, encoders: Sequence[str], width: int) -> None:
        super().__init__()
        self.encoders = tuple(encoders)
        self.pools, self.norms = pools_and_norms(encoders, width)
        self.maps = nn.ModuleList(nn.Linear(width, width) for _ in encoders)

    def normalised(self, tokens: Mapping[str, Tokens]) -> list[Tensor]:
        """Before the maps, one `[B, D]` an encoder."""
        return normalised(tokens, self.encoders, self.pools, self.norms)

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        """`[B, E, D]`."""
        return torch.stack([one(x) for one, x in zip(self.maps, self.normalised(tokens))], 1)


class KeptTokens(nn.Module):
    """The fused row as the first token; behind it the spans that a task or the trunk reads, which hear of the row.

    A projection of the row is added to each of their tokens, so that every position knows of the other inputs.

    Args:
        keep: names of the inputs whose spans are wanted.
        width: `D`.
    """

    def __init__(self, keep: Sequence[str], width: int) -> None:
        super().__init__()
        self.keep = tuple(keep)
        self.context = nn.Linear(width, width) if keep else None

    def forward(self, row: Tensor, parts: Sequence[Tokens]) -> Tokens:
        """Row `[B, D]` and every encoder's tokens → all of it."""
        fused = [Tokens.of_rows(row)]
        if self.context is not None:
            context = self.context(row).unsqueeze(1)
            kept = (part for part in parts if any(span.input in self.keep for span in part.spans))
            fused += [part.with_values(part.values + context) for part in kept]
        return Tokens.cat(fused)


def present_columns(present: Mapping[str, Tensor], encoders: Sequence[str]) -> Tensor:
    """Flags by encoder → `[B, E]` bool."""
    return torch.stack([present[name] for name in encoders], 1)


def masked_mean(vectors: Tensor, present: Tensor) -> Tensor:
    """`[B, E, …]`, of which `present [B, E]` count → `[B, …]`; whatever stands elsewhere is not read."""
    here = present.reshape(*present.shape, *[1] * (vectors.dim() - 2))
    held = torch.where(here, vectors, torch.zeros_like(vectors))
    return held.sum(1) / here.sum(1).clamp(min=1).to(vectors.dtype)


def check_options(width: int, *, heads: int, **at_least: tuple[int, int]) -> None:
    """Of layers of attention.

    Args:
        width: `D`.
        heads: must divide it.
        at_least: by the name of an option, its value and the least it can be.

    Raises:
        ConfigError: with all that cannot be.
    """
    faults = [
        f"fusion.{name}: {value} is too few; give {least} or more"
        for name, (value, least) in at_least.items()
        if value < least
    ]
    if heads < 1 or width % heads:
        faults.append(f"fusion.heads: {heads} does not divide the width {width}")
    if faults:
        raise ConfigError("\n".join(faults))
