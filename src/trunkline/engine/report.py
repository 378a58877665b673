"""What a step did, for the log."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from trunkline.gramian import conflict_share, cosines


@dataclass
class Record:
    """One step, its tensors still where they were made.

    Attributes:
        tasks: present in the step, `T'`.
        losses: `[T']`, as differentiated.
        weights: of each task's loss, `[T']`; or by name, of each task's gradient in the shared part.
        compared: the tasks that had a gradient at the boundary.
        gramian: of those, NaN where a pair is unknown.
    """

    tasks: tuple[str, ...]
    losses: Tensor
    weights: Tensor | Mapping[str, float] = field(default_factory=dict)
    compared: tuple[str, ...] = ()
    gramian: Tensor | None = None

    def describe(self) -> dict[str, Any]:
        """Plain values; waits for the device."""
        weights = dict(zip(self.tasks, self.weights.tolist())) if isinstance(self.weights, Tensor) else self.weights
        return {
            "losses": dict(zip(self.tasks, self.losses.tolist())),
            "weights": {task: weights.get(task) for task in self.tasks},
            "cosines": None if self.gramian is None else self._cosines(self.gramian),
            "conflicts": None if self.gramian is None else _known(conflict_share(self.gramian).item()),
        }

    def _cosines(self, gramian: Tensor) -> dict[str, dict[str, float | None]]:
        rows = cosines(gramian).tolist()
        return {task: {o: _known(c) for o, c in zip(self.compared, row)} for task, row in zip(self.compared, rows)}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
