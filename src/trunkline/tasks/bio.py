"""BIO: tags that say where a span begins (`B-kind`), goes on (`I-kind`), and that there is none (`O`).

Shape legend: `C` tags.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence, Set

import torch
from torch import Tensor

from trunkline.arrays.tags import OUTSIDE

BIO = re.compile(r"O|[BI](-.*)?")
Irregular = Sequence[Sequence[str | None]]  # (tag, the next one), `None` for the start of a row


def is_bio(tags: Iterable[str]) -> bool:
    """Whether the tags are `O`, `B-kind`, `I-kind` (or plain `B`, `I`) and nothing else."""
    return all(BIO.fullmatch(tag) for tag in tags)


def outsiders(tags: Collection[str]) -> list[str]:
    """The tags that are not BIO, where others are: they begin a span of a kind (`B-kind`)."""
    has_spans = any(tag.startswith("B-") for tag in tags)
    return [tag for tag in tags if not BIO.fullmatch(tag)] if has_spans else []


def may_follow(before: str | None, after: str) -> bool:
    """Whether BIO lets one tag follow another; `None` is the start of a row.

    Example:
        >>> may_follow("B-PER", "I-PER"), may_follow("O", "I-PER"), may_follow("B-LOC", "I-PER"), may_follow(None, "O")
        (True, False, False, True)
    """
    return after[0] != "I" or (before is not None and before[0] in "BI" and before[1:] == after[1:])


def irregular_starts(rows: Iterable[Sequence[str]]) -> Counter[tuple[str | None, str]]:
    """How often what follows what in these rows although BIO forbids it: (a tag, or `None` for the start; the next)."""
    pairs = Counter(pair for tags in rows for pair in zip([None, *tags[:-1]], tags))
    return Counter({pair: count for pair, count in pairs.items() if not may_follow(*pair)})


def irregular(rows: Iterable[Sequence[str]]) -> list[list[str | None]]:
    """What follows what in these rows although BIO forbids it, each pair once."""
    return [list(pair) for pair in sorted(irregular_starts(rows), key=lambda p: (p[0] or "", p[1]))]


def barred(tags: Sequence[str], but: Irregular) -> tuple[Tensor, Tensor]:
    """Which tag may not begin a row, `[C]`, and which may not follow which, `[C, C]`; nothing where they are not BIO.

    Args:
        tags: names.
        but: what is allowed all the same.
    """
    if not is_bio(tags):
        return torch.zeros(len(tags), dtype=torch.bool), torch.zeros(len(tags), len(tags), dtype=torch.bool)
    seen = {tuple(pair) for pair in but}
    first, *others = ([not _is_allowed(before, after, seen) for after in tags] for before in (None, *tags))
    return torch.tensor(first), torch.tensor(others)


def possible(row: Sequence[str], tags: Sequence[str], but: Irregular) -> list[bool]:
    """Which tags of a row some path can take that takes the possible ones before them too.

    The others are names that are not among `tags`, and tags that are barred behind everything that the word before can
    be: its own tag, or, where that is not possible, whatever it leaves open.

    Args:
        row: one tag a word.
        tags: names.
        but: what is allowed all the same.

    Example:
        >>> possible(["O", "I-PER", "I-PER", "B-NEW"], ["B-PER", "I-PER", "O"], ())
        [True, False, True, False]
    """
    if not is_bio(tags):
        return [tag in tags for tag in row]
    seen = {tuple(pair) for pair in but}
    before: list[str | None] = [None]
    found = []
    for tag in row:
        can = tag in tags and any(_is_allowed(b, tag, seen) for b in before)
        before = [tag] if can else [after for after in tags if any(_is_allowed(b, after, seen) for b in before)]
        found.append(can)
    return found


def _is_allowed(before: str | None, after: str, seen: Set[tuple[str | None, ...]]) -> bool:
    return may_follow(before, after) or (before, after) in seen


def single_spans(tags: Sequence[str]) -> set[tuple[int, int, str]]:
    """Every word that is not `O` is a span of its own: `(start, stop, tag)`."""
    return {(i, i + 1, tag) for i, tag in enumerate(tags) if tag != OUTSIDE}


def bio_spans(tags: Sequence[str]) -> set[tuple[int, int, str]]:
    """Spans `(start, stop, kind)` as conlleval of CoNLL-2000 defines them.

    A span begins at every `B`, and at an `I` that does not go on with the kind before it (after `O`, at the start, or
    after another kind). So any sequence of tags has a reading.

    Example:
        >>> sorted(bio_spans(["I-PER", "I-PER", "B-PER", "I-LOC", "O"]))
        [(0, 2, 'PER'), (2, 3, 'PER'), (3, 4, 'LOC')]
    """
    spans = set()
    start, kind = 0, None
    for i, tag in enumerate([*tags, OUTSIDE]):
        prefix, _, name = tag.partition("-")
        if kind is not None and (prefix != "I" or name != kind):
            spans.add((start, i, kind))
            kind = None
        if prefix != OUTSIDE and kind is None:
            start, kind = i, name
    return spans
