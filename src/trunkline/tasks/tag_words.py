"""Words among tokens: what is said and learned of a word stands at its first token.

An encoder makes no tokens of words that it cuts off, and a pretrained one none of those its tokenizer has no signs for,
which may stand anywhere. What is *reached* of a row are its words up to the last one that was read.

Shape legend: `n` rows, `L` tokens, `W` words, `T` of them that are reached, `C` tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from trunkline.arrays.tags import IGNORED, UNREAD
from trunkline.tasks.contract import Target


class TaggedWords(NamedTuple):
    """A row's words.

    Attributes:
        labels: of each.
        places: of each the first token, or `UNREAD`.
        possible: of each, whether its label can be learned behind those before (see `bio.possible`).
    """

    labels: list[int]
    places: list[int]
    possible: list[bool]


def pad(rows: Sequence[Sequence[int]]) -> Tensor:
    """Lists of numbers → `[n, longest]`."""
    longest = max(len(row) for row in rows)
    filled = [[*row, *[IGNORED] * (longest - len(row))] for row in rows]
    return torch.tensor(filled, dtype=torch.long).reshape(len(rows), longest)


def fit_length(labels: Tensor, length: int) -> Tensor:
    """Labels `[n, L]` at another length: the part was padded to its own longest row, the batch to another."""
    return F.pad(labels, (0, length - labels.shape[1]), value=IGNORED)


def logits_of_words(logits: Tensor, places: Tensor) -> Tensor:
    """Logits `[n, L, C]` at `places [n, T]` → `[n, T, C]`; 0 of a word that was not read, and where there is none."""
    there = logits.gather(1, places.clamp(min=0)[..., None].expand(-1, -1, logits.shape[2]))
    return there.masked_fill((places < 0)[..., None], 0.0)


def is_whole(target: Target) -> Tensor:
    """Rows all of whose words are reached, `[n]`."""
    return (target["labels"] != IGNORED).sum(1) == (target["places"] != IGNORED).sum(1)


def at_tokens(words: TaggedWords) -> list[int]:
    """Labels at the first tokens of words, `IGNORED` at others."""
    label_at = dict(zip(words.places, words.labels, strict=True))
    return [label_at.get(place, IGNORED) for place in range(max(words.places, default=UNREAD) + 1)]


def likeliest(output: Tensor, places: Tensor, whole: Tensor) -> Tensor:
    """Logits `[n, L, C]` → of each word the likeliest tag by itself, `[n, T]`; `IGNORED` of one that was not read."""
    return output.argmax(2).gather(1, places.clamp(min=0)).masked_fill(places < 0, IGNORED)
