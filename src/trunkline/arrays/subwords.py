"""Subwords of texts: what networks that others have trained read, and what is written.

Shape legend: `n` rows, `L` tokens, `P` tokens of a source.
"""

from __future__ import annotations

import functools
import math
import re
from bisect import bisect, bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trunkline.arrays.contract import ArrayCells, Arrays, State, lengths_mask, padded
from trunkline.arrays.extras import need
from trunkline.cells import as_text
from trunkline.contexts import Context, WordsContext

NOWHERE = -1  # behind the last token of a row's source


@dataclass(frozen=True)
class SubwordCells(ArrayCells):
    """Texts by the tokenizer of a pretrained network; `length`: tokens read of one text, if the network reads more."""

    length: int

    def read(self, cell: Any) -> str:
        """The text itself; see `TextCells.read`."""
        return as_text(cell)

    def prepare(self, value: str, state: State) -> tuple[np.ndarray, WordsContext]:
        """Ids `[L]`, with the marks that the tokenizer puts around a text, and which tokens each word became."""
        about = state["encoder"]
        longest = self.length if about["longest"] is None else min(self.length, about["longest"])
        return read_tokens(value, about, longest)

    def collate(self, items: Sequence[np.ndarray]) -> Arrays:
        """`{"ids": [n, L], "mask": [n, L] bool}`, padded to the longest."""
        return {"ids": padded(items), "mask": lengths_mask([len(item) for item in items])}


def read_tokens(value: str, about: State, max_length: int) -> tuple[np.ndarray, WordsContext]:
    """Ids `[L]`, with the marks that the tokenizer puts around a text, and which tokens each word became."""
    said = tokenizer_of(about["tokenizer"]).encode(value)
    ids, marks, offsets = said.ids, said.special_tokens_mask, said.offsets  # each is made anew where it is asked for
    words = [(m[0], m.start(), m.end()) for m in re.finditer(r"\S+", value)]
    kept = _kept(marks, max_length)
    places = [offsets[i] if not marks[i] else None for i in kept]
    spans = tuple(_tokens_of([(start, stop) for _, start, stop in words], places))
    end = max((place[1] for place in places if place is not None), default=0)
    cut = next((end - start for _, start, stop in words if start < end < stop), None)
    context = WordsContext(tuple(word for word, _, _ in words), spans, cut, len(kept) < len(ids))
    read = [ids[i] for i in kept] or [about["padding"]]  # a text without tokens has one that says nothing
    return np.array(read, np.int64), context


def _kept(marks: Sequence[int], max_length: int) -> list[int]:
    """The first tokens, and the marks that stand behind the last one."""
    behind = min(max_length, next((i for i, mark in enumerate(reversed(marks)) if not mark), len(marks)))
    whole = list(range(len(marks)))
    if len(whole) <= max_length:
        return whole
    return whole[: max_length - behind] + whole[len(whole) - behind :]


def _tokens_of(words: Sequence[tuple[int, int]], places: Sequence[tuple[int, int] | None]) -> Iterator[tuple[int, int]]:
    """The tokens that lie in each word's characters; an empty span at its place where it has none.

    Args:
        words: where each starts and stops.
        places: the same of each token, in order; `None` for a mark.
    """
    numbers = [i for i, place in enumerate(places) if place is not None]
    starts, stops = ([place[end] for place in places if place is not None] for end in (0, 1))
    for start, stop in words:
        first, behind = bisect_right(stops, start), bisect_left(starts, stop)
        if first < behind:
            yield numbers[first], numbers[behind - 1] + 1
        else:
            before = first + len(places) - len(numbers)
            yield before, before


@functools.lru_cache(maxsize=64)
def tokenizer_of(text: str) -> Any:
    """A tokenizer from its JSON, without padding and cutting."""
    tokenizer = need("tokenizers", "text", "a text task").Tokenizer.from_str(text)
    tokenizer.encode_special_tokens = True  # `[SEP]` written in a text is text
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def source_of(contexts: Sequence[Context | None], state: State) -> Arrays:
    """Each row's text, as far as the encoder read it, in the tokens of a decoder that copies from it.

    Returns:
        `{"ids": [n, P], "places": [n, P]}`: the tokens, and which of the encoder's tokens says most about each: that of
        its word, and of several as far into the word; `NOWHERE` behind the last.
    """
    rows = [context.read() if isinstance(context, WordsContext) else ([], []) for context in contexts]
    texts = [" ".join(words) for words, _ in rows]
    told = tokenizer_of(state["tokenizer"]).encode_batch(texts, add_special_tokens=False)
    source = [
        [(i, _place(text, spans, offsets)) for i, offsets in zip(own.ids, own.offsets) if offsets[1] > 0]
        for own, text, (_, spans) in zip(told, map(_words, texts), rows, strict=True)
    ]
    pairs = [np.array(row, np.int64).reshape(-1, 2) for row in source]
    both = padded(pairs, NOWHERE) if pairs else np.zeros((0, 0, 2), np.int64)
    return {"ids": both[:, :, 0].copy(), "places": both[:, :, 1].copy()}


def _words(text: str) -> list[tuple[int, int]]:
    """Where each begins and ends."""
    return [match.span() for match in re.finditer(r"\S+", text)]


def _place(words: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]], offsets: tuple[int, int]) -> int:
    """The encoder's token for the characters of one token of the decoder; of white space that of the word before."""
    at = offsets[1] - 1
    word = max(bisect(words, (at, math.inf)) - 1, 0)
    (start, stop), (first, last) = words[word], spans[word]
    return first + min(int((last - first) * (at - start) / (stop - start)), last - first - 1)
