"""Inputs of one row beside each other: a contrastive loss between encoders (InfoNCE: van den Oord et al. 2018; CLIP:
Radford et al. 2021).

Shape legend: `B` rows, `L` tokens, `D` width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from trunkline.errors import ConfigError
from trunkline.types import Tokens

TEMPERATURE = 0.1


def make_alignment(encoders: Sequence[str], width: int, weight: float) -> Alignment | None:
    """The layers; `None` for a weight of 0.

    Raises:
        ConfigError: it is no weight, or there is one encoder.
    """
    if not 0 <= weight < math.inf:
        raise ConfigError(f"training.align: {weight} is no weight; give 0 (none) or more")
    if weight > 0 and len(encoders) < 2:
        raise ConfigError(f"training.align: brings what encoders say together, and there is one ({encoders[0]!r}); "
                          "leave it out")  # fmt: skip
    return Alignment(encoders, width, weight) if weight > 0 else None


class Alignment(nn.Module):
    """What each encoder says of a row, mapped to one space: close to the same row's, far from those of other rows.

    For each two encoders and the rows that have both, the mean cross-entropy of finding a row's other input among those
    of the batch, both ways (figure 3 of Radford et al.), with cosines over a fixed temperature of .1 in place of a
    learned one. The mean over pairs of encoders; a pair that fewer than two rows have is left out. An absent input is
    no candidate, and nothing reaches it. No part of a prediction: the maps serve training alone.

    Args:
        encoders: names, two or more.
        width: `D`.
        weight: of the loss, beside the balanced total of the tasks.

    Attributes:
        noted: the loss of each part of a step, without its weight; no gradients.
    """

    def __init__(self, encoders: Sequence[str], width: int, weight: float) -> None:
        super().__init__()
        self.encoders, self.weight = tuple(encoders), weight
        self.maps = nn.ModuleList(nn.Linear(width, width) for _ in encoders)
        self.noted: list[Tensor] = []

    def forget(self) -> None:
        """Begin to note losses anew, as a step begins."""
        self.noted.clear()

    def forward(self, tokens: Mapping[str, Tokens], present: Mapping[str, Tensor]) -> Tensor:
        """By encoder, tokens `[B, L, D]` before the fusion and which rows have it `[B]` → a weighted scalar."""
        said = [one(tokens[name].row()).float() for one, name in zip(self.maps, self.encoders)]
        here = [present[name] for name in self.encoders]
        with torch.autocast(said[0].device.type, enabled=False):  # ten times a cosine is no number for half precision
            rows = [nn.functional.normalize(one, dim=-1) for one in said]
            losses, counted = zip(
                *(contrast(rows[i], rows[j], here[i] & here[j]) for i, j in combinations(range(len(rows)), 2))
            )
        loss = torch.stack(losses).sum() / torch.stack(counted).sum().clamp(min=1)
        self.noted.append(loss.detach())
        return self.weight * loss


def contrast(first: Tensor, second: Tensor, both: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of two encoders, 0 where fewer than two rows have both; and whether it counts, 1 or 0.

    Args:
        first: unit vectors `[B, D]`.
        second: of the same rows.
        both: which rows have both, `[B]`.
    """
    lowest = torch.finfo(first.dtype).min
    cosines = (first @ second.T / TEMPERATURE).masked_fill(~(both[:, None] & both), lowest)
    found = cosines.log_softmax(1).diagonal() + cosines.log_softmax(0).diagonal()
    count = both.sum()
    counts = (count > 1).to(first.dtype)
    return counts * -torch.where(both, found, 0).sum() / (2 * count.clamp(min=1)), counts
