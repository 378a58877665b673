"""Which points of the grids learn which true box: task alignment.

Points that already say a box's class and its place well are made to say it better (Feng et al., "TOOD: task-aligned
one-stage object detection", 2021, section 3.2). No size is tied to a grid: small boxes find the fine grid, where there
is one, by the boxes that its points draw.

Not the paper's, and not compared with it: the power of the score is 0.5, not 1; points are chosen with overlaps and
scores of at least 1e-4 and with the middle of a box before its edge, so that each box finds points from the first step
on; and what a point is to say (`quality`) is scaled over the points that are left where two boxes wanted one.

Shape legend: `n` rows, `P` points of all grids, `M` true boxes at most, `K` classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trunkline.tasks.box_places import overlap

POINTS = 10  # that learn one box, at most
SAYS, LIES = 0.5, 6.0  # powers of the class's score and of the overlap in how well a point is aligned
CENTRE = 1.0  # how much less a point at a box's edge is wanted than one in its middle, as a logarithm
SLACK = 1e-3  # of rounding, where a box's edge lies on a point
LEAST = 1e-4  # stands for an overlap of 0, so that points without any can be told apart


@dataclass(frozen=True)
class Assignment:
    """What each point is to learn.

    Attributes:
        owner: `[n, P]`, the place of its true box among the row's; -1 for none.
        quality: `[n, P]`, the score that it should give to that box's class, 0 to 1.
    """

    owner: Tensor
    quality: Tensor


@torch.no_grad()
def assign(chances: Tensor, drawn: Tensor, points: Tensor, boxes: Tensor, classes: Tensor) -> Assignment:
    """Each true box gets up to `POINTS` points; a point that two want learns the one that it overlaps more.

    Args:
        chances: `[n, P, K]`, from 0 to 1.
        drawn: the boxes of the points, `[n, P, 4]`.
        points: `[P, 4]`: their places (x, y), and how far it is to the next ones (x, y).
        boxes: the true ones, `[n, M, 4]`, `M >= 1`.
        classes: theirs, `[n, M]`; a box of none in 0 … K - 1 takes no part.
    """
    there = (classes >= 0) & (classes < chances.shape[2])  # [n, M]
    overlaps = overlap(boxes, drawn) * there.unsqueeze(-1)  # [n, M, P]
    index = classes.clamp(0, chances.shape[2] - 1).unsqueeze(1).expand(-1, chances.shape[1], -1)
    said = chances.gather(2, index).transpose(1, 2)  # [n, M, P]
    alignment = said.pow(SAYS) * overlaps.pow(LIES)
    offset = distance(points, boxes)
    near = (offset < 1 + SLACK) & there.unsqueeze(-1)
    wish = SAYS * said.clamp(min=LEAST).log() + LIES * overlaps.clamp(min=LEAST).log() - CENTRE * offset.square()
    chosen = near & _best(wish.masked_fill(~near, -torch.inf), POINTS)
    owner = torch.where(chosen, overlaps, -1.0).argmax(1)  # [n, P]
    mine = chosen & (owner.unsqueeze(1) == torch.arange(boxes.shape[1], device=boxes.device).view(-1, 1))
    scale = _most(overlaps, mine) / _most(alignment, mine).clamp(min=torch.finfo(alignment.dtype).tiny)
    quality = torch.where(mine, alignment * scale, 0.0).amax(1)
    return Assignment(owner.masked_fill(~chosen.any(1), -1), quality.clamp(max=1.0))


def distance(points: Tensor, boxes: Tensor) -> Tensor:
    """From points `[P, 4]` to the middles of boxes `[n, M, 4]`: `[n, M, P]`, 1 at a box's edge.

    A box counts as large enough for every grid to have a point in it, wherever it lies.
    """
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    half = torch.maximum((boxes[..., 2:] - boxes[..., :2]).unsqueeze(2), points[:, 2:]) / 2  # [n, M, P, 2]
    return ((points[:, :2] - middle.unsqueeze(2)).abs() / half).amax(-1)


def _best(wish: Tensor, most: int) -> Tensor:
    """Whether each of `[n, M, P]` is among the last dimension's highest."""
    top = wish.topk(min(most, wish.shape[-1]), dim=-1).indices
    return torch.zeros_like(wish, dtype=torch.bool).scatter_(-1, top, True)


def _most(values: Tensor, among: Tensor) -> Tensor:
    """The highest of those, `[n, M, P]` → `[n, M, 1]`; 0 without any."""
    return torch.where(among, values, 0.0).amax(-1, keepdim=True)
