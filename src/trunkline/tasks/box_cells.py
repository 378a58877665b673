"""Cells of boxes: lists of `{"box": [x1, y1, x2, y2], "label": "name"}` in pixels of the upright picture.

Where a picture's EXIF says that it is turned, that is the picture as programs show it and as people draw boxes on it;
the picture is read so, too. `"iscrowd": true` beside them is COCO's: the box is around many things that nobody told
apart. It is no example of its class, and a box that is found within is not counted as wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

import numpy as np

from trunkline.cells import as_name, as_number, parse_json
from trunkline.errors import DataError, brief

FORM = '{"box": [x1, y1, x2, y2], "label": "name"}'


class Box(TypedDict):
    """A thing in a picture: left, top, right, bottom in pixels, and its name; or many things, where `iscrowd`."""

    box: list[float]
    label: str
    iscrowd: NotRequired[bool]


def read_boxes(cell: Any) -> list[Box]:
    """The boxes of a cell, in order, without those of no area.

    Args:
        cell: a list of such objects, or its JSON text. An empty list says that there is nothing to be found.

    Raises:
        DataError: it is none, or a box of it cannot be used; which one, and what would work.

    Example:
        >>> read_boxes('[{"box": [1, 2, 30, 40], "label": "cat"}]')
        [{'box': [1.0, 2.0, 30.0, 40.0], 'label': 'cat'}]
    """
    return [entry for entry in read_every(cell) if has_area(entry["box"])]


def read_every(cell: Any) -> list[Box]:
    """The same with those of no area."""
    return [_read_box(entry, f"box {number}") for number, entry in enumerate(_entries(cell), start=1)]


def has_area(box: list[float]) -> bool:
    """Whether there is anything between its edges."""
    return box[0] < box[2] and box[1] < box[3]


def is_crowd(entry: Mapping[str, Any]) -> bool:
    """Whether it is around many things that nobody told apart."""
    return bool(entry.get("iscrowd", False))


def told(entry: Box) -> str:
    """A box as errors name it: `the box [1, 2, 30, 40] ('cat')`."""
    return f"the box [{', '.join(f'{edge:g}' for edge in entry['box'])}] ({entry['label']!r})"


def _entries(cell: Any) -> list[Any]:
    if isinstance(cell, str):
        try:
            cell = parse_json(cell)
        except ValueError as error:
            raise DataError(f"{cell[:80]!r} is no JSON list of boxes, each {FORM}: {error}") from None
    if not isinstance(cell, (list, tuple, np.ndarray)):
        raise DataError(f"a list of boxes is wanted here, each {FORM}, not {brief(cell)}")
    return list(cell)


def _read_box(entry: Any, which: str) -> Box:
    if not isinstance(entry, Mapping):
        raise DataError(f"{which} is {entry!r}; write {FORM}")
    label = entry.get("label")
    for key in ("box", "label"):
        if entry.get(key) is None:
            raise DataError(f"{which} has no {key!r}; write {FORM}")
    try:
        name = as_name(label)
    except DataError as error:
        raise DataError(f"{which}: {error}") from None
    if not name:
        raise DataError(f"{which} has an empty label; write {FORM}")
    box: Box = {"box": _read_edges(entry["box"], f"{which} ({name!r})"), "label": name}
    return {**box, "iscrowd": True} if _read_crowd(entry.get("iscrowd"), which) else box


def _read_crowd(said: Any, which: str) -> bool:
    if said is not None and said not in (0, 1):
        raise DataError(f"{which} has 'iscrowd': {said!r}; write true or false")
    return bool(said)


def _read_edges(edges: Any, which: str) -> list[float]:
    if not isinstance(edges, (list, tuple, np.ndarray)) or len(edges) != 4:
        raise DataError(f"{which} has the edges {edges!r}; write four numbers, [x1, y1, x2, y2]")
    try:
        left, top, right, bottom = box = [as_number(edge) for edge in edges]
    except DataError as error:
        hint = "" if "finite" not in str(error) else "; a box that is not known is left out of the list"
        raise DataError(f"{which}: {str(error).partition(';')[0]}{hint}") from None
    if right < left or bottom < top:
        side = (
            f"x2 = {right:g} lies left of x1 = {left:g}" if right < left else f"y2 = {bottom:g} lies above y1 = {top:g}"
        )
        raise DataError(f"{which}: {side}; write left, top, right and bottom edge (of [x, y, width, height] make "
                        "[x, y, x + width, y + height])")  # fmt: skip
    return box
