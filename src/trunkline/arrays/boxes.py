"""Boxes as they are said: without what is said twice, in the picture's own pixels.

Shape legend: `P` points of all grids, `K` classes, `M` boxes as `[left, top, right, bottom]`, in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from trunkline.arrays.contract import Answers, State
from trunkline.contexts import Context, GridContext

MOST = 100  # boxes a picture
LOOKED_AT = 1000  # of a picture's scores, the highest
SAME = 0.6  # overlap from which on two boxes of one class are one thing
PLACES, DIGITS = 2, 8  # decimals of an edge in pixels, of a score: far finer than what tells two apart


class SaidBoxes(NamedTuple):
    """Boxes of one picture, `boxes [M, 4]`, `classes [M]`, `scores [M]`, the surest first."""

    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class BoxAnswers(Answers):
    """`[n, P, 4 + K]` → `{"box", "label", "score"}` of at most 100 boxes a picture, the surest first.

    Of boxes that a graph has chosen already: `{"boxes": [n, M, 4], "classes": [n, M], "scores": [n, M], "count": [n]}`.

    Attributes:
        floor: boxes with a lower score are not said.
    """

    floor: float

    def decode(
        self,
        output: np.ndarray | Mapping[str, np.ndarray],
        states: Sequence[State],
        contexts: Sequence[Context | None],
    ) -> list[list[list[dict[str, Any]]]]:
        """See the class."""
        frames = [as_grid(context) for context in contexts]
        if isinstance(output, np.ndarray):
            found = [say(row, self.floor, frame) for row, frame in zip(output, frames)]
        else:
            found = [in_original(row, frame) for row, frame in zip(chosen(output), frames)]
        return [[_told(row, states[0]["classes"]) for row in found]]


def _told(found: SaidBoxes, classes: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"box": box, "label": classes[name], "score": score}
        for box, name, score in zip(found.boxes.tolist(), found.classes.tolist(), found.scores.tolist())
    ]


def as_grid(context: Context | None) -> GridContext:
    """What was done to a picture that boxes are bound to."""
    assert isinstance(context, GridContext), "boxes are bound to a picture"
    return context


def chosen(output: Mapping[str, np.ndarray]) -> Iterator[SaidBoxes]:
    """Boxes of each picture that a graph has chosen, without the zeros behind them; see `BoxAnswers`."""
    parts = (output["boxes"], output["classes"], output["scores"])
    for boxes, classes, scores, count in zip(*parts, output["count"].tolist()):
        yield SaidBoxes(boxes[:count], classes[:count], scores[:count])


def say(output: np.ndarray, floor: float, context: GridContext) -> SaidBoxes:
    """What a head says of one picture, `[P, 4 + K]`; see `pick` and `in_original`."""
    return in_original(pick(output, floor, picture_part(context)), context)


def in_original(found: SaidBoxes, context: GridContext) -> SaidBoxes:
    """From what the encoder saw → in the picture's own pixels, cut at its edges; with as many digits as files have."""
    height, width = context.original
    places = as_original(found.boxes, context).clip(0, [width, height, width, height])
    return SaidBoxes(places.round(PLACES), found.classes, found.scores.astype(np.float64).round(DIGITS))


def pick(output: np.ndarray, floor: float, inside: np.ndarray) -> SaidBoxes:
    """What a head says of one picture, `[P, 4 + K]`, without what it says twice.

    Args:
        output: boxes, and the score of each class.
        floor: lower scores are not looked at.
        inside: `[4]`, the part of what the encoder saw that is picture; boxes are cut at its edges.
    """
    output = output.astype(np.float32)
    points, classes = np.nonzero(output[:, 4:] >= np.float32(floor))
    scores = output[points, 4 + classes]
    best = np.argsort(-scores, kind="stable")[:LOOKED_AT]
    points, classes, scores = points[best], classes[best], scores[best]
    low, high = np.tile(inside[:2], 2).astype(np.float32), np.tile(inside[2:], 2).astype(np.float32)
    boxes = output[points, :4].clip(low, high)
    some = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    boxes, classes, scores = boxes[some], classes[some], scores[some]
    kept = without_same(boxes, classes)
    return SaidBoxes(boxes[kept], classes[kept], scores[kept])


def without_same(boxes: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Places of boxes, the surest first, without those that overlap a surer one of their class by more than `SAME`
    (non-maximum suppression); `MOST` at most.
    """
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    rest = np.arange(len(boxes))
    while len(rest) and len(kept) < MOST:
        first, rest = int(rest[0]), rest[1:]
        kept.append(first)
        low = np.maximum(boxes[first, :2], boxes[rest, :2])
        shared = np.minimum(boxes[first, 2:], boxes[rest, 2:]) - low
        shared = np.maximum(shared, 0).prod(1)
        overlap = shared / (areas[first] + areas[rest] - shared)
        rest = rest[(overlap <= SAME) | (classes[rest] != classes[first])]
    return np.array(kept, np.int64)


def as_seen(boxes: np.ndarray, context: GridContext) -> np.ndarray:
    """`[M, 4]` in the original picture → in what the encoder saw. Nothing is cut off: they may lie outside.

    Of a turned box, the upright one around the ellipse that fills it: what is in boxes seldom has corners, and boxes
    around turned corners are too large (Kalra et al., "Towards rotation invariance in object detection", 2021).
    """
    matrix = np.array(context.affine())
    back = np.linalg.inv(matrix[:, :2])
    return _moved(boxes, np.column_stack([back, -back @ matrix[:, 2]]), context.original, context.size)


def as_original(boxes: np.ndarray, context: GridContext) -> np.ndarray:
    """`[M, 4]` in what the encoder saw → in the original picture; the inverse of `as_seen` where nothing was turned."""
    return _moved(boxes, np.array(context.affine()), context.size, context.original)


def picture_part(context: GridContext) -> np.ndarray:
    """`[4]`: the part of what the encoder saw that is picture; of a turned one the upright box around it."""
    (height, width), (rows, columns) = context.original, context.size
    whole = as_seen(np.array([[0.0, 0, width, height]]), context)
    return whole[0].clip(0, [columns, rows, columns, rows])


def picture_parts(contexts: Sequence[Context | None]) -> np.ndarray:
    """`picture_part` of each row, `[n, 4]` float32; zeros where there is no picture."""
    nothing = np.zeros(4)
    parts = [nothing if context is None else picture_part(as_grid(context)) for context in contexts]
    return np.array(parts, np.float32).reshape(-1, 4)


def _moved(boxes: np.ndarray, matrix: np.ndarray, before: tuple[int, int], after: tuple[int, int]) -> np.ndarray:
    """By an affine map between places from -1 to 1: the middle by all of it, half axes `a` by its linear part `A`, to
    `sqrt(A² a²)`.
    """
    old, new = np.array(before[::-1], np.float64), np.array(after[::-1], np.float64)
    middle = (boxes[:, :2] + boxes[:, 2:]).astype(np.float64) / old - 1
    axes = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64) / old
    middle = (middle @ matrix[:, :2].T + matrix[:, 2] + 1) / 2 * new
    axes = np.sqrt(np.square(axes) @ np.square(matrix[:, :2]).T) / 2 * new
    return np.concatenate([middle - axes, middle + axes], -1)
