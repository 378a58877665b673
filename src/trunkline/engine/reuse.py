"""Weights that serve for several steps, so that gradients need not be compared in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Reuse(nn.Module):
    """The weights of the last comparison, and how many steps they have served. Saved and restored by task name.

    Args:
        every: steps that one comparison serves, while the same tasks take part.
    """

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every = every
        self.weights: dict[str, float] = {}
        self.compared: tuple[str, ...] = ()
        self.gramian: Tensor | None = None
        self.age = 0

    def serves(self, tasks: Sequence[str]) -> bool:
        """Whether this step can do without a comparison; counts it if so. Other tasks than then need one of their own:
        weights of a larger set would make the step of a smaller one too short.
        """
        if self.age in (0, self.every) or set(tasks) != set(self.weights):
            return False
        self.age += 1
        return True

    def keep(self, weights: Mapping[str, float], compared: tuple[str, ...], gramian: Tensor) -> None:
        """After a comparison, which is the first step that its weights serve."""
        self.weights, self.compared, self.gramian, self.age = dict(weights), compared, gramian, 1

    def last(self) -> tuple[dict[str, float], tuple[str, ...], Tensor | None]:
        """What was kept; no Gramian after a checkpoint was loaded."""
        return self.weights, self.compared, self.gramian

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        destination[f"{prefix}age"] = torch.tensor(self.age)
        for task, weight in self.weights.items():
            destination[f"{prefix}weight.{task}"] = torch.tensor(weight, dtype=torch.float64)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *_: Any) -> None:
        named = f"{prefix}weight."
        self.weights = {key.removeprefix(named): float(w) for key, w in state_dict.items() if key.startswith(named)}
        self.age = int(state_dict.get(f"{prefix}age", 0))
        self.compared, self.gramian = (), None
