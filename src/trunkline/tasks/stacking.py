"""What kinds of tasks that are stacked are made of: targets, losses, layers and metrics of `G` tasks at once.

Shape legend: `n` rows, `G` tasks, `D` width, `K` numbers said about one task, `V` views (1 or `G`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torchmetrics
from torch import Tensor, nn

from trunkline.tasks.contract import Scores, Target
from trunkline.types import State


class Collected(torchmetrics.Metric):
    """Keeps all outputs and targets and scores them at the end (exact over ranks).

    Args:
        states: one a task.
    """

    full_state_update = False
    values: list[Tensor]
    outputs: list[Tensor]
    flags: list[Tensor]

    def __init__(self, states: Sequence[State]) -> None:
        super().__init__()
        self.states = tuple(states)
        for name in ("outputs", "values", "flags"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, output: Tensor, target: Mapping[str, Tensor]) -> None:
        """`output [n, G, …]`, `target["values"] [n, G, …]`, `target["flags"] [n, G]`."""
        self.outputs.append(output.detach().float())
        self.values.append(target["values"])
        self.flags.append(target["flags"])

    def compute(self) -> list[Scores | None]:
        if len(self.outputs) == 0:
            return [None] * len(self.states)
        outputs, values, flags = (
            torch.cat(s) if isinstance(s, list) else s for s in (self.outputs, self.values, self.flags)
        )
        return self.scores(outputs, values, flags)

    @abstractmethod
    def scores(self, outputs: Tensor, values: Tensor, flags: Tensor) -> list[Scores | None]:
        """Of every task, from all rows seen; `None` where a task has no label."""


class CollectedMetric(Collected):
    """Scores one task after the other.

    Args:
        score: `(output [m, …], target [m, …], state) -> scores`, called per task with its labelled rows.
        states: one a task.
    """

    def __init__(self, score: Any, states: Sequence[State]) -> None:
        super().__init__(states)
        self.score = score

    def scores(self, outputs: Tensor, values: Tensor, flags: Tensor) -> list[Scores | None]:
        """Task by task."""
        return [
            self.score(outputs[rows, g], values[rows, g], state) if bool(rows.any()) else None
            for g, (state, rows) in enumerate(zip(self.states, flags.T))
        ]


def stack_items(items: Sequence[Sequence[Any]], dtype: torch.dtype) -> Target:
    """`items[row][task]` of numbers or equally long lists → `{"values", "flags"}`, 0 where there is no label."""
    filler = next(
        (0 if not isinstance(c, (list, tuple)) else [0] * len(c) for r in items for c in r if c is not None), 0
    )
    columns = list(zip(*items))  # a few long lists are made faster than many short ones
    flags = [torch.tensor([cell is not None for cell in column], dtype=torch.bool) for column in columns]
    values = [torch.tensor([filler if cell is None else cell for cell in column], dtype=dtype) for column in columns]
    return {"values": torch.stack(values, 1), "flags": torch.stack(flags, 1)}


def masked_sum(loss: Tensor, flags: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Loss per cell and flags, both `[n, G]` → `(sum [G], weight [G])`; nothing flows through a `False`.

    Args:
        loss: of each cell.
        flags: whether it counts.
        weights: how much it counts, `[n, G]`; 1 by default.
    """
    if weights is None:
        return loss.masked_fill(~flags, 0.0).sum(0), flags.sum(0).to(loss.dtype)
    weights = weights.to(loss.dtype).masked_fill(~flags, 0.0)
    return (loss.masked_fill(~flags, 0.0) * weights).sum(0), weights.sum(0)


class StackedLinear(nn.Module):
    """`G` linear layers in one product: `x [V, n, D]` (`V` is 1 or `G`) → `[n, G, K]`."""

    def __init__(self, tasks: int, width: int, outputs: int) -> None:
        super().__init__()
        self.tasks, self.outputs = tasks, outputs
        bound = width**-0.5
        self.weight = nn.Parameter(torch.empty(tasks, outputs, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(tasks, outputs))

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] == 1:
            flat = nn.functional.linear(x[0], self.weight.flatten(0, 1), self.bias.flatten())
            return flat.unflatten(1, (self.tasks, self.outputs))
        return torch.baddbmm(self.bias.unsqueeze(1), x, self.weight.transpose(1, 2)).transpose(0, 1)
