"""Text: a vocabulary of words from the training split, and a small Transformer from scratch.

Shape legend: `n` rows, `L` tokens, `D` width, `H` attention heads.
"""

from __future__ import annotations

import math
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.errors import ConfigError, DataError
from trunkline.modalities import pretrained_text
from trunkline.modalities.contract import Choices, Encoder, Modality
from trunkline.types import Span, State, Tokens, WordsContext

PIECE = re.compile(r"\w+|[^\w\s]")
SAMPLE = 2_000  # texts whose lengths are looked at
SHORT = 24  # pieces of a text on average
PADDING, EMPTY = 0, 1  # ids; the buckets of unknown pieces follow, then the vocabulary


class Text(Modality):
    """A sentence or a document, encoded by a Transformer that starts from nothing.

    Words stand between white space. A word becomes one token for each of its pieces: runs of letters and digits, and
    single punctuation marks (`isn't.` → `isn ' t .`). A piece that the vocabulary lacks falls into one of a few
    buckets by its ending, so that unseen words with a familiar ending are not all the same. What trains the buckets:
    the rare pieces of the training split, which `min_count` keeps out of the vocabulary, and known pieces that
    `word_dropout` takes for unknown.

    Args:
        vocabulary: the most frequent this many pieces get an embedding of their own.
        min_count: pieces seen less often than this in the training split are left to the buckets.
        buckets: number of buckets, at least 1.
        max_length: tokens read of one text; what comes later is cut.
        lower: ignore case.
        layers: Transformer layers; 0 for a bag of words and of pairs of words, which reads long texts at a tenth of the
            cost and says as much about what they are about.
        heads: attention heads; must divide the model's width.
        bigrams: embeddings for pairs of neighbouring pieces, which share them by their hash (Joulin et al. 2017, "Bag
            of tricks for efficient text classification"); 0 for none.
        dropout: probability.
        word_dropout: probability that training takes a known piece for unknown.
        encoder: a pretrained network in place of the one from scratch, with its own tokens: `transformers:NAME`,
            `transformers:FOLDER` or `package:minilm`. Of the options above only `max_length` is for it.
        freeze: leave the pretrained network as it is; what it says about a text is then worked out once.
        encoder_lr: learning rate of a pretrained network that is not frozen, as a share of everything else's.
    """

    axis = "words"
    varying: ClassVar = {"ids": (1,), "mask": (1,)}

    def __init__(
        self,
        vocabulary: int = 20_000,
        *,
        min_count: int = 2,
        buckets: int = 64,
        max_length: int | None = None,
        lower: bool = True,
        layers: int | None = None,
        heads: int = 4,
        bigrams: int | None = None,
        dropout: float | None = None,
        word_dropout: float = 0.05,
        encoder: str | None = None,
        freeze: bool = True,
        encoder_lr: float = 0.1,
    ) -> None:
        self.vocabulary = vocabulary
        self.min_count = min_count
        self.buckets = buckets
        self.max_length = max_length
        self.lower = lower
        self.layers = layers
        self.heads = heads
        self.bigrams = bigrams
        self.dropout = dropout
        self.word_dropout = word_dropout
        self.encoder = encoder
        self.freeze = freeze
        self.encoder_lr = encoder_lr

    def read(self, cell: Any) -> str:
        """The text itself; a number is read as it is written. The empty text is a text.

        Raises:
            DataError: neither text nor number.
        """
        if not isinstance(cell, (str, Real)):
            raise DataError(f"a text is a string, not {type(cell).__name__} ({cell!r:.60})")
        return str(cell)

    def choose(self, sample: Sequence[str], rows: int, *, is_read: bool = False) -> Choices:
        """Depth by length: attention costs most where texts are long, and brings most where words are few."""
        if self.encoder is not None:
            return {}
        some = sample[:: max(1, len(sample) // SAMPLE)]
        lengths = np.array([len(PIECE.findall(text)) for text in some] or [1])
        mean, longest = lengths.mean(), int(np.quantile(lengths, 0.99))
        layers = 2 if mean <= SHORT or is_read else 0
        most = 256 if layers else 1024
        pairs = min(2**16, 2 ** math.ceil(math.log2(max(1.0, rows * mean / 16)))) if rows * mean >= 20_000 else 0
        said = f"{rows} texts of {mean:.0f} pieces on average"
        return {
            "layers": (layers, f"{said}: " + ("short, or read by a task" if layers else "a bag of words reads them")),
            "max_length": (min(most, max(16, 8 * math.ceil(longest / 8))), f"one text in a hundred has over {longest}"),
            "bigrams": (pairs, f"{said}: " + ("pairs of words recur" if pairs else "too few for pairs to recur")),
            "dropout": ((0.3, f"{rows} texts are few") if rows < 100_000 else (0.1, f"{rows} texts are many")),
        }

    def fit(self, values: Iterable[str]) -> State:
        """`{"ids": {piece: id}}`, most frequent first, equal counts in alphabetical order."""
        if self.encoder is not None:
            return {"encoder": pretrained_text.describe(self.encoder)}
        counts: Counter[str] = Counter()
        rows = cut = 0
        for text in values:
            pieces = [piece for word in text.split() for piece in self._pieces(word)]
            counts.update(pieces)
            rows += 1
            cut += len(pieces) > self._length
        if cut:
            warnings.warn(
                f"{cut} of {rows} texts have more than max_length={self._length} tokens; the rest is not read",
                stacklevel=2,
            )
        known = sorted((p for p, c in counts.items() if c >= self.min_count), key=lambda p: (-counts[p], p))
        first = EMPTY + 1 + self.buckets
        return {"ids": {piece: first + rank for rank, piece in enumerate(known[: self.vocabulary])}}

    def prepare(self, value: str, state: State, rng: np.random.Generator | None) -> tuple[Tensor, WordsContext]:
        """Ids `[L]`, `1 <= L <= max_length`, and which tokens each word became. An empty text has one token."""
        if self.encoder is not None:
            return pretrained_text.prepare(value, state["encoder"], self._length)
        words = tuple(value.split())
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        for word in words:
            start = len(ids)
            ids += [state["ids"].get(piece) or bucket_id(piece, self.buckets) for piece in self._pieces(word)]
            spans.append((min(start, self._length), min(len(ids), self._length)))
        return torch.tensor(ids[: self._length] or [EMPTY]), WordsContext(words, tuple(spans))

    def collate(self, items: Sequence[Tensor]) -> dict[str, Tensor]:
        """`{"ids": [n, L], "mask": [n, L] bool}`, padded to the longest."""
        ids = nn.utils.rnn.pad_sequence(list(items), batch_first=True, padding_value=PADDING)
        lengths = torch.tensor([[len(item)] for item in items])
        return {"ids": ids, "mask": torch.arange(ids.shape[1]) < lengths}

    def build(self, state: State, width: int) -> Encoder:
        """The Transformer.

        Raises:
            ConfigError: `heads` does not divide the width.
        """
        if self.encoder is not None:
            return pretrained_text.build(
                state, width, encoder=self.encoder, freeze=self.freeze, lr_factor=self.encoder_lr
            )
        if width % self.heads:
            raise ConfigError(f"heads={self.heads} of a text encoder does not divide the model's width {width}")
        unknown = [*range(EMPTY + 1 + self.buckets), *(bucket_id(piece, self.buckets) for piece in state["ids"])]
        return TextEncoder(
            torch.tensor(unknown),
            width,
            layers=2 if self.layers is None else self.layers,
            heads=self.heads,
            bigrams=self.bigrams or 0,
            dropout=0.1 if self.dropout is None else self.dropout,
            word_dropout=self.word_dropout,
        )

    @property
    def _length(self) -> int:
        return 256 if self.max_length is None else self.max_length

    def _pieces(self, word: str) -> list[str]:
        pieces = PIECE.findall(word)
        return [p.lower() for p in pieces] if self.lower else pieces


def bucket_id(piece: str, buckets: int) -> int:
    """The id of an unknown piece: its last two characters, hashed; all digits are the same digit."""
    ending = re.sub(r"\d", "0", piece[-2:]).encode("utf-8", "surrogatepass")
    return EMPTY + 1 + zlib.crc32(ending) % buckets  # `hash` differs from process to process


class TextEncoder(Encoder):
    """Ids → tokens: embedding, a look at both neighbours, sinusoidal positions, pre-norm Transformer layers.

    Without layers there are neither positions nor neighbours: each token is its piece's embedding and, if there are
    bigrams, that of the pair it makes with the piece before.

    The look at the neighbours is a convolution of width 3 in every channel. Attention alone takes many examples to
    learn what stands next to a word; with it, small tables are enough.

    Args:
        unknown: `[ids]`, for each id the one it has where it is taken for unknown.
        width: `D`.
        layers: Transformer layers.
        heads: attention heads.
        bigrams: embeddings of pairs.
        dropout: probability.
        word_dropout: probability that training takes an id for unknown.
    """

    unknown: Tensor

    def __init__(
        self,
        unknown: Tensor,
        width: int,
        *,
        layers: int,
        heads: int,
        bigrams: int = 0,
        dropout: float,
        word_dropout: float,
    ) -> None:
        super().__init__()
        self.register_buffer("unknown", unknown, persistent=False)
        self.word_dropout = word_dropout
        self.embedding = nn.Embedding(len(unknown), width)  # as large as the positions: smaller, words drown in them
        self.pairs = nn.Embedding(bigrams, width) if bigrams else None
        if self.pairs is not None:
            nn.init.zeros_(self.pairs.weight)
        if not layers:
            nn.init.normal_(self.embedding.weight, std=0.5)  # no positions to stand beside; learned sooner
        self.neighbours = nn.Conv1d(width, width, 3, padding=1, groups=width) if layers else None
        self.layers = nn.ModuleList(TransformerLayer(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: dict[str, Tensor]) -> Tokens:
        """`ids [n, L]` and `mask [n, L]` → tokens `[n, L, D]`; padding changes no token."""
        ids, mask = values["ids"], values["mask"]
        if self.training and self.word_dropout:
            ids = torch.where(torch.rand(ids.shape, device=ids.device) < self.word_dropout, self.unknown[ids], ids)
        x = self.embedding(ids)  # [n, L, D]
        if self.pairs is not None:
            x = x + self.pairs(self._pairs(ids))
        x = x.masked_fill(~mask.unsqueeze(2), 0.0)
        if self.neighbours is not None:
            x = x + self.neighbours(x.transpose(1, 2)).transpose(1, 2)
            x = x + sinusoids(ids.shape[1], x.shape[2], x.device).to(x.dtype)
        x = self.dropout(x)
        for layer in self.layers:
            x = layer(x, mask)
        return Tokens(self.norm(x), mask, (Span("", 0, ids.shape[1], "words", (ids.shape[1],)),))

    def _pairs(self, ids: Tensor) -> Tensor:
        """The bucket of each piece with the one before it; the first has `PADDING` before it."""
        assert self.pairs is not None
        return (ids * 1_000_003 + F.pad(ids[:, :-1], (1, 0), value=PADDING)) % self.pairs.num_embeddings


class TransformerLayer(nn.Module):
    """Self-attention and a feed-forward net, each normalised before and added to what came in (Xiong et al., 2020)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_query_key_value = nn.Linear(width, 3 * width)
        self.to_out = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`x [n, L, D]`, `mask [n, L]` → `[n, L, D]`."""
        x = x + self.dropout(self.attend(self.attention_norm(x), mask))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        """Every token looks at the tokens its row has."""
        parts = self.to_query_key_value(x).unflatten(2, (3, self.heads, -1))  # [n, L, 3, H, D / H]
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :])
        return self.to_out(seen.transpose(1, 2).flatten(2))


def sinusoids(length: int, width: int, device: torch.device) -> Tensor:
    """Positions as sines and cosines of falling frequency, `[L, D]` (Vaswani et al., 2017, section 3.5)."""
    position = torch.arange(length, device=device).unsqueeze(1)
    rate = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10_000.0) / width))
    return torch.cat([torch.sin(position * rate), torch.cos(position * rate)], 1)[:, :width]
