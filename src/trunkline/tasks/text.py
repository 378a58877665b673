"""Text as a target: translations, summaries, captions, written by an autoregressive decoder.

The decoder and its search are those of Hugging Face Transformers, the vocabulary that of Hugging Face tokenizers;
both come with the extra `text` and are imported where they are used.

Shape legend: `n` rows, `S` tokens of the view, `D` its width, `L` target tokens, `K` vocabulary, `U` UTF-8 bytes.
"""

from __future__ import annotations

import inspect
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, partial
from numbers import Real
from typing import Any

import torch
import torchmetrics
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.contexts import Context
from trunkline.errors import ConfigError, DataError
from trunkline.tasks.contract import Head, Scores, Target, Task
from trunkline.tasks.extras import extra
from trunkline.types import State, Tokens

IGNORED = -100
SPECIAL = ("<pad>", "<begin>", "<end>")
PAD, BEGIN, END = range(3)
SMALLEST = len(SPECIAL) + 256  # every byte has its token
needed = partial(extra, kind="text", name="text")


class Text(Task):
    """A text to write. The decoder sees all tokens of the task's view.

    The vocabulary is byte-level BPE, learned from the training split: it can write any text. White space around a
    target is not learned.

    Args:
        max_length: target tokens. Longer targets are cut for learning, never for the metrics.
        vocabulary: number of subwords, at least 259; 259 gives single bytes.
        layers: decoder layers.
        heads: attention heads; must divide the decoder's width.
        decoder_width: `None` for the model's width.
        dropout: probability.
        label_smoothing: share of the probability that the loss spreads over the whole vocabulary.
        beams: beams of the search; 1 is greedy.
    """

    reads = "tokens"
    is_exportable = False
    is_written = True
    primary = "chrf"
    best = 100.0

    def __init__(
        self,
        max_length: int = 64,
        *,
        vocabulary: int = 2_000,
        layers: int = 2,
        heads: int = 4,
        decoder_width: int | None = None,
        dropout: float = 0.1,
        label_smoothing: float = 0.0,
        beams: int = 1,
    ) -> None:
        self.max_length = max_length
        self.vocabulary = vocabulary
        self.layers = layers
        self.heads = heads
        self.decoder_width = decoder_width
        self.dropout = dropout
        self.label_smoothing = label_smoothing
        self.beams = beams

    def read(self, cell: Any) -> str:
        """The text without white space around it; a number is read as it is written.

        Raises:
            DataError: neither text nor number, or half a surrogate pair in it.
        """
        if not isinstance(cell, (str, Real)):
            raise DataError(f"a text is a string, not {type(cell).__name__} ({cell!r:.60})")
        text = str(cell).strip()
        if any("\ud800" <= c <= "\udfff" for c in text):
            raise DataError(f"the text is not valid Unicode ({text!a:.60})")
        return text

    def fit(self, values: Iterable[str]) -> State:
        """`{"tokenizer": tokenizer.json as one string, "frequent": the most frequent text}`; of several, the first.

        Raises:
            ConfigError: the extra `text` is not installed, or `vocabulary` is too small.
            DataError: there is no text.
        """
        if self.vocabulary < SMALLEST:
            raise ConfigError(f"vocabulary={self.vocabulary} of a text task is too small: at least {SMALLEST}")
        texts = list(values)
        if not texts:
            raise DataError("no row of the training split has a text")
        definition = train_tokenizer(texts, self.vocabulary)
        lengths = [len(encoding.ids) for encoding in load_tokenizer(definition).encode_batch(texts)]
        cut = sum(length > self.max_length for length in lengths)
        if cut:
            warnings.warn(
                f"{cut} of {len(texts)} target texts have more than max_length={self.max_length} tokens (the longest "
                f"{max(lengths)}) and are cut for learning",
                stacklevel=2,
            )
        # One string: parsed once a process (`load_tokenizer` keeps it), not once a row.
        return {"tokenizer": definition, "frequent": Counter(texts).most_common(1)[0][0]}

    def prepare(self, value: str, state: State, context: Context | None) -> tuple[list[int], bytes]:
        """Ids of what is learned, and the text itself. A text that was cut does not end, so it gets no `<end>`."""
        return encode(value, state, self.max_length), value.encode()

    def collate(self, items: Sequence[Sequence[Any]]) -> Target:
        """`{"values": [n, L], "reference": [n, U] uint8, "flags": [n, 1]}`, padded with `IGNORED` and with zeros.

        The reference is the text in UTF-8, so that scores are never those of a cut text.
        """
        rows: list[tuple[list[int], bytes]] = [row[0] or ([], b"") for row in items]
        return {
            "values": pad([ids for ids, _ in rows], IGNORED, torch.long),
            "reference": pad([reference for _, reference in rows], 0, torch.uint8),
            "flags": torch.tensor([[row[0] is not None] for row in items]),
        }

    def build(self, states: Sequence[State], width: int) -> TextHead:
        """A Transformer decoder.

        Raises:
            ConfigError: the extra `text` is not installed, or `heads` does not divide the decoder's width.
        """
        (state,) = states
        decoder_width = self.decoder_width or width
        if decoder_width % self.heads:
            raise ConfigError(f"heads={self.heads} of a text task does not divide the decoder's width {decoder_width}")
        config = needed("transformers").MBartConfig(
            vocab_size=load_tokenizer(state["tokenizer"]).get_vocab_size(),
            max_position_embeddings=self.max_length + 1,
            d_model=decoder_width,
            decoder_layers=self.layers,
            decoder_attention_heads=self.heads,
            decoder_ffn_dim=4 * decoder_width,
            dropout=self.dropout,
            tie_word_embeddings=False,
            forced_eos_token_id=None,  # by default MBart writes `<end>` where the length runs out
            pad_token_id=PAD,
            bos_token_id=BEGIN,
            eos_token_id=END,
        )
        search = needed("transformers").GenerationConfig(
            max_new_tokens=self.max_length + 1,
            num_beams=self.beams,
            do_sample=False,
            pad_token_id=PAD,
            bos_token_id=BEGIN,
            eos_token_id=END,
        )
        return TextHead(config, search, width, self.label_smoothing)

    def metric(self, states: Sequence[State]) -> TextMetric:
        """`bleu` and `chrf` (0–100, sacreBLEU), `rouge1` and `rougeL` (F, rouge-score), `exact`."""
        (state,) = states
        return TextMetric(state)

    def decode(self, output: Tensor, states: Sequence[State], contexts: Sequence[Context | None]) -> list[list[str]]:
        """The texts."""
        (state,) = states
        return [decode(output, state)]

    def baseline(self, states: Sequence[State], target: Target) -> Tensor:
        """The most frequent text of the training split for every row, `[n, L]`."""
        (state,) = states
        ids = torch.tensor(encode(state["frequent"], state, self.max_length), device=target["flags"].device)
        return ids.expand(len(target["flags"]), -1)


