"""The head of masks: class logits for every pixel, and the loss that they learn from.

Shape legend: `n` rows, `K` classes, `H, W` pixels as the encoder sees them, `D` width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trunkline.tasks.contract import Target
from trunkline.tasks.mask_loss import VOID, mask_loss
from trunkline.tasks.pixels import PixelHead

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
        """`mask_loss`, and the number of labelled pixels: `(sum [1], weight [1])`."""
        labels = target["values"].long()
        labels = labels.masked_fill(labels == UNSEEN, VOID)
        total = mask_loss(output.float(), labels)
        return total.unsqueeze(0), (labels != VOID).sum().to(total.dtype).unsqueeze(0)
