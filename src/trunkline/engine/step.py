"""What all ranks agree on about a step: which tasks are present, and what their losses are divided by.

Shape legend: `T'` tasks present.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from trunkline.balancers import index_like, numbers_like
from trunkline.engine.distributed import num_ranks, sum_counts, sum_over_ranks
from trunkline.engine.levels import precise
from trunkline.errors import check_names


@dataclass(frozen=True)
class Whole:
    """A step of this rank whose rows go through the network in parts, one after the other.

    Attributes:
        counts: labelled rows of each task, in task order, in all parts.
        size: rows in all parts.
        parts: how many there are.
        sums: `[T]`, each task's summed loss in all parts, without a graph.
        weights: `[T]`, how much is labelled in all parts.
    """

    counts: Sequence[int]
    size: int
    parts: int
    sums: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Step:
    """Labelled rows of each present task, and rows, over all ranks.

    Attributes:
        counts: of each present task.
        size: rows.
        parts: in which this rank's rows go through the network.
        own: `[2, T']`, this rank's sums and weights over all parts, where there are several.
        here: labelled rows of each task in this part, on this rank.
    """

    counts: Mapping[str, int]
    size: int
    parts: int = 1
    own: Tensor | None = None
    here: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, tasks: Sequence[str], counts: Sequence[int], size: int, whole: Whole | None) -> Step:
        """From this rank's `counts` (one a task) and rows, of a step or of one part of a `whole`."""
        step = cls.agreed(tasks, counts, size) if whole is None else cls.of_whole(tasks, whole)
        return replace(step, here=dict(zip(tasks, counts, strict=True)))

    @classmethod
    def agreed(cls, tasks: Sequence[str], counts: Sequence[int], size: int) -> Step:
        """From this rank's `counts` (one a task) and rows."""
        *summed, rows = sum_counts([*counts, size])
        return cls({task: n for task, n in zip(tasks, summed, strict=True) if n > 0}, rows)

    @classmethod
    def of_whole(cls, tasks: Sequence[str], whole: Whole) -> Step:
        """From what this rank knows of a step in parts."""
        step = cls.agreed(tasks, whole.counts, whole.size)
        index = index_like([k for k, task in enumerate(tasks) if task in step.counts], whole.sums)
        own = torch.stack([precise(whole.sums), precise(whole.weights)])[:, index]
        return replace(step, parts=whole.parts, own=own)

    @property
    def present(self) -> tuple[str, ...]:
        """The tasks with a labelled row on any rank."""
        return tuple(self.counts)

    def losses(self, sums: Tensor, weights: Tensor, rates: Mapping[str, float]) -> tuple[Tensor, Tensor]:
        """Each present task's loss over all ranks `[T']`, and whether anything weighs in it `[T']` bool.

        A task may be labelled and still weigh nothing in a step: a text without words, a picture without objects.
        Only the device knows, so it is not among the absent ones, and its loss here is 0.

        The gradient of a loss is this rank's part, times the ranks.

        So the mean over ranks of the gradients of any function of these losses is the gradient of one process that
        has all rows. Parts of a rank's rows are like ranks of their own.

        Args:
            sums: `[T']` of this rank.
            weights: `[T']` of this rank.
            rates: see `Engine`. A loss so divided is `sum / weight · (labelled rows / expected labelled rows)`.
        """
        sums, weights = precise(sums), precise(weights)
        own = torch.stack([sums.detach(), weights.to(sums)]) if self.own is None else self.own.to(sums)
        value, weight = sum_over_ranks(own)
        scale = numbers_like([self._share_of_expected(task, rates) for task in self.present], sums)
        weighs = weight > 0
        scale = scale / torch.where(weighs, weight, torch.ones_like(weight))
        shares = num_ranks() * self.parts
        if shares == 1:
            return sums * scale, weighs
        part = sums * scale * shares
        return part + (value * scale - part).detach(), weighs

    def weighs_here(self, weights: Tensor) -> Tensor:
        """`[T']` bool: whether anything weighs in a task in this part of the step, on any rank.

        Args:
            weights: `[T']` of this part, on this rank.
        """
        return sum_over_ranks(precise(weights)) > 0

    def _share_of_expected(self, task: str, rates: Mapping[str, float]) -> float:
        return self.counts[task] / (rates[task] * self.size) if task in rates else 1.0


def check_scalars(losses: Mapping[str, Tensor], tasks: Sequence[str]) -> None:
    """Every loss is one number, of a task that is known.

    Raises:
        ValueError: one is not.
    """
    check_names(losses, tasks)
    if any(loss.dim() > 0 for loss in losses.values()):
        shapes = {task: tuple(loss.shape) for task, loss in losses.items()}
        raise ValueError(f"losses must be scalars, got shapes {shapes}")


def as_sums(losses: Mapping[str, Tensor], tasks: Sequence[str], nothing: Tensor) -> tuple[Tensor, Tensor]:
    """Mean losses → `(sums [T], weights [T])`, as if each had one label; `nothing` where there is none."""
    sums = torch.stack([precise(losses.get(task, nothing)) for task in tasks])
    return sums, numbers_like([float(task in losses) for task in tasks], sums)
