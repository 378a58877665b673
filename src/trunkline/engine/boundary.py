"""The boundary: one autograd node between what the tasks share and what is private to each.

All taps of the trunk go in, one copy of each tap per task comes out. In the one ordinary backward pass the node
receives every task's gradient at once, asks for weights, and hands `Σ wₖ gₖ` on to the shared part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trunkline.engine.distributed import num_ranks
from trunkline.engine.levels import Gradients, precise

Weigh = Callable[[Mapping[str, Gradients], Sequence[Tensor]], Mapping[str, float]]


@dataclass(frozen=True)
class Crossing:
    """One forward pass through the boundary.

    Attributes:
        tasks: whose copies come out, in order.
        weigh: who weighs their gradients on the way back: `(gradients by task, kept) -> weight by task`.
        kept: tensors that `weigh` needs, held as autograd holds what it saves.
    """

    tasks: tuple[str, ...]
    weigh: Weigh
    kept: tuple[Tensor, ...] = ()


def cross(crossing: Crossing, taps: Sequence[Tensor]) -> tuple[Tensor, dict[str, tuple[Tensor, ...]]]:
    """An anchor, and every task's copies of the taps.

    The anchor is a zero. Added to the total, it makes the node run on every rank, also on one where no task has a
    gradient, so that all collectives match.
    """
    anchor, *copies = Boundary.apply(crossing, *taps)
    count = len(taps)
    return anchor, {task: tuple(copies[k * count : (k + 1) * count]) for k, task in enumerate(crossing.tasks)}


class Boundary(torch.autograd.Function):
    """`taps` → anchor, then every tap for the first task, every tap for the second, …"""

    @staticmethod
    def forward(ctx: Any, crossing: Crossing, *taps: Tensor) -> tuple[Tensor, ...]:
        """Views, no copies of memory: writing into one in place is refused by autograd."""
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*crossing.kept)
        ctx.tasks, ctx.weigh = crossing.tasks, crossing.weigh
        ctx.blanks = [tap.new_empty(()).expand(tap.shape) for tap in taps]  # shape, dtype, device; no memory
        return (torch.zeros((), device=taps[0].device), *(tap.view_as(tap) for _ in crossing.tasks for tap in taps))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Tensor | None, *flat: Tensor | None) -> tuple[Tensor | None, ...]:
        """All tasks' gradients at once; `None` where a task does not read a tap."""
        count = len(ctx.blanks)
        gradients = {task: flat[k * count : (k + 1) * count] for k, task in enumerate(ctx.tasks)}
        weights = ctx.weigh(gradients, ctx.saved_tensors)
        ordered = [weights[task] for task in ctx.tasks]
        columns = zip(*gradients.values()) if gradients else [()] * count
        return (None, *(_weighted_sum(column, ordered, blank) for column, blank in zip(columns, ctx.blanks)))


def _weighted_sum(gradients: Sequence[Tensor | None], weights: Sequence[float], blank: Tensor) -> Tensor | None:
    """`Σ wₖ gₖ` over the tasks that read this tap."""
    read = [(g, w) for g, w in zip(gradients, weights) if g is not None]
    if not read:
        # Other ranks may have gradients here: the shared layers behind must run their collectives too.
        return blank.new_zeros(blank.shape) if num_ranks() > 1 else None
    total = precise(read[0][0]) * read[0][1]
    for gradient, weight in read[1:]:
        total.add_(precise(gradient), alpha=weight)
    return total.to(blank.dtype)
