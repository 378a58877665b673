"""The head of masks: class logits for every pixel, and the loss that they learn from.

Shape legend: `n` rows, `K` classes, `H, W` pixels as the encoder sees them, `D` width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from trunkline.tasks.contract import Target
from trunkline.tasks.pixels import PixelHead

VOID = 255  # stands in targets and predictions where there is no class
UNSEEN = 254  # stands in targets for all classes that training never saw


class MaskHead(PixelHead):
    """Class logits for every pixel, `[n, K, H, W]`.

    Args:
        prior: share of the pixels of each class; where the logits start.
        width: `D`.
    """

    def __init__(self, prior: Sequence[float], width: int) -> None:
        super().__init__(torch.tensor(prior).clamp(min=1e-4).log(), width)

    def loss(self, output: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """Cross entropy and `overlap_loss`, summed over labelled pixels, and their number: `(sum [1], weight [1])`."""
        labels = target["values"].long()
        labels = labels.masked_fill(labels == UNSEEN, VOID)
        total = F.cross_entropy(output.float(), labels, ignore_index=VOID, reduction="sum")
        pixels = (labels != VOID).sum((1, 2)).to(total.dtype)  # [n]
        total = total + (pixels * overlap_loss(output.float(), labels)).sum()
        return total.unsqueeze(0), pixels.sum().unsqueeze(0)


def overlap_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """`1 − 2 Σ p y / (Σ p + Σ y)`, the mean over the classes that a picture shows: `[n]`.

    A thin or rare thing counts as much as the road it stands on, which cross entropy alone gives up for. The soft Dice
    loss (Milletari et al., "V-Net", 2016, equation 3; without its squares, as Sudre et al. 2017 have it).

    Args:
        logits: `[n, K, H, W]`.
        labels: `[n, H, W]`; `VOID` takes no part.
    """
    known = labels != VOID
    index = labels.masked_fill(~known, 0)
    chances = logits.softmax(1) * known.unsqueeze(1)
    own = chances.gather(1, index.unsqueeze(1)).squeeze(1)  # [n, H, W], of the true class
    nothing = logits.new_zeros(logits.shape[:2])
    shared = nothing.scatter_add(1, index.flatten(1), own.flatten(1))  # [n, K]
    true = nothing.scatter_add(1, index.flatten(1), known.to(logits.dtype).flatten(1))
    share = 2 * shared / (chances.sum((2, 3)) + true).clamp(min=1e-6)
    there = true > 0
    return 1 - (share * there).sum(1) / there.sum(1).clamp(min=1)
