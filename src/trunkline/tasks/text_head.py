"""Tokens of a view → a text, one target token after the other.

Shape legend: `n` rows, `S` tokens of the view, `D` its width, `L` target tokens, `K` vocabulary.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.tasks.contract import Head, Target
from trunkline.tasks.text_attention import telling
from trunkline.tasks.text_search import Search
from trunkline.tasks.vocabulary import needed
from trunkline.types import State, Tokens

IGNORED = -100


def learned(target: Target) -> Tensor:
    """Target ids `[n, L]`, `IGNORED` behind the end and in rows without a text."""
    return target["values"].masked_fill(~target["flags"], IGNORED)


class TextHead(Head):
    """Tokens of the view → a text. Heads that share have the same layers, and each its own token to begin with.

    Args:
        memory: view → what the decoder reads, `[n, S, D]` → `[n, S, decoder's width]`.
        decoder: `MBartForCausalLM`, the pre-norm one of Transformers' decoders with cross-attention.
        search: how texts are looked for.
        state: of the task: ids of its marks.
        label_smoothing: share of the probability that the loss spreads over the whole vocabulary.
    """

    def __init__(self, memory: nn.Module, decoder: Any, search: Search, state: State, label_smoothing: float) -> None:
        super().__init__()
        self.memory = memory
        self.decoder = decoder
        self.search = search
        self.state = state
        self.label_smoothing = label_smoothing
        self.generation = search.generation(state)

    def predict_output(self, view: Tokens) -> Tensor:
        """Ids `[n, L]` found by the search, padded after the end."""
        transformers = needed("transformers")
        begin = torch.full((len(view.values), 1), self.state["begin"], device=view.values.device)
        # Given no cache, `generate` would take one for self-attention only, and cross-attention would append to it.
        cache = transformers.EncoderDecoderCache(transformers.DynamicCache(), transformers.DynamicCache())
        is_new = "cache" in inspect.signature(self.decoder.forward).parameters  # its name in later releases of 5
        ids = self.decoder.generate(
            begin,
            attention_mask=torch.ones_like(begin),
            encoder_hidden_states=self.memory(view.values),
            encoder_attention_mask=view.mask,
            generation_config=self.generation,
            logits_processor=self.search.processors(view.mask.sum(1)),
            **{"cache" if is_new else "past_key_values": cache},
        )
        return ids[:, 1:]

    def train_output(self, view: Tokens, target: Target) -> Tensor:
        """Teacher forcing: logits `[n, L, K]` of each target token, given the true ones before it."""
        known = learned(target)[:, :-1].clamp(min=0)  # IGNORED lies after the end: no token that counts sees it
        return self._forced(view, known).logits

    def attention(self, view: Tokens, ids: Tensor) -> Tensor:
        """How much of each token of the view is read to write each of these ids, `[n, L]` → `[n, L, S]`.

        Teacher forcing, once: the mean of the weights of all layers and heads. They sum to 1 over the tokens that the
        view has, and are 0 elsewhere.
        """
        with telling(self.decoder):
            told = self._forced(view, ids[:, :-1], output_attentions=True)
        return torch.stack(told.cross_attentions).mean((0, 2))

    def _forced(self, view: Tokens, known: Tensor, **options: Any) -> Any:
        """What the decoder says of each target token, given those before it, `known [n, L - 1]`."""
        begin = known.new_full((len(known), 1), self.state["begin"])
        return self.decoder(
            input_ids=torch.cat([begin, known], 1),
            encoder_hidden_states=self.memory(view.values),
            encoder_attention_mask=view.mask,
            use_cache=False,
            **options,
        )

    def loss(self, output: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """Cross entropy over target tokens: `(sum [1], tokens [1])`."""
        labels = learned(target)
        total = F.cross_entropy(
            output.flatten(0, 1),
            labels.flatten(),
            ignore_index=IGNORED,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
        return total.reshape(1), (labels != IGNORED).sum().to(total.dtype).reshape(1)
