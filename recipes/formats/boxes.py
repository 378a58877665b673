"""Boxes in pictures, and what can be said of a whole picture because of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypedDict


class Box(TypedDict):
    """A thing in a picture: left, top, right, bottom in pixels, and its name."""

    box: list[float]
    label: str


def box_columns(boxes: Sequence[Box], names: Iterable[str]) -> dict[str, Any]:
    """`boxes`, `labels` (the names that occur), and `num_NAME` and `has_NAME` for each name there is.

    Example:
        >>> box_columns([{"box": [0, 0, 9, 9], "label": "cat"}], ["cat", "dog"])["num_dog"]
        0
    """
    count = Counter(box["label"] for box in boxes)
    columns: dict[str, Any] = {"boxes": list(boxes), "labels": sorted(count)}
    for name in names:
        columns |= {f"num_{name}": count[name], f"has_{name}": int(count[name] > 0)}
    return columns


def names_of(pictures: Iterable[Sequence[Box]]) -> list[str]:
    """All names that occur, sorted."""
    return sorted({box["label"] for boxes in pictures for box in boxes})


def with_box_columns(rows: Sequence[dict[str, Any]], names: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Rows that have `boxes` → rows with all that follows from them; of `None` nothing does."""
    for row in rows:
        yield row if row["boxes"] is None else {**row, **box_columns(row["boxes"], names)}
