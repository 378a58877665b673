"""Tokens of a view → a text, one target token after the other.

Shape legend: `n` rows, `S` tokens of the view, `D` its width, `L` target tokens, `K` vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.positions import sinusoids
from trunkline.pretrained import Tuning
from trunkline.tasks.contract import Head, Target
from trunkline.tasks.text_attention import telling
from trunkline.tasks.text_decoder import prompt_of
from trunkline.tasks.text_pointer import Pointer, pointing
from trunkline.tasks.text_search import Search
from trunkline.tasks.vocabulary import needed
from trunkline.types import State, Tokens

IGNORED = -100
UNORDERED = ("nodes", "set")  # axes along which no token comes after another


def learned(target: Target) -> Tensor:
    """Target ids `[n, L]`, `IGNORED` behind the end and in rows without a text."""
    return target["values"].masked_fill(~target["flags"], IGNORED)


class Memory(nn.Sequential):
    """Tokens of a view → what a decoder reads of them: normalised, mapped, and in their places.

    A decoder from scratch is told where each token stands among its input's (as Vaswani et al. 2017 tell it of what
    goes in): encoders need not say it, and bags of words do not. Those that others have trained were told otherwise.
    Nodes of a graph stand nowhere.

    Args:
        width: `D`.
        own: the decoder's width.
        in_places: whether it is told.
    """

    def __init__(self, width: int, own: int, *, in_places: bool) -> None:
        super().__init__(nn.LayerNorm(width), nn.Linear(width, own))
        self.in_places = in_places

    def forward(self, view: Tokens) -> Tensor:
        """`[n, S, decoder's width]`."""
        read = super().forward(view.values)
        if not self.in_places:
            return read
        sizes = [0 if span.axis in UNORDERED else span.stop - span.start for span in view.spans]
        places = sinusoids(max([1, *sizes]), read.shape[2], read.device).to(read.dtype)
        parts = [
            places[:size] if size else places[:1].expand(span.stop - span.start, -1)
            for span, size in zip(view.spans, sizes)
        ]
        return read + torch.cat(parts)


class TextHead(Head):
    """Tokens of the view → a text. Heads that share have the same layers, and each its own token to begin with.

    Where shared layers do not learn, no beginning can come to mean anything: what tells the tasks apart is then a token
    of each that is read before those of the view.

    Args:
        memory: what the decoder reads of a view.
        decoder: an encoder–decoder of Transformers without its encoder; see `text_decoder`.
        search: how texts are looked for.
        state: of the task: ids of its marks.
        label_smoothing: share of the probability that the loss spreads over the whole vocabulary.
        pointer: copies from the view's source; `None`: all is generated.
        tuning: how a pretrained decoder goes on learning.
        weights: puts the pretrained weights into it; `None` where another head does.
    """

    prompt: Tensor

    def __init__(
        self,
        memory: Memory,
        decoder: Any,
        search: Search,
        state: State,
        label_smoothing: float,
        *,
        pointer: Pointer | None = None,
        tuning: Tuning | None = None,
        weights: Callable[[nn.Module], None] | None = None,
    ) -> None:
        super().__init__()
        if tuning is not None and weights is not None:
            tuning.apply(decoder)
        self.memory = memory
        self.decoder = decoder
        self.search = search
        self.state = state
        self.label_smoothing = label_smoothing
        self.pointer = pointer
        self.tuning = tuning
        self.weights = weights
        self.generation = search.generation(state)
        # What a network's own config says of a search would be taken where the task's says nothing.
        decoder.generation_config = needed("transformers").GenerationConfig()
        self.register_buffer("prompt", torch.tensor([prompt_of(state)]), persistent=False)
        is_told = tuning is not None and tuning.freeze and state.get("is_shared", False)
        self.mark = nn.Parameter(torch.randn(1, 1, decoder.config.hidden_size)) if is_told else None

    def load_pretrained(self) -> None:
        """The decoder's weights from elsewhere, if it has such."""
        if self.tuning is not None and self.weights is not None:
            self.tuning.load(self.decoder, self.weights)

    def pretrained_parameters(self) -> Iterable[tuple[nn.Parameter, float]]:
        """Of the decoder, where others have trained it."""
        return () if self.tuning is None else self.tuning.rates(self.decoder)

    def predict_output(self, view: Tokens) -> Tensor:
        """Ids `[n, L]` found by the search; what stands behind an end does not count."""
        memory = self.memory(view)
        given = self.read(memory, view.mask)
        with pointing(self.decoder, self.pointer, memory, view.source):
            ids = self.decoder.generate(
                **given,
                decoder_input_ids=self.prompt.expand(memory.shape[0], -1),
                generation_config=self.generation,
                logits_processor=self.search.processors(given["attention_mask"].sum(1), self.prompt.shape[1]),
                synced_gpus=False,  # of a decoder whose weights are divided, all are there while it is used
            )
        return ids[:, self.prompt.shape[1] :]

    def train_output(self, view: Tokens, target: Target) -> Tensor:
        """Teacher forcing: logits `[n, L, K]` of each target token, given the true ones before it.

        With copies they are log-probabilities, which a softmax leaves as they are.
        """
        known = learned(target)[:, :-1].clamp(min=0)  # IGNORED lies after the end: no token that counts sees it
        memory = self.memory(view)
        with pointing(self.decoder, self.pointer, memory, view.source):
            return self._forced(memory, view.mask, known).logits[:, self.prompt.shape[1] - 1 :]

    def attention(self, view: Tokens, ids: Tensor) -> Tensor:
        """How much of each token of the view is read to write each of these ids, `[n, L]` → `[n, L, S]`.

        Teacher forcing, once: the mean of the weights of all layers and heads. They sum to 1 over the tokens that the
        view has, and are 0 elsewhere.
        """
        with telling(self.decoder):
            told = self._forced(self.memory(view), view.mask, ids[:, :-1], output_attentions=True)
        weights = torch.stack(told.cross_attentions).mean((0, 2))[:, self.prompt.shape[1] - 1 :, -view.mask.shape[1] :]
        return weights / weights.sum(2, keepdim=True)

    def _forced(self, memory: Tensor, mask: Tensor, known: Tensor, **options: Any) -> Any:
        """What the decoder says of each target token, given those before it, `known [n, L - 1]`."""
        ids, read = torch.cat([self.prompt.expand(len(known), -1), known], 1), self.read(memory, mask)
        return self.decoder(**read, decoder_input_ids=ids, use_cache=False, **options)

    def read(self, memory: Tensor, mask: Tensor) -> dict[str, Any]:
        """What stands for the encoder."""
        if self.mark is not None:
            memory = torch.cat([self.mark.expand(memory.shape[0], -1, -1).to(memory), memory], 1)
            mask = torch.cat([torch.ones_like(mask[:, :1]), mask], 1)
        said = needed("transformers.modeling_outputs").BaseModelOutput(last_hidden_state=memory)
        return {"encoder_outputs": said, "attention_mask": mask}

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
