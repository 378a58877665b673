"""The head of boxes: one class and one box at every point of every grid.

Shape legend: `n` rows, `D` width, `C` channels of the towers, `h, w` one grid, `P` points of all grids, `M` true boxes
at most, `K` classes.
Boxes are `[left, top, right, bottom]` in pixels as the encoder saw them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.tasks.box_assignment import POINTS, Assignment, assign
from trunkline.tasks.box_crowds import within_crowds
from trunkline.tasks.box_places import area, clipped
from trunkline.tasks.contract import Head, Target
from trunkline.types import Span, Tokens

PRIOR = 0.01  # of a class at a point, before anything is learned
WIDE = 2.0  # a box before anything is learned, in steps of its grid
FURTHEST = 8.0  # a box's size as a logarithm of steps, at most, and its middle's way from the point, in steps
SHARPNESS = 2.0  # power of the focal weight
PLACE = 5.0  # weight of a true box's place beside its classes
LAYERS = 2  # of a tower
CHANNELS = 128  # of the towers, at most: they stand at every point, and are most of what a step costs


class BoxHead(Head):
    """Two towers of convolutions, the same at every grid: one says classes, one draws boxes.

    One stage, no anchors (Tian et al., "FCOS: fully convolutional one-stage object detection", 2019), with scores that
    learn how well their box lies (Li et al., "Generalized focal loss", 2020) on the points that task alignment chooses
    (`assign`). A box is drawn by its middle and size (Ge et al., "YOLOX", 2021) rather than by four distances, which
    a box between two points of a coarse grid does not have.

    Args:
        classes: `K`.
        width: `D`.
    """

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        channels = min(width, CHANNELS)
        self.narrow = nn.Identity() if width == channels else nn.Linear(width, channels)
        self.naming, self.placing = tower(channels), tower(channels)
        self.names = nn.Conv2d(channels, classes, 3, padding=1)
        self.places = nn.Conv2d(channels, 4, 3, padding=1)
        self.names.bias = nn.Parameter(torch.full((classes,), -math.log(1 / PRIOR - 1)))
        self.places.bias = nn.Parameter(torch.tensor([0.0, 0.0, math.log(WIDE), math.log(WIDE)]))
        for last in (self.names, self.places):
            nn.init.normal_(last.weight, std=0.01)

    def predict_output(self, view: Tokens) -> Tensor:
        """`[n, P, 4 + K]`: of each point a box, and each class's score from 0 to 1."""
        said = self.train_output(view)
        size = size_of(next(span for span in view.spans if span.axis == "grid"))
        return torch.cat([clipped(said["boxes"], size), said["logits"].sigmoid()], -1)

    def train_output(self, view: Tokens, target: Target | None = None) -> dict[str, Tensor]:
        """`{"boxes": [n, P, 4], "logits": [n, P, K], "points": [n, P, 4]}`, the last as `grid_points` makes them.

        Boxes may reach beyond the picture: what is cut off has no gradient.
        """
        parts, narrow = [], self.narrow(view.values)
        for span in (span for span in view.spans if span.axis == "grid"):
            grid = narrow[:, span.start : span.stop].transpose(1, 2).unflatten(2, span.shape)  # [n, C, h, w]
            points = grid_points(span, view.values.device)
            drawn = draw(as_points(exactly(self.places, self.placing(grid))), points)
            logits = as_points(exactly(self.names, self.naming(grid)))
            parts.append((drawn, logits, points.expand(grid.shape[0], -1, -1)))
        boxes, logits, points = (torch.cat(part, 1) for part in zip(*parts))
        return {"boxes": boxes, "logits": logits, "points": points}

    def loss(self, output: Mapping[str, Tensor], target: Target) -> tuple[Tensor, Tensor]:
        """`(sum [1], weight [1])`: a row counts as many as it has boxes, one without any as one.

        Quality focal loss over all points and classes, and of each true box the mean generalised overlap loss of its
        points. Boxes of classes that training never saw take no part, nor do points in a crowd of a class learn that
        it is not there.
        """
        boxes, classes = target["boxes"], target["classes"]
        logits, drawn = output["logits"], output["boxes"]
        known = (classes >= 0) & (classes < logits.shape[2])
        found = assign(logits.sigmoid(), drawn, output["points"][0], boxes, classes)
        crowded = within_crowds(output["points"][0], boxes, classes, logits.shape[2])
        total = naming_loss(logits, classes, found, crowded) + PLACE * placing_loss(drawn, boxes, found)
        return total.reshape(1), known.sum(1).clamp(min=1).sum().to(total.dtype).reshape(1)


def exactly(layer: nn.Module, values: Tensor) -> Tensor:
    """What a layer says in float32, where others compute in half precision: edges within a pixel, scores in order."""
    device = values.device.type
    if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
        return layer(values).float()
    with torch.autocast(device, enabled=False):
        return layer(values.float())


