"""Feature-wise linear modulation between inputs (FiLM: Perez et al., AAAI 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trunkline.fusion.contract import Fusion
from trunkline.fusion.layers import masked_mean
from trunkline.fusion.streams import Stream, StreamsModule


def _generator(width: int) -> nn.Sequential:
    """From what is said, `γ − 1` and `β` of each feature; 0 at first."""
    last = nn.Linear(width, 2 * width)
    nn.init.zeros_(last.weight), nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), last)


class ModulationExchange(nn.Module):
    """Layers of `Modulated`; see there."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(inputs))
        self.generators = nn.ModuleList(_generator(width) for _ in range(inputs))

    def forward(self, streams: Sequence[Stream], present: Tensor) -> list[Tensor]:
        said = torch.stack(
            [masked_mean(norm(stream.values), stream.mask) for norm, stream in zip(self.norms, streams)], 1
        )  # [B, E, D]
        new = []
        for i, (stream, generator) in enumerate(zip(streams, self.generators)):
            others = present.clone()
            others[:, i] = False
            change, shift = generator(masked_mean(said, others)).unsqueeze(1).chunk(2, -1)
            is_heard = others.any(1)[:, None, None]
            new.append(torch.where(is_heard, (1 + change) * stream.values + shift, stream.values))
        return new


class Modulated(Fusion):
    """Every feature of an input's tokens is scaled and shifted by what the other inputs say.

    `FiLM(x) = γ ⊙ x + β` (eq. 2), `γ` and `β` by a small network from the mean over the other inputs that a row has
    (eq. 1; the paper's one condition is a question about a picture, here each input conditions the others). An input
    that is alone stays as it is; so do all of them at first. The row is the mean over inputs that are present. Spans
    that a task reads follow behind, modulated, with a projection of the row added to each token.
    """

    def build(self, encoders: Sequence[str], keep: Sequence[str], width: int) -> StreamsModule:
        """The layers."""
        return StreamsModule(encoders, keep, width, ModulationExchange(len(encoders), width), None)
