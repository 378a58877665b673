"""Weights that serve for several steps, so that gradients need not be compared in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trunkline.engine.learning import Steps


class Reuse(nn.Module):
    """The weights of the last comparison, and how many steps they have served. Saved and restored by task name.

    Args:
        every: steps that one comparison serves, while the same tasks take part.
        steps: as they begin. Of a step in parts with the same tasks all are compared, or none.
    """

    def __init__(self, every: int, steps: Steps) -> None:
        super().__init__()
        self.every, self.steps = every, steps
        self.weights: dict[str, float] = {}
        self.gramian = torch.zeros(0, 0, dtype=torch.float64)
        self.age = 0
        self._is_due = True

    def serves(self, tasks: Sequence[str]) -> bool:
        """Whether this step, or part of one, can do without a comparison; counts the step if so.

        Other tasks than then need one of their own: weights made for many would make the step of a few too short.
        """
        if is_new := self.steps.is_new("reuse"):
            self._is_due = self.age == 0 or self.age >= self.every
        self._is_due |= set(tasks) != set(self.weights)
        if self._is_due:
            return False
        self.age += is_new
        return True

    def keep(self, weights: Mapping[str, float], gramian: Tensor) -> None:
        """After a comparison, which is the first step that its weights serve."""
        self.weights, self.gramian, self.age = dict(weights), gramian, 1

    def last(self) -> tuple[dict[str, float], tuple[str, ...], Tensor]:
        """Weights, tasks and Gramian as kept."""
        return self.weights, tuple(self.weights), self.gramian

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        destination[f"{prefix}age"] = torch.tensor(self.age)
        for place, (task, weight) in enumerate(self.weights.items()):
            numbers = torch.tensor([place, weight], dtype=torch.float64)
            destination[f"{prefix}task.{task}"] = torch.cat([numbers, self.gramian[place]])

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *_: Any) -> None:
        named = f"{prefix}task."
        saved = {key.removeprefix(named): row for key, row in state_dict.items() if key.startswith(named)}
        saved = dict(sorted(saved.items(), key=lambda item: float(item[1][0])))
        self.weights = {task: float(row[1]) for task, row in saved.items()}
        self.gramian = torch.stack([row[2:].cpu() for row in saved.values()]) if saved else self.gramian.new_zeros(0, 0)
        self.age = int(state_dict.get(f"{prefix}age", 0))
