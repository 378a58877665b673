"""Text: a vocabulary of words from the training split, and a small Transformer from scratch.

Shape legend: `n` rows, `L` tokens, `D` width, `N` n-grams of a piece at most.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from trunkline.arrays.subwords import SubwordCells
from trunkline.arrays.texts import EMPTY, TextCells, bucket_id
from trunkline.contexts import WordsContext
from trunkline.errors import ConfigError, refuse
from trunkline.modalities import pretrained_text
from trunkline.modalities.contract import Choices, Encoder, Modality, as_tensors
from trunkline.modalities.pretrained import SCRATCH, are_usual, is_offered
from trunkline.modalities.text_encoder import TextEncoder
from trunkline.pretrained import Tuning
from trunkline.types import State

Item = Tensor | tuple[Tensor, Tensor]

SAMPLE = 2_000  # texts whose lengths are looked at
SPELLINGS = 2**13  # n-grams
FEW = 5_000  # texts
FEW_PIECES = 200_000  # of all texts together, that a CPU can put through a large network
KNOWN = 0.75  # of the words of a text in English, at least, are in an English vocabulary
ROOM = 1.25  # for texts that are longer than those of training, where a task reads their tokens
EITHER = ("encoder", "max_length")  # options of either network
TUNING = ("freeze", "encoder_lr", "layer_decay", "lora")  # of one that is pretrained
SHORT = 24  # pieces of a text on average


class Text(Modality):
    """A sentence or a document, encoded by a network from scratch or by one that others have trained.

    Words stand between white space. A word becomes one token for each of its pieces: runs of letters and digits, and
    single punctuation marks (`isn't.` → `isn ' t .`); Chinese and Japanese, which have no white space, are read sign by
    sign. A piece that the vocabulary lacks falls into one of a few buckets by its ending, so that unseen words with a
    familiar ending are not all the same. What trains the buckets: the rare pieces of the training split, which
    `min_count` keeps out of the vocabulary, and known pieces that `word_dropout` takes for unknown.

    Args:
        vocabulary: the most frequent this many pieces get an embedding of their own.
        min_count: pieces seen less often than this in the training split are left to the buckets.
        buckets: number of buckets, at least 1.
        max_length: tokens read of one text; what comes later is cut.
        letters: read letter by letter: a word becomes its letters and marks, and a token that ends it.
        lower: ignore case.
        layers: Transformer layers; 0 for a bag of words and of pairs of words, which reads long texts at a tenth of the
            cost and says as much about what they are about.
        heads: attention heads; must divide the model's width.
        bigrams: embeddings for pairs of neighbouring pieces, which share them by their hash (Joulin et al. 2017, "Bag
            of tricks for efficient text classification"); 0 for none.
        ngrams: embeddings for runs of 3 to 5 letters, shared by their hash, of which a piece's spelling is made beside
            its own embedding, so that rare and unseen words are like those that they share parts with (Bojanowski et
            al. 2017, "Enriching word vectors with subword information"); 0 for none.
        bag: tasks of the whole text read its words and pairs by embeddings of their own, beside its tokens: for those
            that share it with tasks that write or tag, which shape the tokens' embeddings to their own ends.
        dropout: probability.
        word_dropout: probability that training takes a known piece for unknown; half of these lose their spelling, too.
        encoder: `scratch`, or a pretrained network with its own tokens: `transformers:NAME`, `transformers:FOLDER` or
            `package:minilm`. Of the options above only `max_length` is for it. `None`: the last, where its package is
            installed, a few texts, whose words it knows, are all there is to learn from, and no option asks for the
            other; else `scratch`.
        freeze: leave the pretrained network as it is; what it says about a text is then worked out once.
        encoder_lr: learning rate of a pretrained network that is not frozen, as a share of everything else's.
        layer_decay: that of each of its layers as a share of the one above; 1: all learn alike.
        lora: rank of low-rank adapters that learn while the pretrained network stays as it is; 0 for none.
    """

    axis = "words"
    cut_by = "max_length"
    varying: ClassVar = {"ids": (1,), "mask": (1,), "ngrams": (1,)}

    def __init__(
        self,
        vocabulary: int = 20_000,
        *,
        min_count: int = 2,
        buckets: int = 64,
        max_length: int | None = None,
        letters: bool = False,
        lower: bool = True,
        layers: int | None = None,
        heads: int = 4,
        bigrams: int | None = None,
        ngrams: int | None = None,
        bag: bool = False,
        dropout: float | None = None,
        word_dropout: float = 0.05,
        encoder: str | None = None,
        freeze: bool = True,
        encoder_lr: float = 0.1,
        layer_decay: float = 1.0,
        lora: int = 0,
    ) -> None:
        self.vocabulary = vocabulary
        self.min_count = min_count
        self.buckets = buckets
        self.max_length = max_length
        self.letters = letters
        self.lower = lower
        self.layers = layers
        self.heads = heads
        self.bigrams = bigrams
        self.ngrams = ngrams
        self.bag = bag
        self.dropout = dropout
        self.word_dropout = word_dropout
        self.encoder = encoder
        self.freeze = freeze
        self.encoder_lr = encoder_lr
        self.layer_decay = layer_decay
        self.lora = lora

    @property
    def tuning(self) -> Tuning:
        """How a pretrained network goes on learning."""
        return Tuning(self.freeze, self.encoder_lr, self.layer_decay, self.lora)

    @property
    def pretrained(self) -> str | None:
        """The name of the pretrained network, if it is one."""
        return None if self.encoder == SCRATCH else self.encoder

    @property
    def cells(self) -> TextCells | SubwordCells:
        """Reading, cutting into pieces, numbering."""
        return self._plain if self.pretrained is None else SubwordCells(self._length)

    @property
    def _plain(self) -> TextCells:
        return TextCells(self._length, self.buckets, self.letters, self.lower, self.ngrams or 0)

    def read(self, cell: Any) -> str:
        """The text itself; a number is read as it is written. The empty text is a text.

        Raises:
            DataError: neither text nor number, or half a surrogate pair in it.
        """
        return self._plain.read(cell)

    def count_words(self, value: str) -> int:
        """What stands between white space."""
        return len(value.split())

    def choose(self, sample: Sequence[str], rows: int, *, is_read: bool = False) -> Choices:
        """Depth by length: attention costs most where texts are long, and brings most where words are few."""
        if self.pretrained is not None:
            return {}
        some = sample[:: max(1, len(sample) // SAMPLE)]
        lengths = np.array([sum(len(self._plain.pieces(word)) for word in text.split()) for text in some] or [1])
        mean, longest = lengths.mean(), int(np.quantile(lengths, 0.99))
        chosen: Choices = {}
        if self.encoder is None:
            chosen = {"encoder": self._choose_encoder(some, rows, mean, is_read)}
            if chosen["encoder"][0] != SCRATCH:
                tokens = list(pretrained_text.count_tokens(some, pretrained_text.describe(pretrained_text.PACKAGED)))
                return {**chosen, "max_length": _enough(int(np.quantile(tokens, 0.99)), 256)}
        layers = 2 if mean <= SHORT or is_read or self.letters else 0
        most = 256 if layers else 1024
        enough = _enough(longest, most)
        if is_read:
            longest = int(lengths.max())
            enough = (
                _enough(math.ceil(ROOM * longest), most)[0],
                f"what is cut cannot be said; the longest has {longest}",
            )
        pairs = min(2**15, 2 ** math.ceil(math.log2(max(1.0, rows * mean / 16)))) if rows * mean >= 20_000 else 0
        spelling = SPELLINGS if rows * mean < 100_000 and not self.letters else 0
        said = f"{rows} texts of {mean:.0f} pieces on average"
        return {
            **chosen,
            "layers": (
                layers,
                f"{said}: " + ("short, letters, or read by a task" if layers else "a bag of words is enough"),
            ),
            "max_length": enough,
            "bigrams": (pairs, f"{said}: " + ("pairs of words recur" if pairs else "too few for pairs to recur")),
            "ngrams": (
                spelling,
                f"{said}: " + ("most words are rare" if spelling else "enough to learn each word from"),
            ),
            "dropout": (0.1 if rows >= 100_000 else 0.3 if layers else 0.4, f"{rows} texts, the more the less"),
        }

    def _choose_encoder(self, sample: Sequence[str], rows: int, mean: float, is_read: bool) -> tuple[str, str]:
        """The packaged network, where it is there, nothing was said that is not for it, and it knows the words."""
        if not are_usual({o: value for o, value in vars(self).items() if o not in (*EITHER, *TUNING)}, Text):
            return SCRATCH, "other options ask for it"
        if is_read or rows >= FEW or rows * mean > FEW_PIECES:
            return SCRATCH, "what others have trained pays for few texts, as a whole"
        said = f"{rows} texts are few to learn from"
        if not is_offered(*pretrained_text.NEEDED):
            return SCRATCH, f'{said}; pip install "trunkline[pretrained]" brings a network that knows English'
        try:
            known = pretrained_text.share_known(pretrained_text.PACKAGED, sample)
        except ConfigError as error:  # what is installed does not work, and nobody asked for it
            return SCRATCH, str(error)
        if known < KNOWN:
            return SCRATCH, f"{said}, but only {known:.0%} of their words are English"
        return pretrained_text.PACKAGED, f"{said}, and a network that knows English is installed"

    def fit(self, values: Iterable[str]) -> State:
        """`{"ids": {piece: id}}`, most frequent first, equal counts in alphabetical order.

        Raises:
            ConfigError: options are out of range or of the other network, or the pretrained one cannot be had.
        """
        self._check()
        self._check_idle()  # here alone, as a run that is there needs no advice
        if self.pretrained is not None:
            about = pretrained_text.describe(self.pretrained)
            longest = about["longest"]
            if longest is not None and self.max_length is not None and self.max_length > longest:
                raise ConfigError(
                    f"max_length: {self.pretrained!r} reads {longest} tokens at most, not {self.max_length}"
                )
            self._warn_cut(pretrained_text.count_tokens(values, about), self._read_by(about))
            return {"encoder": about}
        counts: Counter[str] = Counter()
        lengths = []
        for text in values:
            pieces = [piece for word in text.split() for piece in self._plain.pieces(word)]
            counts.update(pieces)
            lengths.append(len(pieces))
        self._warn_cut(lengths, self._length)
        known = sorted((p for p, c in counts.items() if c >= self.min_count), key=lambda p: (-counts[p], p))
        first = EMPTY + 1 + self.buckets
        return {"ids": {piece: first + rank for rank, piece in enumerate(known[: self.vocabulary])}}

    def prepare(self, value: str, state: State, rng: np.random.Generator | None) -> tuple[Item, WordsContext]:
        """Ids `[L]`, `1 <= L <= max_length`, and which tokens each word became. An empty text has one token.

        With n-grams the item is `(ids [L], ngrams [L, N])`.
        """
        if self.pretrained is not None:
            known, context = SubwordCells(self._length).prepare(value, state)
            return torch.from_numpy(known), context
        (ids, runs), context = self.cells.prepare(value, state)
        return torch.from_numpy(ids) if runs is None else (torch.from_numpy(ids), torch.from_numpy(runs)), context

    def collate(self, items: Sequence[Item]) -> dict[str, Tensor]:
        """`{"ids": [n, L], "mask": [n, L] bool}`, padded to the longest; with n-grams also `{"ngrams": [n, L, N]}`."""
        own = [
            (item.numpy(), None) if isinstance(item, Tensor) else (item[0].numpy(), item[1].numpy()) for item in items
        ]
        return as_tensors(self._plain.collate(own))

    def build(self, state: State, width: int) -> Encoder:
        """The Transformer.

        Raises:
            ConfigError: options are out of range, or `heads` does not divide the width.
        """
        self._check()
        if self.pretrained is not None:
            return pretrained_text.build(state, width, encoder=self.pretrained, tuning=self.tuning)
        if width % self.heads:
            raise ConfigError(f"heads={self.heads} of a text encoder does not divide the model's width {width}")
        unknown = [*range(EMPTY + 1 + self.buckets), *(bucket_id(piece, self.buckets) for piece in state["ids"])]
        return TextEncoder(
            torch.tensor(unknown),
            width,
            layers=2 if self.layers is None else self.layers,
            heads=self.heads,
            bigrams=self.bigrams or 0,
            ngrams=self.ngrams or 0,
            bag=self.bag,
            dropout=0.1 if self.dropout is None else self.dropout,
            word_dropout=self.word_dropout,
        )

    @property
    def _length(self) -> int:
        return 256 if self.max_length is None else self.max_length

    def _check_idle(self) -> None:
        """Raises:
        ConfigError: options of the other network: of a pretrained one, or of that from scratch.
        """
        idle = [o for o in vars(self) if o not in EITHER and (o in TUNING) == (self.pretrained is None)]
        idle = [o for o in idle if not are_usual({o: getattr(self, o)}, Text)]
        whose = "that is pretrained; name one with `encoder:`" if self.pretrained is None else "from scratch"
        refuse("text input", {f"{', '.join(idle)}: of a network {whose}": bool(idle)})

    def _check(self) -> None:
        """Raises:
        ConfigError: all that is wrong.
        """
        faults = {
            f"max_length={self.max_length}: at least 1": self._length < 1,
            f"vocabulary={self.vocabulary}: 0 or more": self.vocabulary < 0,
            f"min_count={self.min_count}: 0 or more": self.min_count < 0,
            f"buckets={self.buckets}: at least 1": self.buckets < 1,
            f"layers={self.layers}: 0 or more": (self.layers or 0) < 0,
            f"heads={self.heads}: at least 1": self.heads < 1,
            f"bigrams={self.bigrams}: 0 or more": (self.bigrams or 0) < 0,
            f"ngrams={self.ngrams}: 0 or more": (self.ngrams or 0) < 0,
            f"dropout={self.dropout}: from 0 to less than 1": not 0 <= (self.dropout or 0) < 1,
            f"word_dropout={self.word_dropout}: from 0 to 1": not 0 <= self.word_dropout <= 1,
        }
        refuse("text input", faults)

    def _read_by(self, about: State) -> int:
        """Tokens that a pretrained network reads of one text."""
        return min(self._length, self._length if about["longest"] is None else about["longest"])

    def _warn_cut(self, lengths: Iterable[int], most: int) -> None:
        """Tell how many texts are longer than what is read."""
        found = list(lengths)
        if cut := sum(length > most for length in found):
            warnings.warn(
                f"{cut} of {len(found)} texts have more than max_length={most} tokens (the longest "
                f"{max(found)}); the rest is not read",
                stacklevel=3,
            )


def _enough(longest: int, most: int) -> tuple[int, str]:
    return min(most, max(16, 8 * math.ceil(longest / 8))), f"one text in a hundred has over {longest}"
