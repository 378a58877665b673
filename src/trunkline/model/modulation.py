"""Slower learning for the input that is ahead: on-the-fly gradient modulation (OGM-GE: Peng et al., CVPR 2022).

Shape legend: `M` experts of one input each, `n` rows, `G` tasks of a head, `D` width.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from trunkline.tasks import Head


def losses_alone(head: Head, output: Tensor, target: Mapping[str, Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
    """`(sum [M, G], weight [M, G])` of what each expert says `[M, n, …]`, in these rows of it `[M, n]`."""
    each = [head.loss(said, {**target, "flags": target["flags"] & own.unsqueeze(1)}) for said, own in zip(output, rows)]
    sums, weights = (torch.stack([one.reshape(-1) for one in part]) for part in zip(*each))
    return sums, weights


def factors(head: Head, output: Tensor, target: Mapping[str, Tensor], present: Tensor, alpha: float) -> Tensor:
    """What the gradient of each expert is multiplied by, task by task, `k [G, M]`: eq. 8 to 10 of the paper.

    An expert's score `s` is how probable it finds the truth, over the rows in which two experts or more speak: the
    geometric mean, `exp(−loss)`, which every kind of task has, where theirs is the arithmetic one of classes. With `ρ`
    the ratio of its score to the mean of the others' (theirs are two), `k = 1 − tanh(α ρ)` where `ρ > 1`, else 1. Of
    three experts or more, each is scored over its own rows, which need not be those of another.

    Args:
        head: of the tasks.
        output: `[M, n, …]`, of each expert alone.
        target: of the `n` rows, with `flags [n, G]`.
        present: which expert speaks, `[M, n]`.
        alpha: `α`.
    """
    contested = present.sum(0) > 1
    with torch.no_grad():
        losses, weights = losses_alone(head, output, target, present & contested)
        known = weights > 0
        scores = torch.where(known, torch.exp(-losses / torch.where(known, weights, 1)), 0)
        others = known.sum(0) - known.int()
        mean = (scores.sum(0) - scores) / others.clamp(min=1)
        ahead = known & (others > 0) & (scores > mean)
        return torch.where(ahead, 1 - torch.tanh(alpha * scores / mean), 1).T


def modulate(gradient: Tensor, factor: Tensor, rows: Tensor, contested: Tensor, noise: Tensor | None) -> Tensor:
    """The gradient of what the head reads of each expert, `[G, M, n, D]`.

    Args:
        gradient: plain.
        factor: `k [G, M]`.
        rows: those that have a gradient, `[G, M, n]`; in all others it stays 0.
        contested: rows in which two experts or more speak, `[n]`; only there is one slowed down.
        noise: standard normal numbers, to be added with the spread of the gradient over the rows, feature by feature
            (theirs: of a whole layer's gradient); `None` for none.
    """
    changed = torch.where(contested[:, None], factor[:, :, None, None] * gradient, gradient)
    if noise is None:
        return changed
    here = rows.unsqueeze(-1)
    count = here.sum(2, keepdim=True).clamp(min=1)
    mean = (gradient * here).sum(2, keepdim=True) / count
    spread = (((gradient - mean) * here).square().sum(2, keepdim=True) / count).sqrt()
    return changed + noise * spread * here
