"""Text as a target: translations, summaries, captions, written by an autoregressive decoder.

The decoder and its search are those of Hugging Face Transformers, the vocabulary that of Hugging Face tokenizers;
both come with the extra `text` and are imported where they are used.

Shape legend: `n` rows, `L` target tokens, `U` UTF-8 bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from trunkline.cells import as_text
from trunkline.contexts import Context
from trunkline.errors import ConfigError, DataError
from trunkline.tasks.contract import Head, Target, Task
from trunkline.tasks.text_head import IGNORED, TextHead
from trunkline.tasks.text_metric import TextMetric, as_bytes, signatures
from trunkline.tasks.text_search import Search
from trunkline.tasks.vocabulary import (
    SMALLEST,
    apart,
    decode,
    encode,
    learned_vocabulary,
    needed,
    pretrained_vocabulary,
    warn_unfit,
)
from trunkline.types import State


class Text(Task):
    """A text to write. The decoder sees all tokens of the task's view.

    The vocabulary is byte-level BPE, learned from the training split: it can write any text. White space around a
    target is not learned: one of white space alone is the empty text, which is a text to write.

    Args:
        max_length: target tokens. Longer targets are cut for learning, never for the metrics.
        vocabulary: number of subwords, at least 259; 259 gives single bytes.
        tokenizer: take the subwords of a pretrained tokenizer of Transformers instead, by its name on the hub or its
            folder; `vocabulary` is then not for it. The embeddings are learned from the beginning.
        layers: decoder layers.
        heads: attention heads; must divide the decoder's width.
        decoder_width: `None` for the model's width.
        tie: one embedding for what the decoder reads and what it writes.
        dropout: probability.
        label_smoothing: share of the probability that the loss spreads over the whole vocabulary.
        beams: beams of the search; 1 is greedy.
        length_penalty: of beams, the likelier text counts by its log-probability divided by its length to this power:
            above 1 for longer texts, below for shorter ones.
        no_repeat: no run of so many tokens comes twice in a text; `None`: any may.
        min_length: tokens that a text has at least.
        sample: draw each token instead of looking for the likeliest text. A row's draws follow from the row: it has the
            same text whatever rows are beside it, and however often it is asked for. Rows with as many tokens and the
            same beginning draw alike.
        temperature: of the draws; below 1 nearer to the likeliest.
        top_p: draw among the likeliest tokens that have this probability together.
    """

    reads = "tokens"
    is_exportable = False
    can_share = True
    is_written = True
    primary = "chrf"
    best = 100.0

    def __init__(
        self,
        max_length: int = 64,
        *,
        vocabulary: int = 2_000,
        tokenizer: str | None = None,
        layers: int = 2,
        heads: int = 4,
        decoder_width: int | None = None,
        tie: bool = False,
        dropout: float = 0.1,
        label_smoothing: float = 0.0,
        beams: int = 1,
        length_penalty: float = 1.0,
        no_repeat: int | None = None,
        min_length: int = 0,
        sample: bool = False,
        temperature: float = 1.0,
        top_p: float = 1.0,
    ) -> None:
        self.max_length = max_length
        self.vocabulary = vocabulary
        self.tokenizer = tokenizer
        self.layers = layers
        self.heads = heads
        self.decoder_width = decoder_width
        self.tie = tie
        self.dropout = dropout
        self.label_smoothing = label_smoothing
        self.beams = beams
        self.length_penalty = length_penalty
        self.no_repeat = no_repeat
        self.min_length = min_length
        self.sample = sample
        self.temperature = temperature
        self.top_p = top_p

    def read(self, cell: Any) -> str:
        """The text without white space around it; a number is read as it is written.

        Raises:
            DataError: neither text nor number, or half a surrogate pair in it.
        """
        return as_text(cell).strip()

    def fit(self, values: Iterable[str]) -> State:
        """The vocabulary, and `{"frequent": the most frequent text}`; of several, the first.

        Raises:
            ConfigError: the extra `text` is not installed, the options do not fit each other, or the tokenizer cannot
                be had.
            DataError: there is no text.
        """
        (state,) = self.fit_shared([values])
        return state

    def fit_shared(self, columns: Sequence[Iterable[str]]) -> list[State]:
        """One vocabulary from the texts of all; each task has its own most frequent text, and its own `begin`."""
        search = self._search
        search.check()
        if self.tokenizer is None and self.vocabulary < SMALLEST:
            raise ConfigError(f"vocabulary={self.vocabulary} of a text task is too small: at least {SMALLEST}")
        own = [list(values) for values in columns]
        if not all(own):
            raise DataError("no row of the training split has a text")
        texts = [text for each in own for text in each]
        is_learned = self.tokenizer is None
        found = pretrained_vocabulary(self.tokenizer) if self.tokenizer else learned_vocabulary(texts, self.vocabulary)
        warn_unfit(texts, found, self.max_length, is_learned=is_learned)
        # The tokenizer is one string: parsed once a process (`load_tokenizer` keeps it), not once a row.
        states = zip(apart(found, len(own)), own, strict=True)
        return [{**state, "frequent": Counter(each).most_common(1)[0][0]} for state, each in states]

    def prepare(self, value: str, state: State, context: Context | None) -> tuple[list[int], bytes]:
        """Ids of what is learned, and the text itself. A text that was cut does not end, so it gets no end."""
        return encode(value, state, self.max_length), value.encode()

    def collate(self, items: Sequence[Sequence[Any]]) -> Target:
        """`{"values": [n, L], "reference": [n, U] uint8, "flags": [n, 1]}`, padded.

        The reference is the text in UTF-8, so that scores are never those of a cut text.
        """
        rows: list[tuple[list[int], bytes]] = [row[0] or ([], b"") for row in items]
        ids = [torch.tensor(own, dtype=torch.long) for own, _ in rows]
        return {
            "values": nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=IGNORED),
            "reference": as_bytes([reference for _, reference in rows]),
            "flags": torch.tensor([[row[0] is not None] for row in items]),
        }

    def build(self, states: Sequence[State], width: int) -> TextHead:
        """A Transformer decoder.

        Raises:
            ConfigError: the extra `text` is not installed, the options do not fit each other, or `heads` does not
                divide the decoder's width.
        """
        (state,) = states
        self._search.check()
        decoder_width = self.decoder_width or width
        if decoder_width % self.heads:
            raise ConfigError(f"heads={self.heads} of a text task does not divide the decoder's width {decoder_width}")
        config = needed("transformers").MBartConfig(
            vocab_size=state["size"],
            max_position_embeddings=self.max_length + 1,
            d_model=decoder_width,
            decoder_layers=self.layers,
            decoder_attention_heads=self.heads,
            decoder_ffn_dim=4 * decoder_width,
            dropout=self.dropout,
            tie_word_embeddings=self.tie,
            forced_eos_token_id=None,  # by default MBart writes `<end>` where the length runs out
            pad_token_id=state["pad"],
            bos_token_id=state["begin"],
            eos_token_id=state["end"],
        )
        memory = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, decoder_width))
        decoder = needed("transformers").MBartForCausalLM(config)
        return TextHead(memory, decoder, self._search, state, self.label_smoothing)

    def build_shared(self, head: Head, states: Sequence[State]) -> TextHead:
        """The same layers, told to write this task's texts by its own `begin`."""
        assert isinstance(head, TextHead)
        (state,) = states
        return TextHead(head.memory, head.decoder, head.search, state, head.label_smoothing)

    def metric(self, states: Sequence[State]) -> TextMetric:
        """`bleu` and `chrf` (0–100, sacreBLEU), `rouge1`, `rouge2` and `rougeL` (F, rouge-score), `exact`."""
        (state,) = states
        return TextMetric(state)

    def signatures(self) -> dict[str, str]:
        """Those of sacreBLEU."""
        return signatures()

    def decode(self, output: Tensor, states: Sequence[State], contexts: Sequence[Context | None]) -> list[list[str]]:
        """The texts."""
        (state,) = states
        return [decode(output, state)]

    def baseline(self, states: Sequence[State], target: Target) -> Tensor:
        """The most frequent text of the training split for every row, `[n, L]`."""
        (state,) = states
        ids = torch.tensor(encode(state["frequent"], state, self.max_length), device=target["flags"].device)
        return ids.expand(len(target["flags"]), -1)

    @property
    def _search(self) -> Search:
        return Search(**{field.name: getattr(self, field.name) for field in fields(Search)})
