"""Which class is taken for which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

OTHERS = "(others)"


@dataclass(frozen=True)
class Confusion:
    """`counts[true][said]` over `classes`; the last of them is `OTHERS` where there were too many.

    Attributes:
        classes: names.
        counts: rows.
        merged: classes that stand for `OTHERS`.
    """

    classes: list[str]
    counts: list[list[int]]
    merged: int = 0


def confusion(true: Sequence[str], said: Sequence[str], order: Sequence[str], *, limit: int = 14) -> Confusion:
    """Count pairs, with the most frequent classes apart where there are more than `limit`.

    Args:
        true: of each row.
        said: of each row.
        order: of the classes; those that occur nowhere are left out.
        limit: classes shown.

    Example:
        >>> confusion(["a", "b", "b"], ["a", "a", "b"], ["a", "b", "c"])
        Confusion(classes=['a', 'b'], counts=[[1, 0], [1, 1]], merged=0)
    """
    often = Counter(true)
    occurring = set(true) | set(said)
    classes = [c for c in (*order, *sorted(occurring - set(order))) if c in occurring]
    merged = 0
    if len(classes) > limit:
        kept = set(sorted(classes, key=lambda c: (-often[c], classes.index(c)))[: limit - 1])
        merged = len(classes) - len(kept)
        classes = [*(c for c in classes if c in kept), OTHERS]
    place = {name: number for number, name in enumerate(classes)}
    rest = len(classes) - 1
    counts = [[0] * len(classes) for _ in classes]
    for t, s in zip(true, said, strict=True):
        counts[place.get(t, rest)][place.get(s, rest)] += 1
    return Confusion(classes, counts, merged)
