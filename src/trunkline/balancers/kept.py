"""What balancers keep on the host, saved and restored by the tasks' *names*.

A checkpoint with other tasks, or the same in another order, gives each its own numbers back; what it does not know
keeps its first value. One that knows none of them lacks the values of each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


class Kept(nn.Module):
    """Numbers in an array whose first axes are tasks.

    Args:
        tasks: names.
        axes: how many axes are tasks.
        first: what each task, or pair of tasks, begins with.
    """

    def __init__(self, tasks: Sequence[str], axes: int, first: Sequence[float] | float) -> None:
        super().__init__()
        self.tasks, self.axes = tuple(tasks), axes
        self.values = np.empty((len(self.tasks),) * axes + np.shape(first))
        self.values[:] = first
        self.begin_step()

    def begin_step(self) -> None:
        """What is kept now is what all parts of a step begin with."""
        self.before, self.moved, self.parts = self.values.copy(), np.zeros_like(self.values), 0

    def of(self, tasks: Sequence[str]) -> NDArray[np.float64]:
        """Those of the tasks given, a copy."""
        values: NDArray[np.float64] = self.values[self._index(tasks)].copy()
        return values

    def began(self, tasks: Sequence[str]) -> NDArray[np.float64]:
        """As `of`, when the step began."""
        values: NDArray[np.float64] = self.before[self._index(tasks)].copy()
        return values

    def keep_mean(self, tasks: Sequence[str], values: NDArray[np.float64]) -> None:
        """What one part of the step makes of it; the mean over the parts is kept, of which one without a task is for
        its numbers as they were."""
        index = self._index(tasks)
        self.moved[index] += values - self.before[index]
        self.parts += 1
        self.values = self.before + self.moved / self.parts

    def keep(self, tasks: Sequence[str], values: NDArray[np.float64]) -> None:
        """Put `values` in the place of what was there."""
        self.values[self._index(tasks)] = values

    def _index(self, tasks: Sequence[str]) -> tuple[Any, ...]:
        if tuple(tasks) == self.tasks:
            return (slice(None),) * self.axes
        place = {task: k for k, task in enumerate(self.tasks)}
        return _every([place[task] for task in tasks], self.axes)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        destination[f"{prefix}values"] = torch.from_numpy(self.values.copy())
        destination[f"{prefix}tasks"] = torch.tensor(list(json.dumps(self.tasks).encode()), dtype=torch.uint8)

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        missing = [key for key in (f"{prefix}values", f"{prefix}tasks") if key not in state_dict]
        missing_keys += missing
        if missing:
            return
        saved = json.loads(bytes(state_dict[f"{prefix}tasks"].tolist()))
        both = [task for task in saved if task in self.tasks]
        if not both:
            missing_keys += [f"{prefix}values of {task}" for task in self.tasks]
            return
        index = _every([saved.index(task) for task in both], self.axes)
        self.keep(both, state_dict[f"{prefix}values"].cpu().numpy()[index])
        self.begin_step()


def _every(index: Sequence[int], axes: int) -> tuple[NDArray[np.intp], ...]:
    return np.ix_(*[np.asarray(index, dtype=np.intp)] * axes)
