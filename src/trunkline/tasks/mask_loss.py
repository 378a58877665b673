"""What masks learn from: cross entropy and overlap in one pass over the logits.

With a hundred classes the logits are most of what a training step touches; each chain of plain operations over them
reads and keeps another copy. Here one is kept, the softmax.

Shape legend: `n` rows, `K` classes, `H, W` pixels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

VOID = 255  # stands in targets and predictions where there is no class


class _MaskLoss(torch.autograd.Function):
    """See `mask_loss`. With `p` the softmax, `y` a pixel's class, and of each row `N` its labelled pixels, `m` its
    classes, `I_k = Σ p_k [y = k]`, `S_k = Σ p_k`, `T_k = Σ [y = k]`, the slope at a pixel's logit of class `k` is

        p_k (1 + a_k − Σ_j a_j p_j − b_y p_y) + [y = k] (b_y p_y − 1),
        a_k = 2 N I_k / (m (S_k + T_k)²),  b_k = −2 N / (m (S_k + T_k)),  both 0 of classes that are not there.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        known = labels != VOID
        index = labels.masked_fill(~known, 0)
        logs = logits.log_softmax(1)
        entropy = -(logs.gather(1, index.unsqueeze(1)).squeeze(1) * known).sum()
        chances = logs.exp_().mul_(known.unsqueeze(1))
        own = chances.gather(1, index.unsqueeze(1)).squeeze(1)  # [n, H, W]
        nothing = logits.new_zeros(logits.shape[:2])
        shared = nothing.scatter_add(1, index.flatten(1), own.flatten(1))  # [n, K]
        true = nothing.scatter_add(1, index.flatten(1), known.to(logits.dtype).flatten(1))
        whole = (chances.sum((2, 3)) + true).clamp(min=1e-6)
        there = true > 0
        pixels = known.sum((1, 2)).to(logits.dtype)  # [n]
        scale = 2 * there * (pixels / there.sum(1).clamp(min=1)).unsqueeze(1)
        ctx.save_for_backward(chances, index, known, own, scale * shared / whole.square(), -scale / whole)
        return entropy + (pixels * there.any(1)).sum() - (scale * shared / whole).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        chances, index, known, own, a, b = ctx.saved_tensors
        gain = b.gather(1, index.flatten(1)).view_as(own) * own  # [n, H, W]
        rest = 1 - gain - torch.einsum("nkhw,nk->nhw", chances, a)
        grad = (rest.unsqueeze(1) + a[:, :, None, None]).mul_(chances)
        grad.scatter_add_(1, index.unsqueeze(1), ((gain - 1) * known).unsqueeze(1))
        return grad.mul_(slope), None


def mask_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Summed over labelled pixels: cross entropy, and the overlap that their row lacks,

        1 − 2 Σ p y / (Σ p + Σ y), the mean over the classes that a row shows.

    A thin or rare thing counts as much as the road it stands on, which cross entropy alone gives up for. The soft Dice
    loss (Milletari et al., "V-Net", 2016, equation 3; without its squares, as Sudre et al. 2017 have it).

    Args:
        logits: `[n, K, H, W]`.
        labels: `[n, H, W]` long; `VOID` takes no part.
    """
    return _MaskLoss.apply(logits, labels)
