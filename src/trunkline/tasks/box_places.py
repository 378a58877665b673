"""Where boxes lie in what the encoder saw, and where in the original picture.

Shape legend: `M` boxes as `[left, top, right, bottom]`, in pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trunkline.contexts import GridContext


def as_seen(boxes: Tensor, context: GridContext) -> Tensor:
    """`[M, 4]` in the original picture → in what the encoder saw. Nothing is cut off: they may lie outside.

    Of a turned box, the upright one around the ellipse that fills it: what is in boxes seldom has corners, and boxes
    around turned corners are too large (Kalra et al., "Towards rotation invariance in object detection", 2021).
    """
    matrix = torch.tensor(context.affine(), dtype=torch.float64)
    turn, shift = matrix[:, :2], matrix[:, 2]
    back = torch.linalg.inv(turn)
    return _moved(boxes, torch.column_stack([back, -back @ shift]), context.original, context.size)


def as_original(boxes: Tensor, context: GridContext) -> Tensor:
    """`[M, 4]` in what the encoder saw → in the original picture; the inverse of `as_seen` where nothing was turned."""
    return _moved(boxes, torch.tensor(context.affine(), dtype=torch.float64), context.size, context.original)


def _moved(boxes: Tensor, matrix: Tensor, before: tuple[int, int], after: tuple[int, int]) -> Tensor:
    """By an affine map between places from -1 to 1: the middle by all of it, half axes `a` by its linear part `A`, to
    `sqrt(A² a²)`.
    """
    old, new = _width_height(before), _width_height(after)
    middle = (boxes[:, :2] + boxes[:, 2:]).double() / old - 1
    axes = (boxes[:, 2:] - boxes[:, :2]).double() / old
    middle = (middle @ matrix[:, :2].T + matrix[:, 2] + 1) / 2 * new
    axes = (axes.square() @ matrix[:, :2].square().T).sqrt() / 2 * new
    return torch.cat([middle - axes, middle + axes], -1)


def _width_height(size: tuple[int, int]) -> Tensor:
    return torch.tensor([size[1], size[0]], dtype=torch.float64)


def clipped(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes `[…, 4]` cut at the edges of a picture of `(height, width)`."""
    return cut(boxes, boxes.new_tensor([0, 0, size[1], size[0]]))


def cut(boxes: Tensor, inside: Tensor) -> Tensor:
    """Boxes `[…, 4]` cut at the edges of `inside [4]`."""
    low, high = inside[:2].repeat(2), inside[2:].repeat(2)
    return torch.minimum(torch.maximum(boxes, low), high)


def picture_part(context: GridContext) -> Tensor:
    """`[4]`: the part of what the encoder saw that is picture; of a turned one the upright box around it."""
    height, width = context.original
    whole = torch.tensor([[0.0, 0, width, height]], dtype=torch.float64)
    return clipped(as_seen(whole, context), context.size)[0]


def area(boxes: Tensor) -> Tensor:
    """`[…, 4]` → `[…]`."""
    return (boxes[..., 2] - boxes[..., 0]).clamp(min=0) * (boxes[..., 3] - boxes[..., 1]).clamp(min=0)


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of every pair, `[…, M, 4]` and `[…, P, 4]` → `[…, M, P]`; 0 where both are empty."""
    first, second = first.unsqueeze(-2), second.unsqueeze(-3)
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    union = area(first) + area(second) - shared
    return shared / union.clamp(min=torch.finfo(union.dtype).tiny)
