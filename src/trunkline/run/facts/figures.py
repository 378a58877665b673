"""Precision and recall of classes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

NAMES = 30  # of a list of classes


def class_figures(name: str, rows: int, given: int, hits: int) -> dict[str, Any]:
    """Precision and recall of one class, in `rows` labels and in `given` answers, `hits` of them right."""
    return {
        "name": name,
        "rows": rows,
        "precision": hits / given if given else None,
        "recall": hits / rows if rows else None,
    }


def hexadecimal(colour: tuple[int, int, int]) -> str:
    """A colour as a page has it.

    Example:
        >>> hexadecimal((230, 159, 0))
        '#e69f00'
    """
    return "#{:02x}{:02x}{:02x}".format(*colour)


def ranked(classes: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The most frequent ones first."""
    return sorted(classes, key=lambda c: (-c["rows"], c["name"]))[:NAMES]
