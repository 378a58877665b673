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
from trunkline.engine.levels import Gradients, precise, weighted_sum
from trunkline.engine.verdict import Verdict

Weigh = Callable[[Mapping[str, Gradients], Sequence[Tensor], Tensor | None], Verdict]


@dataclass(frozen=True)
class Crossing:
    """One forward pass through the boundary.

    Attributes:
        tasks: whose copies come out, in order.
        weigh: who weighs their gradients on the way back: `(gradients by task, kept, factor) -> verdict`. The factor is
            the anchor's gradient: what was multiplied into the total, by a loss scaler for one, on every rank.
        kept: tensors that `weigh` needs, held as autograd holds what it saves.
        leaves: shared parameters that the verdict may have gradients for. The node is their neighbour in the graph, so
            that autograd adds to `.grad`, runs hooks and reduces over ranks as always.
    """

    tasks: tuple[str, ...]
    weigh: Weigh
    kept: tuple[Tensor, ...] = ()
    leaves: tuple[Tensor, ...] = ()


def cross(crossing: Crossing, taps: Sequence[Tensor]) -> tuple[Tensor, dict[str, tuple[Tensor, ...]]]:
    """An anchor, and every task's copies of the taps.

    The anchor is a zero. Added to the total, it makes the node run on every rank, also on one where no task has a
    gradient, so that all collectives match; its gradient is whatever the total was multiplied by.
    """
    anchor, *copies = Boundary.apply(crossing, len(taps), *taps, *crossing.leaves)
    count = len(taps)
    return anchor, {task: tuple(copies[k * count : (k + 1) * count]) for k, task in enumerate(crossing.tasks)}


class Boundary(torch.autograd.Function):
    """`taps` → anchor, then every tap for the first task, every tap for the second, …"""

    @staticmethod
    def forward(ctx: Any, crossing: Crossing, count: int, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Views, no copies of memory: writing into one in place is refused by autograd."""
        ctx.set_materialize_grads(False)
        taps = inputs[:count]
        ctx.save_for_backward(*crossing.kept)
        ctx.num_leaves = len(crossing.leaves)
        ctx.tasks, ctx.weigh = crossing.tasks, crossing.weigh
        ctx.blanks = [tap.new_empty(()).expand(tap.shape) for tap in taps]  # shape, dtype, device; no memory
        return (precise(taps[0].new_zeros(())), *(tap.view_as(tap) for _ in crossing.tasks for tap in taps))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, factor: Tensor | None, *flat: Tensor | None) -> tuple[Tensor | None, ...]:
        """All tasks' gradients at once; `None` where a task does not read a tap."""
        count = len(ctx.blanks)
        gradients = {task: flat[k * count : (k + 1) * count] for k, task in enumerate(ctx.tasks)}
        verdict = ctx.weigh(gradients, ctx.saved_tensors, factor)
        if verdict.combined is not None:
            return (None, None, *([None] * count), *verdict.combined)
        ordered = [verdict.weights[task] for task in ctx.tasks]
        columns = zip(*gradients.values()) if gradients else [()] * count
        sums = (_at_tap(column, ordered, blank) for column, blank in zip(columns, ctx.blanks))
        return (None, None, *sums, *([None] * ctx.num_leaves))


def _at_tap(gradients: Gradients, weights: Sequence[float], blank: Tensor) -> Tensor | None:
    """`Σ wₖ gₖ` over the tasks that read this tap."""
    total = weighted_sum(gradients, weights if gradients else (), blank.dtype)
    if total is None and num_ranks() > 1:
        # Other ranks may have gradients here: the shared layers behind must run their collectives too.
        return blank.new_zeros(blank.shape)
    return total
