"""What all ranks agree on about a step: which tasks are present, and what their losses are divided by.

Shape legend: `T'` tasks present.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trunkline.engine.distributed import num_ranks, sum_counts, sum_over_ranks
from trunkline.engine.levels import numbers_like, precise


@dataclass(frozen=True)
class Step:
    """Labelled rows of each present task, and rows, over all ranks."""

    counts: Mapping[str, int]
    size: int

    @classmethod
    def agreed(cls, tasks: Sequence[str], counts: Sequence[int], size: int) -> Step:
        """From this rank's `counts` (one a task) and rows."""
        *summed, rows = sum_counts([*counts, size])
        return cls({task: n for task, n in zip(tasks, summed, strict=True) if n > 0}, rows)

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
        has all rows.

        Args:
            sums: `[T']` of this rank.
            weights: `[T']` of this rank.
            rates: see `Engine`. A loss so divided is `sum / weight · (labelled rows / expected labelled rows)`.
        """
        sums, weights = precise(sums), precise(weights)
        value, weight = sum_over_ranks(torch.stack([sums.detach(), weights.to(sums)]))
        scale = numbers_like([self._share_of_expected(task, rates) for task in self.present], sums)
        weighs = weight > 0
        scale = scale / torch.where(weighs, weight, torch.ones_like(weight))
        if num_ranks() == 1:
            return sums * scale, weighs
        part = sums * scale * num_ranks()
        return part + (value * scale - part).detach(), weighs

    def _share_of_expected(self, task: str, rates: Mapping[str, float]) -> float:
        return self.counts[task] / (rates[task] * self.size) if task in rates else 1.0
