"""What a balancer keeps from step to step: numbers by task *name*, and how many steps there have been.

A checkpoint with other tasks, or the same in another order, gives each task its own number back, under strict loading
too; a task it does not know keeps its first value. One that knows none of them lacks the key of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def index_like(index: Sequence[int], like: Tensor) -> Tensor:
    """An index for `like`, without waiting for the device; a list in brackets would."""
    return torch.tensor(index, dtype=torch.int64).to(like.device, non_blocking=True)


def numbers_like(numbers: Sequence[float], like: Tensor) -> Tensor:
    """A few numbers of the host where `like` is, in its precision, without waiting for the device."""
    return torch.tensor(numbers, dtype=like.dtype).to(like.device, non_blocking=True)


def masked_softmax(logits: Tensor, takes_part: Tensor) -> Tensor:
    """Of the tasks that take part `[T]` bool; 0 for the others, also where none does. `[T]`."""
    shares = logits.masked_fill(~takes_part, -torch.inf).softmax(0)
    return shares.masked_fill(~takes_part, 0.0)


class _ByTask(nn.Module):
    """One number per task in `values [T]`."""

    values: Tensor

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)

    def forward(self, tasks: Sequence[str]) -> Tensor:
        """`[len(tasks)]`."""
        return self.values if tuple(tasks) == self.tasks else self.values[self.index(tasks)]

    def index(self, tasks: Sequence[str]) -> Tensor:
        """Where these tasks' numbers are, `[len(tasks)]`."""
        return index_like([self.tasks.index(task) for task in tasks], self.values)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        for i, task in enumerate(self.tasks):
            destination[f"{prefix}{task}"] = self.values[i] if keep_vars else self.values[i].detach().clone()

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
        saved = {task: state_dict[f"{prefix}{task}"] for task in self.tasks if f"{prefix}{task}" in state_dict}
        if not saved:
            missing_keys += [f"{prefix}{task}" for task in self.tasks]
        for task, value in saved.items():
            if value.numel() == 1:
                with torch.no_grad():
                    self.values[self.tasks.index(task)] = value.reshape(())
            else:
                error_msgs.append(f"{prefix}{task}: one number is wanted, the checkpoint has {tuple(value.shape)}")


class TaskVector(_ByTask):
    """One number per task that the run's optimiser learns."""

    values: nn.Parameter

    def __init__(self, tasks: Sequence[str], value: float) -> None:
        super().__init__(tasks)
        self.values = nn.Parameter(torch.full((len(self.tasks),), value))


class TaskState(_ByTask):
    """One number per task that the balancer sets itself."""

    def __init__(self, tasks: Sequence[str], value: float) -> None:
        super().__init__(tasks)
        self.register_buffer("values", torch.full((len(self.tasks),), value))

    def set(self, tasks: Sequence[str], values: Tensor) -> None:
        """New numbers `[len(tasks)]` of these tasks."""
        changed = self.values.clone()  # what was read before stays as it was: a graph may hold it
        changed[self.index(tasks)] = values.detach().to(changed)
        self.values = changed


class StepCount(nn.Module):
    """How many steps there have been: a plain number, so that asking never waits for a device."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        destination[f"{prefix}steps"] = torch.tensor(self.steps)

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
        if f"{prefix}steps" in state_dict:
            self.steps = int(state_dict[f"{prefix}steps"])
        else:
            missing_keys.append(f"{prefix}steps")
