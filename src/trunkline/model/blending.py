"""How much of the loss each expert of late fusion answers for: gradient blending (G-Blend: Wang, Tran and Feiszli, CVPR
2020).

Shape legend: `T` tasks, `E` experts; index 0 of `E + 1` is what all say together.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trunkline.fusion import LateModule

LEAST = 0.05  # of overfitting, as a share of what the best of a task's experts has learned


def make_blending(fusion: nn.Module, encoders: Sequence[str], tasks: Sequence[str]) -> Blending | None:
    """The weights, where the fusion asks for them."""
    if not (isinstance(fusion, LateModule) and fusion.blending):
        return None
    return Blending([*encoders, *["joint"] * fusion.joint], tasks, fusion.alone)


class Blending(nn.Module):
    """Weights of what experts say together and each alone, task by task, from how well what they learn carries over.

    Of the losses of one expert on training and on validation rows, `T` and `V`, at the beginning and now (eq. 3):

        generalisation  G = V₀ − V,      overfitting  O = (V − T) − (V₀ − T₀),      w ∝ G / O²

    which is where a step along the sum of gradients gains most for the overfitting that it brings (proposition 1). An
    expert that has learned nothing that carries over weighs nothing until it has. `O` is taken for .05 of the
    task's largest `G` at least, since a gap that small is measured as 0 or anything. While no expert of a task has
    learned, its weights stay as they are, as does that of an expert with nothing to be measured by; they begin as
    `Late.alone` says. As everywhere in late fusion it is sums over rows that are weighed: an expert that speaks in few
    rows counts in few.

    Theirs are measured on networks that are trained apart for it, one for each input, from the weights of now and over
    a part of the run; here on the network that is trained, and since its first step: `E + 1` trainings fewer, and what
    an expert has learned, it may owe to others that share the trunk.

    Args:
        experts: names, `E`.
        tasks: names, `T`.
        alone: share of the loss that experts answer for to begin with.

    Attributes:
        weights: `[T, E + 1]`; those of a task add up to 1.
        first: the first finite losses that were seen, on training and on validation rows `[2, T, E + 1]`: before the
            first step, as a rule; not a number where nothing was labelled, and before anybody looked.
    """

    weights: Tensor
    first: Tensor

    def __init__(self, experts: Sequence[str], tasks: Sequence[str], alone: float) -> None:
        super().__init__()
        self.experts, self.tasks = tuple(experts), tuple(tasks)
        begin = torch.tensor([1 - alone, *[alone / len(experts)] * len(experts)])
        self.register_buffer("weights", begin.repeat(len(tasks), 1))
        self.register_buffer("first", torch.full((2, len(tasks), len(experts) + 1), torch.nan))

    @torch.no_grad()
    def see(self, losses: Tensor) -> None:
        """Weigh anew; the first time, remember.

        Args:
            losses: on training and on validation rows, `[2, T, E + 1]`; not a number where nothing is labelled.
        """
        now = losses.to(self.first)
        self.first.copy_(torch.where(torch.isfinite(self.first), self.first, now))
        self.weights.copy_(blended(self.first, now, self.weights))

    def report(self) -> dict[str, dict[str, float]]:
        """Weights by task and expert, for a log."""
        names = ("together", *self.experts)
        return {task: dict(zip(names, own)) for task, own in zip(self.tasks, self.weights.tolist())}


def blended(first: Tensor, now: Tensor, before: Tensor) -> Tensor:
    """Weights `[T, E + 1]`, see `Blending`.

    Args:
        first: losses on training and validation rows `[2, T, E + 1]`, at the beginning.
        now: the same, now.
        before: weights that stay where nothing has been learned, `[T, E + 1]`.
    """
    known = (torch.isfinite(first) & torch.isfinite(now)).all(0)
    learned = torch.where(known, first[1] - now[1], 0).clamp(min=0)
    gap = torch.where(known, (now[1] - now[0]) - (first[1] - first[0]), 0)
    most = learned.amax(1, keepdim=True)
    ratio = learned / torch.maximum(gap, LEAST * most).square()
    shared_out = 1 - torch.where(known, 0, before).sum(1, keepdim=True)
    return torch.where(known & (most > 0), shared_out * ratio / ratio.sum(1, keepdim=True), before)
