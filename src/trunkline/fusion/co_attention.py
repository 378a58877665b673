"""Co-attention between inputs (ViLBERT: Lu, Batra, Parikh, Lee, NeurIPS 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from trunkline.fusion.contract import Fusion
from trunkline.fusion.layers import check_options
from trunkline.fusion.streams import Stream, StreamLayers, StreamsModule
from trunkline.layers import CrossAttention


class CoAttentionExchange(nn.Module):
    """Layers of `CoAttention`; see there."""

    def __init__(self, inputs: int, width: int, *, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.randn(width) * 0.02)  # what there is to read where no other input is
        make = partial(CrossAttention, width, heads=heads, dropout=dropout)
        self.layers = StreamLayers(make, inputs=inputs, width=width, layers=layers, dropout=dropout)

    def forward(self, streams: Sequence[Stream], present: Tensor) -> list[Tensor]:
        values = [stream.values for stream in streams]
        nothing = self.nothing.to(values[0].dtype).expand(present.shape[0], 1, -1)
        always = torch.ones(present.shape[0], 1, dtype=torch.bool, device=present.device)
        masks = [stream.mask & present[:, i, None] for i, stream in enumerate(streams)]
        for layer in self.layers:
            new = []
            for i, (attend, mlp) in enumerate(layer):
                others = [j for j in range(len(values)) if j != i]
                context = torch.cat([nothing, *(values[j] for j in others)], 1)
                new.append(mlp(attend(values[i], context, torch.cat([always, *(masks[j] for j in others)], 1))))
            values = new
        return values


class CoAttention(Fusion):
    """The tokens of each input ask those of all others, layer by layer.

    The paper's co-attentional layers (section 2.1): queries of one input, keys and values of the other, of all others
    where there are more than two; the layers between them, in which an input attends to itself, are left to its
    encoder. Beside the others stands one learned token that says nothing, so that an absent input is not read, and one
    that is alone reads nothing. The row is the mean over inputs that are present. Spans that a task reads follow behind
    as the layers left them, with a projection of the row added to each token.

    Attention costs the product of the tokens of two inputs. Where one has more than `max_tokens`, they are averaged
    over neighbours first, and every token gets what the layers added to the average that it is part of.

    Args:
        layers: how many, at least one.
        heads: of attention; must divide the width.
        dropout: on what attention and the hidden units say.
        max_tokens: of one input that ask and are asked.
    """

    def __init__(self, layers: int = 2, heads: int = 4, dropout: float = 0.1, max_tokens: int = 256) -> None:
        self.layers = layers
        self.heads = heads
        self.dropout = dropout
        self.max_tokens = max_tokens

    def build(self, encoders: Sequence[str], keep: Sequence[str], width: int) -> StreamsModule:
        """The layers.

        Raises:
            ConfigError: no layers, heads that do not divide the width, or no room for an input's tokens.
        """
        check_options(width, heads=self.heads, layers=(self.layers, 1), max_tokens=(self.max_tokens, 16))
        exchange = CoAttentionExchange(len(encoders), width, layers=self.layers, heads=self.heads, dropout=self.dropout)
        return StreamsModule(encoders, keep, width, exchange, self.max_tokens)
