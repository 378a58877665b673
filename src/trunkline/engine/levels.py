"""Where the tasks' gradients are compared: at the features, at the last shared layers, or at all that is shared.

A comparison belongs to one forward pass. When the tasks' gradients arrive at the boundary, it gives their Gramian over
the *global* batch: losses are averaged over ranks (as DistributedDataParallel does), so a sum over ranks is divided by
their number once per gradient.

Shape legend: `T` tasks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

Level = Literal["losses", "features", "last", "sketch", "trunk", "trunk-lean"]
LEVELS: tuple[Level, ...] = get_args(Level)

Gradients = Sequence[Tensor | None]  # of one task: one entry a tap, None where it does not read that tap


def precise(tensor: Tensor) -> Tensor:
    """At least float32: sums of half precision products lose the small tasks."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def weighted_sum(gradients: Gradients, weights: Sequence[float], dtype: torch.dtype) -> Tensor | None:
    """`Σ wₖ gₖ` over the tasks that have a gradient; `None` where none has."""
    read = [(g, w) for g, w in zip(gradients, weights, strict=True) if g is not None]
    if not read:
        return None
    total = precise(read[0][0]) * read[0][1]
    for gradient, weight in read[1:]:
        total.add_(precise(gradient), alpha=weight)
    return total.to(dtype)


class Comparison(ABC):
    """Compares the tasks' gradients of one forward pass.

    Attributes:
        kept: tensors it needs in the backward pass. The boundary holds them as autograd holds what it saves, and
            hands them back.
        leaves: shared parameters to which it gives the combined gradients itself. Nothing goes through the taps then.
    """

    kept: tuple[Tensor, ...] = ()
    leaves: tuple[Tensor, ...] = ()

    @abstractmethod
    def gramian(
        self, gradients: Sequence[Gradients], tasks: Sequence[int], kept: Sequence[Tensor], blank: Tensor
    ) -> Tensor:
        """Inner products of the tasks' gradients, `[T, T]`, NaN where a pair cannot be compared.

        Args:
            gradients: of each task compared.
            tasks: which of the boundary's tasks these are.
            kept: as kept.
            blank: `[T, T]` zeros, on the device and in the precision wanted.
        """

    def combined(self, weights: Sequence[float]) -> Gradients | None:
        """`Σ wₖ gₖ` of each of `leaves`, in the order of `gramian`'s tasks; `None` lets it go through the taps."""
        return None
