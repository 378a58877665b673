"""Inputs that stay apart, each its own tokens, and hear of each other as these go through layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trunkline.fusion.contract import FusionModule
from trunkline.fusion.layers import InputVectors, KeptTokens, masked_mean, present_columns
from trunkline.layers import ResidualMLP
from trunkline.pooling import Pooling, pooling_for
from trunkline.types import Tokens


class StreamLayers(nn.Module):
    """Layers of attention, each followed by hidden units, of their own for each input.

    Args:
        attention: makes one.
        inputs: how many.
        width: `D`.
        layers: how many.
        dropout: on the hidden units.
    """

    def __init__(
        self, attention: Callable[[], nn.Module], *, inputs: int, width: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.inputs = inputs
        self.attention = nn.ModuleList(attention() for _ in range(layers * inputs))
        self.mlps = nn.ModuleList(ResidualMLP(width, expansion=2.0, dropout=dropout) for _ in range(layers * inputs))

    def __iter__(self) -> Iterator[Sequence[tuple[nn.Module, nn.Module]]]:
        """Layer by layer, the attention and the hidden units of each input."""
        pairs = list(zip(self.attention, self.mlps))
        return (pairs[start : start + self.inputs] for start in range(0, len(pairs), self.inputs))


@dataclass(frozen=True)
class Stream:
    """What the layers see of one input.

    Attributes:
        values: `[B, S, D]`, its tokens, neighbours of long spans averaged.
        mask: `[B, S]` bool.
        pooling: how they were averaged; `None` where they were not.
    """

    values: Tensor
    mask: Tensor
    pooling: Pooling | None

    @classmethod
    def of(cls, tokens: Tokens, limit: int | None) -> Stream:
        """With at most `limit` tokens a span."""
        pooling = None if limit is None else pooling_for(tokens, limit)
        if pooling is None:
            return cls(tokens.values, tokens.mask, None)
        return cls(*pooling.pool(tokens.values, tokens.mask), pooling)

    def told(self, tokens: Tokens, values: Tensor) -> Tokens:
        """The tokens, each with what the layers added to the average it is part of.

        Padding stays as it is: what attention makes of a row without a token is another thing in each runtime.
        """
        new = values if self.pooling is None else tokens.values + self.pooling.spread(values - self.values)
        return tokens.with_values(torch.where(tokens.mask.unsqueeze(-1), new, tokens.values))


class StreamsModule(FusionModule):
    """Tokens of each input through an exchange; the row is the mean over inputs that are present, as in `mean`.

    Args:
        encoders: names, in order.
        keep: names of the inputs whose spans are wanted.
        width: `D`.
        exchange: layers in which inputs hear of each other: streams and `present [B, E]` → new values of each. What
            stands in the place of an absent input must not be heard by the others.
        limit: tokens of a span that the exchange sees at most; `None`: all.
    """

    def __init__(
        self,
        encoders: Sequence[str],
        keep: Sequence[str],
        width: int,
        exchange: Callable[[Sequence[Stream], Tensor], list[Tensor]],
        limit: int | None,
    ) -> None:
        super().__init__()
        self.limit = limit
        self.exchange = exchange
        self.vectors = InputVectors(encoders, width)
        self.kept = KeptTokens(keep, width)

    def forward(self, tokens: dict[str, Tokens], present: dict[str, Tensor]) -> Tokens:
        encoders = self.vectors.encoders
        here = present_columns(present, encoders)
        streams = [Stream.of(tokens[name], self.limit) for name in encoders]
        values = self.exchange(streams, here)
        heard = {n: stream.told(tokens[n], new) for n, stream, new in zip(encoders, streams, values)}
        row = nn.functional.gelu(masked_mean(self.vectors(heard), here))
        return self.kept(row, list(heard.values()))