def train_tokenizer(texts: Sequence[str], size: int) -> str:
    """Byte-level BPE learned from the texts, as the content of a `tokenizer.json`."""
    tokenizers = needed("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    # The prefix makes the first word of a text the same token as inside a text.
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.to_str()


@lru_cache(maxsize=64)
def load_tokenizer(definition: str) -> Any:
    """The `tokenizers.Tokenizer` of a `tokenizer.json`."""
    tokenizer = needed("tokenizers").Tokenizer.from_str(definition)
    tokenizer.encode_special_tokens = True  # `<end>` written in a text is text
    return tokenizer


def encode(text: str, state: State, max_length: int) -> list[int]:
    """Its ids and `<end>`, or the first `max_length` ids of a longer text."""
    ids = load_tokenizer(state["tokenizer"]).encode(text).ids
    return [*ids, END] if len(ids) <= max_length else ids[:max_length]


def decode(ids: Tensor, state: State) -> list[str]:
    """Ids `[n, L]` up to `<end>` → texts."""
    rows = [row[: row.index(END)] if END in row else row for row in ids.tolist()]
    return [text.strip() for text in load_tokenizer(state["tokenizer"]).decode_batch(rows)]


def pad(rows: Sequence[Sequence[int]], filler: int, dtype: torch.dtype) -> Tensor:
    """Lists of numbers → `[n, longest]`."""
    longest = max(len(row) for row in rows)
    filled = [[*row, *[filler] * (longest - len(row))] for row in rows]
    return torch.tensor(filled, dtype=dtype).reshape(len(rows), longest)


def learned(target: Target) -> Tensor:
    """Target ids `[n, L]`, `IGNORED` behind the end and in rows without a text."""
    return target["values"].masked_fill(~target["flags"], IGNORED)


class TextHead(Head):
    """Tokens of the view → a text, one target token after the other.

    The decoder is MBart's, the pre-norm one of Transformers' decoders with cross-attention, with fresh weights.
    """

    def __init__(self, config: Any, search: Any, width: int, label_smoothing: float) -> None:
        super().__init__()
        self.memory = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, config.d_model))
        self.decoder = needed("transformers").MBartForCausalLM(config)
        self.search = search
        self.label_smoothing = label_smoothing

    def predict_output(self, view: Tokens) -> Tensor:
        """Ids `[n, L]` found by the search, `<pad>` after `<end>`."""
        transformers = needed("transformers")
        begin = torch.full((len(view.values), 1), BEGIN, device=view.values.device)
        # Given no cache, `generate` would take one for self-attention only, and cross-attention would append to it.
        cache = transformers.EncoderDecoderCache(transformers.DynamicCache(), transformers.DynamicCache())
        is_new = "cache" in inspect.signature(self.decoder.forward).parameters  # its name in later releases of 5
        ids = self.decoder.generate(
            begin,
            attention_mask=torch.ones_like(begin),
            encoder_hidden_states=self.memory(view.values),
            encoder_attention_mask=view.mask,
            generation_config=self.search,
            **{"cache" if is_new else "past_key_values": cache},
        )
        return ids[:, 1:]

    def train_output(self, view: Tokens, target: Target) -> Tensor:
        """Teacher forcing: logits `[n, L, K]` of each target token, given the true ones before it."""
        known = learned(target)[:, :-1].clamp(min=PAD)  # IGNORED lies after `<end>`: no token that counts sees it
        begin = known.new_full((len(known), 1), BEGIN)
        return self.decoder(
            input_ids=torch.cat([begin, known], 1),
            encoder_hidden_states=self.memory(view.values),
            encoder_attention_mask=view.mask,
            use_cache=False,
        ).logits

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


