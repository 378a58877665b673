"""Texts as a network from scratch reads them: words, their pieces, and the numbers of these.

Shape legend: `n` rows, `L` tokens, `N` n-grams of a piece at most.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trunkline.arrays.contract import ArrayCells, Arrays, State, lengths_mask, padded
from trunkline.cells import as_text
from trunkline.contexts import WordsContext

MARKS = "".join(c for c in map(chr, range(0x300, 0xFE30)) if unicodedata.category(c)[0] == "M")  # they sit on letters
KANA, HAN = "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9d", "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
ALONE = KANA + HAN
PIECE = re.compile(rf"[{ALONE}][{MARKS}]*|[^\W{ALONE}](?:[^\W{ALONE}]|[{MARKS}])*|[^\w\s][{MARKS}]*")
END_OF_WORD = " "
NGRAMS = 16  # of a piece at most
KEPT = 64  # letters of a piece whose n-grams are remembered
PADDING, EMPTY = 0, 1  # ids; buckets follow, then known pieces
Item = tuple[np.ndarray, np.ndarray | None]


@dataclass(frozen=True)
class TextCells(ArrayCells):
    """Texts by a vocabulary of pieces.

    Attributes:
        length: tokens read of one text.
        buckets: of unknown pieces.
        letters: read letter by letter.
        lower: ignore case.
        ngrams: embeddings of runs of letters; 0 for none.
    """

    length: int
    buckets: int
    letters: bool
    lower: bool
    ngrams: int

    def read(self, cell: Any) -> str:
        """The text itself; a number is read as it is written. The empty text is a text.

        Raises:
            DataError: neither text nor number, or half a surrogate pair in it.
        """
        return as_text(cell)

    def prepare(self, value: str, state: State) -> tuple[Item, WordsContext]:
        """Ids `[L]`, `1 <= L <= length`, n-grams `[L, N]` or `None`, and which tokens each word became.

        Of 32 bits: many are kept. An empty text has one token.
        """
        words = tuple(value.split())
        pieces: list[str] = []
        spans: list[tuple[int, int]] = []
        cut, is_cut = None, False
        for word in words:
            start = len(pieces)
            pieces += self.pieces(word) if start < self.length else ()
            is_cut = is_cut or len(pieces) > self.length or (start == len(pieces) and bool(self.pieces(word)))
            spans.append((min(start, self.length), min(len(pieces), self.length)))
            if start < self.length < len(pieces):
                cut = letters_of(word, sum(map(len, self._cut_up(word)[: self.length - start])))
        pieces = pieces[: self.length]
        ids = np.array([state["ids"].get(p) or bucket_id(p, self.buckets) for p in pieces] or [EMPTY], np.int32)
        spelt = [ngram_ids(piece, self.ngrams) for piece in pieces or [""]] if self.ngrams else None
        runs = None if spelt is None else np.array(spelt, np.int32)
        return (ids, runs), WordsContext(words, tuple(spans), cut, is_cut)

    def collate(self, items: Sequence[Item]) -> Arrays:
        """`{"ids": [n, L], "mask": [n, L] bool}`, padded to the longest; with n-grams also `{"ngrams": [n, L, N]}`."""
        known = [ids for ids, _ in items]
        values = {"ids": padded(known, dtype=np.int64), "mask": lengths_mask([len(ids) for ids in known])}
        spelt = [runs for _, runs in items if runs is not None]
        return {**values, "ngrams": padded(spelt, dtype=np.int64)} if spelt else values

    def pieces(self, word: str) -> list[str]:
        """What a word is read as."""
        pieces = self._cut_up(word)
        return [p.lower() for p in pieces] if self.lower else pieces

    def _cut_up(self, word: str) -> list[str]:
        """Its pieces, normalised; case as it is."""
        word = unicodedata.normalize("NFC", word)
        return [*word, END_OF_WORD] if self.letters else PIECE.findall(word)


def letters_of(word: str, count: int) -> int:
    """How many of a word's letters the first `count` of the normalised word stand for; what was read in part is not.

    Example:
        >>> letters_of("e\u0301/x", 1), letters_of("e/x", 1)
        (2, 1)
    """
    read = unicodedata.normalize("NFC", word)[:count]
    if word.startswith(read):
        return count
    sizes = range(len(word) + 1)
    most = bisect_right(sizes, count, key=lambda size: len(unicodedata.normalize("NFC", word[:size]))) - 1
    return next(size for size in range(most, -1, -1) if read.startswith(unicodedata.normalize("NFC", word[:size])))


def bucket_id(piece: str, buckets: int) -> int:
    """The id of an unknown piece: its last two characters, hashed; all digits are the same digit."""
    ending = re.sub(r"\d", "0", piece[-2:]).encode()
    return EMPTY + 1 + zlib.crc32(ending) % buckets  # `hash` differs from process to process


def ngram_ids(piece: str, buckets: int) -> tuple[int, ...]:
    """The buckets, from 1, of a piece's runs of 3 to 5 letters, its ends marked; filled up with `PADDING` to `NGRAMS`.

    Of a long piece the shorter runs count first. A piece with digits has one more, the first: itself, all digits the
    same, so that a number that was never seen is still a year, a time of day or the name of an aircraft.
    """
    return _kept_ids(piece, buckets) if len(piece) <= KEPT else _ngram_ids(piece, buckets)


def _ngram_ids(piece: str, buckets: int) -> tuple[int, ...]:
    marked = f"<{piece}>"
    shape = re.sub(r"\d", "0", marked)
    own = [shape] if re.search(r"\d", piece) else []
    runs = [*own, *itertools.islice((marked[i : i + n] for n in (3, 4, 5) for i in range(len(marked) - n + 1)), NGRAMS)]
    runs = runs[:NGRAMS]
    ids = [1 + zlib.crc32(run.encode()) % buckets for run in runs]
    return (*ids, *[PADDING] * (NGRAMS - len(ids)))


_kept_ids = functools.lru_cache(maxsize=100_000)(_ngram_ids)
