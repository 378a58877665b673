"""Words among tokens: what is said and learned of a word stands at its first token.

Shape legend: `n` rows, `L` tokens, `T` words that were read, `C` tags.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from trunkline.contexts import Context, WordsContext
from trunkline.tasks.contract import Target

IGNORED = -100


def pad(rows: Sequence[Sequence[int]]) -> Tensor:
    """Lists of numbers → `[n, longest]`."""
    longest = max(len(row) for row in rows)
    filled = [[*row, *[IGNORED] * (longest - len(row))] for row in rows]
    return torch.tensor(filled, dtype=torch.long).reshape(len(rows), longest)


def fit_length(labels: Tensor, length: int) -> Tensor:
    """Labels `[n, L]` at another length: the part was padded to its own longest row, the batch to another."""
    return F.pad(labels, (0, length - labels.shape[1]), value=IGNORED)


def labels_of_words(target: Target) -> Tensor:
    """Labels `[n, L]` at their `places [n, T]` → `[n, T]`, `IGNORED` where there is no word."""
    places = target["places"]
    return target["values"].gather(1, places.clamp(min=0)).masked_fill(places < 0, IGNORED)


def logits_of_words(logits: Tensor, places: Tensor) -> Tensor:
    """Logits `[n, L, C]` at `places [n, T]` → `[n, T, C]`; anything where there is no word."""
    return logits.gather(1, places.clamp(min=0)[..., None].expand(-1, -1, logits.shape[2]))


def is_whole(target: Target) -> Tensor:
    """Rows none of whose words was cut off, `[n]`."""
    return (target["cut"] == IGNORED).all(1)


def places_of(contexts: Sequence[Context | None]) -> tuple[Tensor, Tensor]:
    """First tokens of the words that were read, `[n, T]`, and which rows were read to their end, `[n]`."""
    spans = [context.spans if isinstance(context, WordsContext) else () for context in contexts]
    places = pad([[start for start, stop in row if start < stop] for row in spans])
    return places, torch.tensor([all(start < stop for start, stop in row) for row in spans])


def likeliest(output: Tensor, places: Tensor, whole: Tensor) -> Tensor:
    """Logits `[n, L, C]` → of each word the likeliest tag by itself, `[n, T]`."""
    return output.argmax(2).gather(1, places.clamp(min=0))
