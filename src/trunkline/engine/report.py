"""What a step did, for the log."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from trunkline.balancers import index_like
from trunkline.engine.distributed import sum_counts
from trunkline.gramian import conflict_share, cosines


@dataclass
class Record:
    """One step, its tensors still where they were made. It is written as the step goes on.

    Attributes:
        tasks: labelled in the step, `T'`.
        losses: `[T']`, as differentiated.
        weighs: `[T']` bool, whose labels weigh anything: the others take no part.
        weighs_here: `[T']` bool, the same of one part of the step: there is no gradient of the others in it to compare.
        here: labelled rows of each task in this part, on this rank.
        weights: of each task's loss, `[T']`; or by name, of each task's gradient in the shared part.
        compared: the tasks that had a gradient at the boundary.
        gramian: of those, NaN where a pair is unknown.
        parts: in which the step goes through the network. Of each the total is so much smaller.
    """

    tasks: tuple[str, ...] = ()
    losses: Tensor = field(default_factory=lambda: torch.zeros(0))
    weighs: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))
    weighs_here: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))
    here: Mapping[str, int] = field(default_factory=dict)
    weights: Tensor | Mapping[str, float] = field(default_factory=dict)
    compared: tuple[str, ...] = ()
    gramian: Tensor | None = None
    parts: int = 1

    def told(self, tasks: Sequence[str], like: Tensor) -> Tensor:
        """These tasks' losses, and which of their labels weigh anything in this part, `[len(tasks), 2]` like `like`; no
        waiting.

        A gradient that came from elsewhere than the total has neither loss (NaN) nor labels, and counts.
        """
        known = torch.stack([self.losses.to(like), self.weighs_here.to(like)], 1)
        if tuple(tasks) == self.tasks:
            return known
        place = {task: k for k, task in enumerate(self.tasks)}
        known = torch.cat([known, like.new_tensor([[float("nan"), 1.0]])])
        return known[index_like([place.get(task, len(place)) for task in tasks], like)]

    def taking_part(self, tasks: Sequence[str]) -> list[str]:
        """Those of some tasks with a gradient that have labels in this part, on any rank; a zero of another is none to
        compare. One whose gradient came from elsewhere than the total takes part.
        """
        if self.parts == 1:
            return list(tasks)
        counts = sum_counts([self.here.get(task, 0) for task in tasks])
        return [task for task, count in zip(tasks, counts) if count > 0 or task not in self.tasks]

    def describe(self) -> dict[str, Any]:
        """Plain values; waits for the device."""
        weights = dict(zip(self.tasks, self.weights.tolist())) if isinstance(self.weights, Tensor) else self.weights
        weighs = dict(zip(self.tasks, self.weighs.tolist()))
        losses = zip(self.tasks, self.losses.tolist())
        return {
            "losses": {task: loss if weighs[task] else None for task, loss in losses},
            "weights": {task: weights.get(task) if weighs[task] else None for task in self.tasks},
            "norms": None if self.gramian is None else self._norms(self.gramian),
            "cosines": None if self.gramian is None else self._cosines(self.gramian),
            "conflicts": None if self.gramian is None else _known(conflict_share(self.gramian).item()),
        }

    def _norms(self, gramian: Tensor) -> dict[str, float]:
        return dict(zip(self.compared, gramian.diagonal().clamp(min=0).sqrt().tolist()))

    def _cosines(self, gramian: Tensor) -> dict[str, dict[str, float | None]]:
        rows = cosines(gramian).tolist()
        return {task: {o: _known(c) for o, c in zip(self.compared, row)} for task, row in zip(self.compared, rows)}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
