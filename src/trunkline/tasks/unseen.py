"""Classes that training never saw. They occur in held-out rows only.

Each has a number of its own behind those of the known classes, so that no prediction can equal it, a loss can leave it
out, and a metric can tell two of them apart. The numbers follow from the names alone: no state, the same on every rank.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def class_number(name: str, classes: Sequence[str]) -> int:
    """The class's place, or its number behind all places where training never saw it.

    Example:
        >>> class_number("b", ["a", "b"])
        1
        >>> class_number("c", ["a", "b"]) >= 2
        True
    """
    try:
        return classes.index(name)
    except ValueError:
        return len(classes) + fingerprint(name)


def fingerprint(name: str) -> int:
    """56 bits that two names of one table do not share."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=7).digest(), "big")