class TextMetric(torchmetrics.Metric):
    """Scores of whole corpora. Keeps all texts as bytes, so it is exact over ranks.

    Args:
        state: of the task.
    """

    full_state_update = False
    written: list[Tensor]
    written_sizes: list[Tensor]
    true: list[Tensor]
    true_sizes: list[Tensor]

    def __init__(self, state: State) -> None:
        super().__init__()
        self.state = state
        for name in ("written", "written_sizes", "true", "true_sizes"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, output: Tensor, target: Target) -> None:
        """Ids `[n, L]` and what `Text.collate` gives."""
        rows = target["flags"][:, 0]
        references = [bytes(row).rstrip(b"\0") for row in target["reference"][rows].tolist()]
        for name, texts in (("written", [t.encode() for t in decode(output[rows], self.state)]), ("true", references)):
            stream = torch.tensor(list(b"".join(texts)), dtype=torch.uint8, device=output.device)
            getattr(self, name).append(stream)
            getattr(self, f"{name}_sizes").append(torch.tensor([len(t) for t in texts], device=output.device).long())

    def compute(self) -> list[Scores | None]:
        """The scores; `None` where no text was seen."""
        written = list(split_texts(self.written, self.written_sizes))
        return [score_texts(written, list(split_texts(self.true, self.true_sizes))) if written else None]


def split_texts(stream: list[Tensor] | Tensor, sizes: list[Tensor] | Tensor) -> Iterator[str]:
    """Texts out of one stream of UTF-8 bytes and the length of each (lists of them before ranks are gathered)."""
    content = bytes(b for part in ([stream] if isinstance(stream, Tensor) else stream) for b in part.tolist())
    start = 0
    for size in (s for part in ([sizes] if isinstance(sizes, Tensor) else sizes) for s in part.tolist()):
        yield content[start : start + size].decode()
        start += size


def score_texts(written: Sequence[str], true: Sequence[str]) -> Scores:
    """Corpus BLEU and chrF (0–100), mean F of ROUGE-1 and ROUGE-L, share of equal texts (0–1).

    ROUGE as its authors' tokenizer defines it: it sees the letters a–z and digits only.
    """
    sacrebleu, rouge = needed("sacrebleu"), needed("rouge_score.rouge_scorer")
    scorer = rouge.RougeScorer(["rouge1", "rougeL"])
    rouges = [scorer.score(t, w) for t, w in zip(true, written, strict=True)]
    return {
        "bleu": sacrebleu.BLEU(force=True).corpus_score(written, [true]).score,
        "chrf": sacrebleu.CHRF().corpus_score(written, [true]).score,
        "rouge1": sum(r["rouge1"].fmeasure for r in rouges) / len(rouges),
        "rougeL": sum(r["rougeL"].fmeasure for r in rouges) / len(rouges),
        "exact": sum(t == w for t, w in zip(true, written, strict=True)) / len(true),
    }
