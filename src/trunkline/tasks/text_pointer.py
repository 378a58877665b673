"""Copying from what is read: a word that training never saw, a name or a number, can be written all the same.

See, Liu and Manning, "Get to the point: summarization with pointer-generator networks", 2017, eq. 8 to 10: the next
token is generated with probability `g`, and with `1 - g` it is one of the source,

    P(w) = g · softmax(logits)[w] + (1 - g) · Σ_p a[p] · [source token p is w],

where the attention `a` and `g` follow from the decoder's state. The source is the text in the decoder's own tokens; the
key of one is what the encoder says at its word, the token itself, and the one before it. By the last a copy goes on.

Shape legend: `n` rows, `S` tokens of the view, `P` source tokens, `L` target tokens, `D` width of the decoder, `K`
vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.contexts import Context, WordsContext
from trunkline.tasks.vocabulary import load_tokenizer
from trunkline.types import State

NOWHERE = -1  # behind the last token of a row's source
LEAST = 1e-30  # the probability of a copy of what is not there


def source_of(contexts: Sequence[Context | None], state: State) -> dict[str, Tensor]:
    """The words of each row's text, as far as the encoder read them, in the decoder's tokens.

    Returns:
        `{"ids": [n, P], "places": [n, P]}`: the tokens, and the first of the encoder's tokens of each one's word;
        `NOWHERE` behind the last.
    """
    words, places, counts = [], [], []
    for context in contexts:
        found = () if not isinstance(context, WordsContext) else zip(context.words, context.spans, strict=True)
        read = [(word, start) for word, (start, stop) in found if stop > start]
        words += [word for word, _ in read]
        places += [start for _, start in read]
        counts.append(len(read))
    told = iter(load_tokenizer(state["tokenizer"]).encode_batch_fast(words, add_special_tokens=False))
    here = iter(places)
    ids: list[Tensor] = []
    where: list[Tensor] = []
    for count in counts:
        pairs = [(i, place) for _ in range(count) for place in (next(here),) for i in next(told).ids]
        ids.append(torch.tensor([i for i, _ in pairs], dtype=torch.long))
        where.append(torch.tensor([place for _, place in pairs], dtype=torch.long))
    return {name: nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=NOWHERE)
            for name, rows in (("ids", ids), ("places", where))}  # fmt: skip


class Pointer(nn.Module):
    """Looks for the source token that comes next.

    Args:
        width: `D`.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.of_place, self.of_token, self.of_last = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Linear(width, 1)

    def keys(self, memory: Tensor, source: Mapping[str, Tensor], embedding: nn.Module) -> Tensor:
        """What is looked for, `[n, P, D]`.

        Args:
            memory: what the decoder reads, `[n, S, D]`.
            source: see `source_of`.
            embedding: of the decoder's tokens.
        """
        places = source["places"].clamp(min=0)[..., None].expand(-1, -1, memory.shape[2])
        tokens = self.norm(embedding(source["ids"].clamp(min=0)))
        last = F.pad(tokens[:, :-1], (0, 0, 1, 0))
        return self.of_place(memory.gather(1, places)) + self.of_token(tokens) + self.of_last(last)

    def forward(self, logits: Tensor, states: Tensor, ids: Tensor, keys: Tensor) -> Tensor:
        """Logits `[n, L, K]` and the states they come from, `[n, L, D]` → log-probabilities `[n, L, K]`.

        In single precision at least. Of a row without a source they are those of the logits.

        Args:
            logits: what would be said without copying.
            states: of the decoder.
            ids: of the source, `[n, P]`.
            keys: `[n, P, D]`.
        """
        is_there = (ids != NOWHERE)[:, None]  # [n, 1, P]
        dtype = torch.promote_types(logits.dtype, torch.float32)
        scores = (self.query(states) @ keys.mT).to(dtype) / math.sqrt(keys.shape[2])
        attention = scores.masked_fill(~is_there, torch.finfo(scores.dtype).min).softmax(2) * is_there
        generated = logits.to(dtype).log_softmax(2)
        copied = torch.zeros_like(generated).scatter_add(2, ids.clamp(min=0)[:, None].expand_as(attention), attention)
        gate = self.gate(states).to(dtype).masked_fill(~is_there.any(2, keepdim=True), math.inf)  # [n, L, 1]
        own, other = F.logsigmoid(gate), F.logsigmoid(-gate).clamp(min=math.log(LEAST))
        return torch.logaddexp(own + generated, other + copied.clamp(min=LEAST).log())


@contextmanager
def pointing(
    decoder: Any, pointer: Pointer | None, memory: Tensor, source: Mapping[str, Tensor] | None
) -> Iterator[None]:
    """Within it the decoder says log-probabilities with copies in place of its logits, of each beam of a row alike.

    Args:
        decoder: an encoder–decoder of Transformers.
        pointer: `None` changes nothing.
        memory: `[n, S, D]`.
        source: see `source_of`.
    """
    if pointer is None or source is None or source["ids"].shape[1] == 0:
        yield
        return
    keys = pointer.keys(memory, source, decoder.get_decoder().get_input_embeddings())

    def say(_: nn.Module, states: tuple[Tensor], logits: Tensor) -> Tensor:
        beams = len(logits) // len(keys)
        return pointer(logits, states[0], source["ids"].repeat_interleave(beams, 0), keys.repeat_interleave(beams, 0))

    handle = decoder.get_output_embeddings().register_forward_hook(say)
    try:
        yield
    finally:
        handle.remove()
