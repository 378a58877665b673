"""Which inputs to leave out together, to learn what each is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

ALL_SUBSETS = 4  # of so many groups every subset is tried, of more the largest and the smallest


@dataclass(frozen=True)
class Subset:
    """Groups of inputs that are kept, all others absent.

    Attributes:
        kept: names of groups, in order.
    """

    kept: tuple[str, ...]


def subsets(groups: Sequence[str]) -> list[Subset]:
    """All groups; all but one; each alone; and of few groups everything between. Largest first, never none.

    Example:
        >>> [s.kept for s in subsets(["a", "b"])]
        [('a', 'b'), ('a',), ('b',)]
    """
    count = len(groups)
    sizes = range(count, 0, -1) if count <= ALL_SUBSETS else (count, count - 1, 1)
    found = dict.fromkeys(kept for size in sizes for kept in combinations(groups, size))
    return [Subset(kept) for kept in found]
