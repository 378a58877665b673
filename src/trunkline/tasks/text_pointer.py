"""Copying from what is read: a word that training never saw, a name or a number, can be written all the same.

The mixture of See, Liu and Manning, "Get to the point: summarization with pointer-generator networks", 2017, eq. 9: the
next token is generated with probability `g`, and with `1 - g` it is one of the source,

    P(w) = g · softmax(logits)[w] + (1 - g) · Σ_p a[p] · [source token p is w].

Unlike there, `g` and the attention `a` follow from the decoder's last state alone, and the source is the text in the
decoder's own tokens: the key of one is what the encoder says at its word, the token itself, and the one before it, by
which a copy goes on.

Shape legend: `n` rows, `S` tokens of the view, `P` source tokens, `L` target tokens, `D` width of the decoder, `K`
vocabulary.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.arrays.subwords import NOWHERE
from trunkline.errors import ConfigError

LEAST = 1e-30  # the probability of a copy of what is not there


class Pointer(nn.Module):
    """Looks for the source token that comes next.

    Args:
        width: `D`.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.of_place, self.of_token, self.of_previous = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.token_norm, self.state_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.gate = nn.Linear(width, 1)

    def keys(self, memory: Tensor, source: Mapping[str, Tensor], embedding: nn.Module) -> Tensor:
        """What is looked for, `[n, P, D]`.

        Args:
            memory: what the decoder reads, `[n, S, D]`.
            source: see `arrays.subwords.source_of`.
            embedding: of the decoder's tokens.
        """
        places = source["places"].clamp(min=0)[..., None].expand(-1, -1, memory.shape[2])
        tokens = self.token_norm(embedding(source["ids"].clamp(min=0)))
        previous = F.pad(tokens[:, :-1], (0, 0, 1, 0))
        return self.of_place(memory.gather(1, places)) + self.of_token(tokens) + self.of_previous(previous)

    def forward(self, logits: Tensor, states: Tensor, ids: Tensor, firsts: Tensor, keys: Tensor) -> Tensor:
        """Logits `[n, L, K]` and the states they come from, `[n, L, D]` → log-probabilities `[n, L, K]`.

        In single precision at least. Of a row without a source they are those of the logits.

        Args:
            logits: what would be said without copying.
            states: of the decoder.
            ids: of the source, `[n, P]`.
            firsts: see `first_places`, `[n, P]`.
            keys: `[n, P, D]`.
        """
        dtype, states = torch.promote_types(logits.dtype, torch.float32), self.state_norm(states)
        is_there = (ids != NOWHERE)[:, None]  # [n, 1, P]
        scores = ((self.query(states) / math.sqrt(keys.shape[2])) @ keys.mT).to(dtype)
        attention = scores.masked_fill(~is_there, torch.finfo(dtype).min).softmax(2)
        gate = self.gate(states).to(dtype).masked_fill(~is_there.any(2, keepdim=True), math.inf)  # [n, L, 1]
        generated = F.logsigmoid(gate) + logits.to(dtype).log_softmax(2)
        # Only what is in the source can be copied, so the sum of both is worked out there alone.
        first = firsts[:, None].expand_as(attention)
        copied = torch.zeros_like(attention).scatter_add(2, first, attention).gather(2, first)
        copied = copied.clamp(min=LEAST).log() + F.logsigmoid(-gate).clamp(min=math.log(LEAST))
        there = ids.clamp(min=0)[:, None].expand_as(copied)
        both = torch.logaddexp(generated.gather(2, there), copied)
        is_first = first == torch.arange(first.shape[2], device=first.device)
        return generated.scatter(2, there, torch.where(is_first, both, both.detach()))  # each is learned once


def first_places(ids: Tensor) -> Tensor:
    """Where each of the source's tokens stands for the first time, `[n, P]` → `[n, P]`; behind the last is token 0."""
    length = torch.full_like(ids[:, :1], ids.shape[1])  # a tensor: ONNX divides by no size
    # Sorted by token and place: a run of one token begins with its first place, which all of the run are told.
    both = (ids.clamp(min=0) * length + torch.arange(ids.shape[1], device=ids.device)).sort(1).values
    tokens = both // length
    places = both - tokens * length
    is_first = tokens != F.pad(tokens[:, :-1], (1, 0), value=NOWHERE)
    run = is_first.long().cumsum(1) - 1
    firsts = torch.zeros_like(run).scatter_add(1, run, torch.where(is_first, places, 0)).gather(1, run)
    return torch.zeros_like(run).scatter(1, places, firsts)


@contextmanager
def pointing(
    decoder: Any, pointer: Pointer | None, memory: Tensor, source: Mapping[str, Tensor] | None
) -> Iterator[None]:
    """Within it the decoder says log-probabilities with copies in place of its logits, of each beam of a row alike.

    Other threads may ask the same decoder meanwhile.

    Args:
        decoder: an encoder–decoder of Transformers.
        pointer: `None` changes nothing.
        memory: `[n, S, D]`.
        source: see `arrays.subwords.source_of`.
    """
    if pointer is None:
        yield
        return
    assert source is not None, "a view for a pointer has a source"
    if source["ids"].shape[1] == 0:
        yield
        return
    keys = pointer.keys(memory, source, decoder.get_decoder().get_input_embeddings())
    read = (source["ids"], first_places(source["ids"]), keys)  # once for all steps of a search
    owner = threading.get_ident()
    states: list[Tensor] = []

    def remember(_: nn.Module, read: tuple[Tensor]) -> None:
        if threading.get_ident() == owner:
            states[:] = read

    def mix(_: nn.Module, given: Any, said: Any) -> Any:
        if threading.get_ident() != owner:
            return None
        (last,), beams = states, len(said.logits) // len(keys)
        if last.shape[:-1] != said.logits.shape[:-1]:
            raise ConfigError(f"copy: {type(decoder).__name__} does not say one token after the other; leave it out")
        said.logits = pointer(said.logits, last, *(part.repeat_interleave(beams, 0) for part in read))
        return said

    handles = [
        decoder.get_output_embeddings().register_forward_pre_hook(remember),
        decoder.register_forward_hook(mix),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
