"""Where a decoder looked: how much it read of each token of its view for each word that it wrote.

Shape legend: `S` tokens of the view, `L` target tokens, `W` words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import Tensor

from trunkline.arrays.subwords import tokenizer_of
from trunkline.showing import Attended
from trunkline.types import State


@contextmanager
def telling(decoder: Any) -> Iterator[None]:
    """Attention by operations that tell their weights, and afterwards as before: fast ones do not keep them.

    Args:
        decoder: of Transformers.
    """
    before = decoder.config._attn_implementation
    decoder.set_attn_implementation("eager")
    try:
        yield
    finally:
        decoder.set_attn_implementation(before)


def word_tokens(text: str, state: State) -> tuple[list[int], list[str], list[list[int]]]:
    """Ids of a text, its words, and which of the ids each word became, those of the white space before it with it."""
    told = tokenizer_of(state["tokenizer"]).encode(text, add_special_tokens=False)
    words = list(re.finditer(r"\S+", text))
    starts = [-1, *(word.end() for word in words)]
    tokens = [_inside((start, word.end()), told.offsets) for start, word in zip(starts, words)]
    return told.ids, [word.group() for word in words], tokens


def _inside(place: tuple[int, int], offsets: Sequence[tuple[int, int]]) -> list[int]:
    return [i for i, (start, stop) in enumerate(offsets) if start < place[1] and stop > place[0]]


def by_words(words: Sequence[str], tokens: Sequence[Sequence[int]], weights: Tensor) -> Attended:
    """Weights of target tokens `[L, S]` → of words, each the mean of its tokens'; words without tokens are left out."""
    kept = [[i for i in own if i < len(weights)] for own in tokens]
    rows = [weights[own].mean(0) for own in kept if own]
    return Attended(
        tuple(word for word, own in zip(words, kept, strict=True) if own),
        np.stack([row.detach().float().cpu().numpy() for row in rows]) if rows else np.zeros((0, weights.shape[1])),
    )
