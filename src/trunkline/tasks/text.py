"""Text as a target: translations, summaries, captions, written by an autoregressive decoder.

The decoder and its search are those of Hugging Face Transformers, the vocabulary that of Hugging Face tokenizers;
both come with the extra `text` and are imported where they are used.

Shape legend: `n` rows, `L` target tokens, `U` UTF-8 bytes.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from trunkline.arrays.subwords import source_of
from trunkline.arrays.written import TextAnswers, decode
from trunkline.cells import as_text
from trunkline.contexts import Context
from trunkline.errors import ConfigError, DataError
from trunkline.pretrained import Tuning
from trunkline.showing import Answer, Attended, shown_text
from trunkline.tasks.contract import Head, Target, Task, on_host
from trunkline.tasks.text_attention import by_words, word_tokens
from trunkline.tasks.text_decoder import describe, fill_decoder, pretrained_decoder, scratch_decoder
from trunkline.tasks.text_head import IGNORED, Memory, TextHead
from trunkline.tasks.text_metric import TextMetric, as_bytes, row_score, score_texts, signatures
from trunkline.tasks.text_pointer import Pointer
from trunkline.tasks.text_search import Search
from trunkline.tasks.vocabulary import (
    SMALLEST,
    apart,
    encode,
    learned_vocabulary,
    pretrained_vocabulary,
    warn_unfit,
)
from trunkline.types import State, Tokens

SCRATCH = ("vocabulary", "tokenizer", "layers", "heads", "decoder_width", "tie", "dropout")  # options of such a decoder
PRETRAINED = ("language", "freeze", "decoder_lr", "lora")


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
        decoder: write with the decoder of a pretrained encoder–decoder of Transformers, by its name on the hub or its
            folder, and with its tokenizer. What it reads is this model's tokens, mapped to its width. The options above
            but `max_length` are then not for it, nor is `dropout`.
        language: code of the language to be written in, where the decoder writes several and is told by a token (mBART,
            NLLB).
        freeze: leave a pretrained decoder as it is.
        decoder_lr: learning rate of a pretrained decoder, as a share of everything else's.
        lora: rank of low-rank adapters that learn while the pretrained decoder stays as it is; 0 for none.
        dropout: probability.
        label_smoothing: share of the probability that the loss spreads over the whole vocabulary.
        copy: each token may be one of the text that the task is bound to (`of: INPUT`) in place of one that is
            generated, as names and numbers are in summaries (see `text_pointer.py`). The decoder then reads no other
            input's tokens.
        beams: beams of the search; 1 is greedy.
        length_penalty: of beams, the likelier text counts by its log-probability divided by its length to this power:
            above 1 for longer texts, below for shorter ones.
        no_repeat: no run of so many tokens comes twice in a text; `None`: any may.
        min_length: tokens that a text has at least.
        sample: draw each token instead of looking for the likeliest text. A row's draws follow from the row: it has the
            same text whatever rows are beside it, however often it is asked for, and exported. Rows with as many tokens
            and the same beginning draw alike.
        temperature: of the draws; below 1 nearer to the likeliest.
        top_p: draw among the likeliest tokens that have this probability together.
    """

    reads = "tokens"
    is_one_pass = False
    refuses_export = None  # a step is a graph, and the loop around it is NumPy: `trunkline.export.writer`
    can_share = True
    is_written = True
    heeds_context = False
    is_sequence = True
    attends = True
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
        decoder: str | None = None,
        language: str | None = None,
        freeze: bool = False,
        decoder_lr: float = 0.1,
        lora: int = 0,
        dropout: float = 0.1,
        label_smoothing: float = 0.0,
        copy: bool = False,
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
        self.decoder = decoder
        self.language = language
        self.freeze = freeze
        self.decoder_lr = decoder_lr
        self.lora = lora
        self.dropout = dropout
        self.label_smoothing = label_smoothing
        self.copy = copy
        self.beams = beams
        self.length_penalty = length_penalty
        self.no_repeat = no_repeat
        self.min_length = min_length
        self.sample = sample
        self.temperature = temperature
        self.top_p = top_p

    @classmethod
    def reads_with(cls, options: Mapping[str, Any]) -> str:
        """Words, where it copies."""
        return "words" if options.get("copy") else cls.reads

    @property
    def copies(self) -> bool:
        """Whether it was asked to."""
        return self.copy

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
        self._check()
        own = [list(values) for values in columns]
        if not all(own):
            raise DataError("no row of the training split has a text")
        texts = [text for each in own for text in each]
        found = self._vocabulary(texts)
        warn_unfit(texts, found, self.max_length, is_learned=self.tokenizer is None and self.decoder is None)
        # The tokenizer is one string: parsed once a process (`tokenizer_of` keeps it), not once a row.
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
        self._check()
        if self.decoder is not None:
            decoder = pretrained_decoder(state, self.max_length)
            weights = partial(fill_decoder, decoder=self.decoder, state=state)
            memory = Memory(width, decoder.config.hidden_size, in_places=False)
            return self._head(memory, decoder, state, tuning=self._tuning, weights=weights)
        own = self.decoder_width or width
        if own % self.heads:
            raise ConfigError(f"heads={self.heads} of a text task does not divide the decoder's width {own}")
        options = {name: getattr(self, name) for name in ("layers", "heads", "max_length", "dropout", "tie")}
        memory = Memory(width, own, in_places=True)
        return self._head(memory, scratch_decoder(state, width=own, **options), state)

    def _head(self, memory: Memory, decoder: Any, state: State, **options: Any) -> TextHead:
        pointer = Pointer(decoder.config.hidden_size) if self.copy else None
        return TextHead(memory, decoder, self._search, state, self.label_smoothing, pointer=pointer, **options)

    def build_shared(self, head: Head, states: Sequence[State]) -> TextHead:
        """The same layers, told to write this task's texts by its own `begin`."""
        assert isinstance(head, TextHead)
        (state,) = states
        return TextHead(
            head.memory,
            head.decoder,
            head.search,
            state,
            head.label_smoothing,
            pointer=head.pointer,
            tuning=head.tuning,
        )

    def source(self, contexts: Sequence[Context | None], state: State) -> dict[str, Tensor]:
        """The words of the input in this task's tokens: `{"ids": [n, P], "places": [n, P]}` (see `source_of`)."""
        return {name: torch.from_numpy(value) for name, value in source_of(contexts, state).items()}

    def metric(self, states: Sequence[State]) -> TextMetric:
        """`bleu` and `chrf` (0–100, sacreBLEU), `rouge1`, `rouge2` and `rougeL` (F, rouge-score), `exact`."""
        (state,) = states
        return TextMetric(partial(decode, state=state), score_texts)

    def signatures(self) -> dict[str, str]:
        """Those of sacreBLEU."""
        return signatures()

    @property
    def answers(self) -> TextAnswers:
        """What outputs say."""
        return TextAnswers()

    def decode(self, output: Tensor, states: Sequence[State], contexts: Sequence[Context | None]) -> list[list[str]]:
        """The texts."""
        return self.answers.decode(on_host(output), states, contexts)

    def show(self, said: str, true: str | None, state: State, of: Any) -> Answer:
        """The texts; a row is as wrong as its own chrF is low."""
        if true is None:
            return Answer(shown_text(said))
        score = row_score(said, true)
        return Answer(shown_text(said), shown_text(true), None, 1 - score / 100, {"chrf": score})

    def attend(self, head: Head, view: Tokens, said: Sequence[str], states: Sequence[State]) -> list[Attended]:
        """By the decoder's attention to its view (`TextHead.attention`); a word's is the mean of its tokens'."""
        assert isinstance(head, TextHead)
        (state,) = states
        told = [word_tokens(text, state) for text in said]
        rows = [torch.tensor(ids[: self.max_length], dtype=torch.long) for ids, _, _ in told]
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=state["pad"]).to(view.values.device)
        weights = head.attention(view, ids)
        return [
            by_words(words, tokens, own[: len(row)])
            for (_, words, tokens), own, row in zip(told, weights, rows, strict=True)
        ]

    def baseline(self, states: Sequence[State], target: Target) -> Tensor:
        """The most frequent text of the training split for every row, `[n, L]`."""
        (state,) = states
        ids = torch.tensor(encode(state["frequent"], state, self.max_length), device=target["flags"].device)
        return ids.expand(len(target["flags"]), -1)

    def _vocabulary(self, texts: Sequence[str]) -> State:
        if self.decoder is not None:
            return describe(self.decoder, self.language)
        return pretrained_vocabulary(self.tokenizer) if self.tokenizer else learned_vocabulary(texts, self.vocabulary)

    def _check(self) -> None:
        """Raises:
        ConfigError: options that cannot work, or not together.
        """
        self._search.check()
        faults = {
            f"vocabulary={self.vocabulary}: at least {SMALLEST}": self.tokenizer is None and self.vocabulary < SMALLEST,
            f"layers={self.layers}: at least 1": self.layers < 1,
            f"heads={self.heads}: at least 1": self.heads < 1,
            f"decoder_width={self.decoder_width}: at least 1": (
                self.decoder_width is not None and self.decoder_width < 1
            ),
            f"dropout={self.dropout}: from 0 to less than 1": not 0 <= self.dropout < 1,
            f"label_smoothing={self.label_smoothing}: from 0 to less than 1": not 0 <= self.label_smoothing < 1,
        }
        if said := [fault for fault, is_so in faults.items() if is_so]:
            raise ConfigError("\n".join(f"text task: {fault}" for fault in said))
        usual = inspect.signature(Text).parameters
        idle = SCRATCH if self.decoder is not None else PRETRAINED
        if said := [name for name in idle if getattr(self, name) != usual[name].default]:
            whose = "from scratch" if self.decoder is not None else "that is pretrained; name one with `decoder:`"
            raise ConfigError(f"text task: {', '.join(said)}: of a decoder {whose}")
        self._tuning.check()

    @property
    def _tuning(self) -> Tuning:
        return Tuning(self.freeze or self.lora > 0, self.decoder_lr, lora=self.lora)

    @property
    def _search(self) -> Search:
        return Search(**{field.name: getattr(self, field.name) for field in fields(Search)})
