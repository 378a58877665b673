"""Boxes in the graph as they are said: `arrays.boxes.pick` in operators of ONNX, for all rows at once.

Shape legend: `n` rows, `P` points of all grids, `K` classes, `C` candidates (the highest scores), `M` boxes at most.
Boxes are `[left, top, right, bottom]` in pixels as the encoder saw them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trunkline.arrays.boxes import LOOKED_AT, MOST, SAME, BoxAnswers, without_same
from trunkline.arrays.seeing import PictureCells
from trunkline.schema import HeadUnit, Preprocessing
from trunkline.types import Flags

NEVER = -1.0  # a score that nothing has: scores run from 0 to 1
LEAST = -0.5  # between that and the least score


@torch.library.custom_op("trunkline::without_same", mutates_args=())
def kept(boxes: Tensor, scores: Tensor) -> Tensor:
    """Non-maximum suppression of each row and class by itself, `SAME` and `MOST` as `arrays.boxes` has them.

    ONNX's operator lists what it keeps; as flags it has a shape that is known beforehand.

    Args:
        boxes: `[n, C, 4]`.
        scores: `[n, K, C]`; `NEVER` is never kept.

    Returns:
        `[n, K, C]` bool.
    """
    flags = torch.zeros_like(scores, dtype=torch.bool)
    for row, (its, by_class) in enumerate(zip(boxes.detach().numpy(), scores.detach().numpy())):
        for name, own in enumerate(by_class):
            order = np.argsort(-own, kind="stable")[: int((own > LEAST).sum())]
            flags[row, name, order[without_same(its[order], np.zeros(len(order)))]] = True
    return flags


@kept.register_fake
def _(boxes: Tensor, scores: Tensor) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """How `kept` is written in ONNX."""
    import onnxscript
    from onnx import TensorProto

    op: Any = onnxscript.opset18

    def written(boxes: Any, scores: Any) -> Any:
        places = op.NonMaxSuppression(
            boxes,
            scores,
            op.Constant(value_ints=[MOST]),
            op.Constant(value_floats=[SAME]),
            op.Constant(value_floats=[LEAST]),
        )  # [kept, 3]: row, class, candidate
        none = op.Expand(op.Constant(value_ints=[0]), op.Shape(scores))
        ones = op.Expand(op.Constant(value_ints=[1]), op.Shape(places, start=0, end=1))
        return op.Cast(op.ScatterND(none, places, ones), to=TensorProto.BOOL)

    return {torch.ops.trunkline.without_same.default: written}


@dataclass(frozen=True)
class Choice:
    """How the boxes of a head are chosen.

    Attributes:
        of: the picture that they are bound to.
        floor: lower scores are not looked at.
        inside: the part of what the encoder saw that is picture, `[4]`, where it is the same in every row; `None` where
            the graph is told, as the input `inside.HEAD [n, 4]`.
    """

    of: str
    floor: float
    inside: tuple[float, ...] | None

    def made(self, output: Tensor, present: Flags, inside: Tensor | None) -> dict[str, Tensor]:
        """See `choose`; `inside`: what the graph is told."""
        if self.inside is not None:
            inside = output.new_tensor(self.inside)[None]
        assert inside is not None, "the graph is told what it does not know"
        return choose(output, self.floor, inside, present[self.of])


def choices(states: Preprocessing, heads: Sequence[HeadUnit]) -> dict[str, Choice]:
    """Of those heads that say boxes."""
    found = {}
    for unit in heads:
        column = states.schema.tasks[unit.name]
        if isinstance(answers := column.task.answers, BoxAnswers):
            assert column.of is not None, "boxes are bound to a picture"
            found[unit.name] = Choice(column.of, answers.floor, _inside(states, column.of))
    return found


def _inside(states: Preprocessing, of: str) -> tuple[float, ...] | None:
    cells = states.schema.inputs[of].modality.cells
    if not isinstance(cells, PictureCells) or cells.aspect != "stretch":
        return None
    height, width = states.input_state(of)["size"]
    return 0.0, 0.0, float(width), float(height)


def choose(output: Tensor, floor: float, inside: Tensor, here: Tensor) -> dict[str, Tensor]:
    """What a head says → final boxes, the surest first, with the rules of `arrays.boxes.pick`.

    Args:
        output: `[n, P, 4 + K]`: boxes, and each class's score.
        floor: lower scores are not looked at.
        inside: `[n, 4]` or `[1, 4]`, the part of what the encoder saw that is picture.
        here: which rows have a picture, `[n]`; in others there is nothing.

    Returns:
        `boxes [n, M, 4]`, `classes [n, M]`, `scores [n, M]`; `count [n]`: how many of them there are; behind these are
        zeros.
    """
    classes = output.shape[2] - 4
    scores = output[:, :, 4:].flatten(1)  # [n, P K]
    scores = torch.where(here[:, None] & (scores >= floor), scores, NEVER)
    scores, places = scores.topk(min(LOOKED_AT, scores.shape[1]))  # [n, C]; of equal ones ONNX takes the first, too
    points, names = places // classes, places % classes
    boxes = output[:, :, :4].gather(1, points[:, :, None].expand(-1, -1, 4))
    low, high = (edges.repeat(1, 1, 2) for edges in (inside[:, None, :2], inside[:, None, 2:]))
    boxes = torch.minimum(torch.maximum(boxes, low), high)
    has_area = (boxes[:, :, 2] > boxes[:, :, 0]) & (boxes[:, :, 3] > boxes[:, :, 1])
    scores = torch.where(has_area, scores, NEVER)
    is_named = names[:, None] == torch.arange(classes, device=names.device)[:, None]  # [n, K, C]
    stays = kept(boxes, torch.where(is_named, scores[:, None], NEVER)).any(1)
    scores, best = torch.where(stays, scores, NEVER).topk(min(MOST, scores.shape[1]))  # [n, M]
    is_there = scores > LEAST
    found = boxes.gather(1, best[:, :, None].expand(-1, -1, 4))
    return {
        "boxes": torch.where(is_there[:, :, None], found, 0.0),
        "classes": torch.where(is_there, names.gather(1, best), 0),
        "scores": torch.where(is_there, scores, 0.0),
        "count": is_there.sum(1),
    }
