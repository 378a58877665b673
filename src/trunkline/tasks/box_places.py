"""Where boxes lie in what the encoder saw, and where in the original picture.

Shape legend: `M` boxes as `[left, top, right, bottom]`, in pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trunkline.arrays import boxes as places
from trunkline.contexts import GridContext


def as_seen(boxes: Tensor, context: GridContext) -> Tensor:
    """`[M, 4]` in the original picture → in what the encoder saw; see `arrays.boxes.as_seen`."""
    return torch.from_numpy(places.as_seen(boxes.numpy(), context))


def clipped(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes `[…, 4]` cut at the edges of a picture of `(height, width)`."""
    return cut(boxes, boxes.new_tensor([0, 0, size[1], size[0]]))


def cut(boxes: Tensor, inside: Tensor) -> Tensor:
    """Boxes `[…, 4]` cut at the edges of `inside [4]`."""
    low, high = inside[:2].repeat(2), inside[2:].repeat(2)
    return torch.minimum(torch.maximum(boxes, low), high)


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