def naming_loss(logits: Tensor, classes: Tensor, found: Assignment, crowded: Tensor) -> Tensor:
    """Quality focal loss of all points and classes, summed.

    Args:
        logits: `[n, P, K]`.
        classes: of the true boxes, `[n, M]`.
        found: whose point is whose.
        crowded: `[n, P, K]` bool: where nothing is known but of points that learn a box.
    """
    has = found.owner >= 0  # [n, P]
    names = classes.gather(1, found.owner.clamp(min=0)).masked_fill(~has, 0)
    wanted = torch.zeros_like(logits).scatter_(2, names.unsqueeze(2), found.quality.masked_fill(~has, 0).unsqueeze(2))
    return quality_focal_loss(logits, wanted).masked_fill(crowded & (wanted == 0), 0.0).sum()


def placing_loss(drawn: Tensor, boxes: Tensor, found: Assignment) -> Tensor:
    """Of each true box the mean loss of its points, the better ones counting more; summed over true boxes.

    Args:
        drawn: `[n, P, 4]`.
        boxes: the true ones, `[n, M, 4]`.
        found: whose point is whose.
    """
    # As many places as there can be points that learn a box: nobody waits for a device to count them.
    has, points = (found.owner >= 0).byte().topk(min(drawn.shape[1], boxes.shape[1] * POINTS), dim=1)  # [n, Q]
    owners = found.owner.gather(1, points).clamp(min=0)
    weights = (found.quality.gather(1, points) + 1e-3) * has  # where nothing overlaps yet, all count the same
    sums = weights.new_zeros(boxes.shape[:2]).scatter_add(1, owners, weights)  # [n, M]
    loss = generalised_overlap_loss(_picked(drawn, points), _picked(boxes, owners))
    return (loss * weights / sums.gather(1, owners).clamp(min=1e-3)).sum()


def _picked(boxes: Tensor, places: Tensor) -> Tensor:
    """Of each row those at `[n, Q]`: `[n, M, 4]` → `[n, Q, 4]`."""
    return boxes.gather(1, places.unsqueeze(2).expand(-1, -1, 4))


def quality_focal_loss(logits: Tensor, quality: Tensor) -> Tensor:
    """`|y − σ|^β · BCE(σ, y)` (Li et al., "Generalized focal loss", 2020, equation 2), element by element."""
    plain = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    return (quality - logits.sigmoid()).abs().pow(SHARPNESS) * plain


def generalised_overlap_loss(drawn: Tensor, true: Tensor) -> Tensor:
    """`1 − GIoU` (Rezatofighi et al., "Generalized intersection over union", 2019), `[…, 4]` each → `[…]`."""
    sides = torch.minimum(drawn[..., 2:], true[..., 2:]) - torch.maximum(drawn[..., :2], true[..., :2])
    shared = sides.clamp(min=0).prod(-1)
    union = area(drawn) + area(true) - shared
    hull = (torch.maximum(drawn[..., 2:], true[..., 2:]) - torch.minimum(drawn[..., :2], true[..., :2])).prod(-1)
    return 1 - shared / union + (hull - union) / hull


def draw(said: Tensor, points: Tensor) -> Tensor:
    """Boxes of points: `said [n, P, 4]` (way from the point to the middle, then the size's logarithm, both in steps
    of the grid) and `points [P, 4]` → `[n, P, 4]`.
    """
    places, steps = points[:, :2], points[:, 2:]
    middle = places + said[..., :2].clamp(-FURTHEST, FURTHEST) * steps
    half = said[..., 2:].clamp(-FURTHEST, FURTHEST).exp() * steps / 2
    return torch.cat([middle - half, middle + half], -1)


def grid_points(span: Span, device: torch.device) -> Tensor:
    """`[h · w, 4]`: the middle of each token's square (x, y) and the way to the next one (x, y), in pixels."""
    (height, width), (down, right) = span.shape, span.stride
    y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) * down
    x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) * right
    y, x = (axis.flatten() for axis in torch.meshgrid(y, x, indexing="ij"))
    return torch.stack([x, y, torch.full_like(x, right), torch.full_like(y, down)], 1)


def size_of(span: Span) -> tuple[int, int]:
    """`(height, width)` of what the encoder saw, in pixels."""
    (height, width), (down, right) = span.shape, span.stride
    return round(height * down), round(width * right)


def as_points(grid: Tensor) -> Tensor:
    """`[n, C, h, w]` → `[n, h · w, C]`."""
    return grid.flatten(2).transpose(1, 2)


def tower(channels: int) -> nn.Sequential:
    """Convolutions with group normalisation, `[n, C, h, w]` → `[n, C, h, w]`."""
    layers: list[nn.Module] = []
    for _ in range(LAYERS):
        layers += [
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.GroupNorm(math.gcd(channels, 8), channels),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)
