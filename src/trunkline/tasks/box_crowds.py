"""Boxes around many things that nobody told apart (COCO's `iscrowd`), as targets carry them.

They are no examples of their class, and what is found within them is no mistake.

Shape legend: `n` rows, `P` points of all grids, `M` true boxes at most, `K` classes.
"""

from __future__ import annotations

import torch
from torch import Tensor


def marked(classes: Tensor, crowds: Tensor) -> Tensor:
    """Numbers of classes, with crowds below -1, where -1 stands for no box.

    Example:
        >>> marked(torch.tensor([0, 1, 1]), torch.tensor([False, False, True])).tolist()
        [0, 1, -3]
    """
    return torch.where(crowds, -2 - classes, classes)


def crowd_classes(marks: Tensor) -> Tensor:
    """The class of each crowd; negative for what is none."""
    return -2 - marks


def within_crowds(points: Tensor, boxes: Tensor, marks: Tensor, classes: int) -> Tensor:
    """Which points may or may not show something of which class, since they lie in a crowd of it: `[n, P, K]` bool.

    Args:
        points: `[P, 2 or more]`, their places (x, y) first.
        boxes: `[n, M, 4]`.
        marks: `[n, M]`, as `marked` gives them.
        classes: `K`.
    """
    x, y = points[:, 0], points[:, 1]
    left, top, right, bottom = boxes.unsqueeze(-1).unbind(2)  # [n, M, 1]
    inside = (left <= x) & (x <= right) & (top <= y) & (y <= bottom)  # [n, M, P]
    of = crowd_classes(marks).unsqueeze(-1) == torch.arange(classes, device=boxes.device)  # [n, M, K]
    return torch.einsum("nmp,nmk->npk", inside.float(), of.float()) > 0
