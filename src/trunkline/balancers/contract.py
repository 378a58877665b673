"""What a balancer is. `trunkline.testing.check_balancer` holds any implementation to this.

Two kinds, by what they read. A loss balancer makes one total from the losses; it is differentiated as the paper
writes it, heads included. A Gramian balancer makes weights from the tasks' inner products; they act on the shared
part, and each head gets its own task's plain gradient. Either sees only the tasks present in the step: an absent
task has no entry, never a zero.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class LossBalancer(nn.Module, ABC):
    """Losses → one total."""

    def __init__(self) -> None:  # without arguments: the constructor's signature is the config schema
        super().__init__()

    def start(self, tasks: Sequence[str]) -> None:
        """Make whatever is kept per task; called once, with every task's name. Keeps nothing by default."""

    @abstractmethod
    def weigh(self, losses: Tensor, tasks: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Combine the losses of the present tasks.

        Args:
            losses: `[T']`, differentiable, at least one; 0 where a task's labels weigh nothing (a text without words),
                whose term the engine leaves out.
            tasks: names, in the order of `losses`.

        Returns:
            `(terms, weights)`: `terms [T']`, whose sum is the total to differentiate, and the effective weight of
            each loss `[T']`, detached, for the log.
        """


class GramianBalancer(nn.Module, ABC):
    """Inner products of the tasks' gradients → weights."""

    def __init__(self) -> None:  # without arguments: the constructor's signature is the config schema
        super().__init__()

    def start(self, tasks: Sequence[str]) -> None:
        """Make whatever is kept per task; called once, with every task's name. Keeps nothing by default."""

    def watch(self, losses: Tensor, tasks: Sequence[str]) -> None:
        """Told, before `weigh`, of the losses whose gradients are weighed. Heeds them not by default.

        Args:
            losses: `[T']`, float64, on the CPU; NaN where a gradient came from elsewhere.
            tasks: names, in the order of `losses`.
        """

    @abstractmethod
    def weigh(self, gramian: Tensor, tasks: Sequence[str]) -> Tensor:
        """Weights `[T']` such that the shared update is the weighted sum of the tasks' gradients.

        Args:
            gramian: `[T', T']`, symmetric positive semi-definite, float64, on the CPU, finite: pairs that the engine
                could not see hold 0 here, and the engine reports them as unknown.
            tasks: names, in the order of `gramian`.
        """


Balancer = LossBalancer | GramianBalancer


def index_like(index: Sequence[int], like: Tensor) -> Tensor:
    """An index for `like`, without waiting for the device; a list in brackets would."""
    return torch.tensor(index, dtype=torch.int64).to(like.device, non_blocking=True)


class TaskVector(nn.Module):
    """One learned number per task, saved and restored by task *name*.

    A checkpoint with other tasks, or the same in another order, gives each task its own number back, under strict
    loading too; a task it does not know keeps its first value. One that knows none of them lacks the key of each.
    """

    def __init__(self, tasks: Sequence[str], value: float) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.values = nn.Parameter(torch.full((len(self.tasks),), value))

    def forward(self, tasks: Sequence[str]) -> Tensor:
        """`[len(tasks)]`, differentiable."""
        if tuple(tasks) == self.tasks:
            return self.values
        return self.values[index_like([self.tasks.index(task) for task in tasks], self.values)]

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
