"""Which task's step helps which other task: a step is tried, looked at, and taken back.

Fifty, Amid, Zhao, Yu, Anil, Finn, "Efficiently identifying task groupings for multi-task learning", NeurIPS 2021, eq.
1: the affinity of task i for task j is by how much a step on i alone lets the loss of j on the same rows fall,

    Z[i, j] = (L_j(θ) − L_j(θ − d_i)) / |L_j(θ)|.

`d_i` is what the gradient of i adds to the step that comes: AdamW's, with its rate, moments and clipping, where tasks
weigh what they are preferred by, whatever the balancer. What is private to i moves too, which moves no other task's
loss. To first order the loss of j falls by `⟨d_i, ∇L_j⟩`, which is told beside it (`slope`): it needs no further pass
through the network.

Shape legend: `T` tasks, `P` numbers that learn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trunkline.errors import ConfigError
from trunkline.training.stepper import Stepper
from trunkline.types import Batch

Table = dict[str, dict[str, float | None]]  # of one task for another; `None` where one of them is not there


class LookAhead:
    """Tries steps on single tasks. Weights, statistics, random numbers and the optimiser are then as they were.

    It takes `T` gradients and `T` passes more than a step, and holds a few times `[T, P]` numbers.

    Args:
        stepper: whose network and optimiser.

    Raises:
        ConfigError: there are several processes.
    """

    def __init__(self, stepper: Stepper) -> None:
        if stepper.fabric.world_size > 1:
            raise ConfigError("training.affinity: one process measures it; set training.devices: 1")
        self.stepper, self.tasks, self.rates = stepper, stepper.engine.tasks, stepper.engine.rates
        self.preferences = stepper.engine.preferences
        self.parameters: list[Tensor] = [p for p in stepper.network.parameters() if p.requires_grad]

    def measure(self, batches: Sequence[Batch]) -> dict[str, Table]:
        """`{"ahead": Z, "slope": its first order}` on the rows of all these batches together.

        A task takes part where something is labelled in these rows and its loss is not 0.
        """
        parts = [batch.to(self.stepper.fabric.device) for batch in batches]
        gradients, losses = self.gradients(parts)
        steps, size = self.steps(gradients, parts), losses.abs()
        there = (losses.isfinite() & (losses != 0)).tolist()
        ahead = [self._falls(step, parts, losses) / size if here else size for step, here in zip(steps, there)]
        return {
            "ahead": self._table(torch.stack(ahead), there),
            "slope": self._table(steps @ gradients.T / size, there),
        }

    def steps(self, gradients: Tensor, parts: Sequence[Batch]) -> Tensor:
        """`d`, `[T, P]`: what is taken off the parameters for each task; 0 for one without a label.

        With what momentum and decay take off, their sum is the step that the balancer `equal` takes.
        """
        weighed = gradients.nan_to_num() * self._shares(parts)[:, None]
        whole = weighed.sum(0)
        if (most := self.stepper.settings.clip) is not None:
            share = (most / (whole.norm() + 1e-6)).clamp(max=1.0)
            weighed, whole = weighed * share, whole * share
        return weighed * self._rates(whole)

    def gradients(self, parts: Sequence[Batch]) -> tuple[Tensor, Tensor]:
        """Of each task's mean loss, `[T, P]`, and these losses, `[T]`; NaN for a task without a label."""
        network, device = self.stepper.network, self.stepper.fabric.device
        sums = weights = torch.zeros(len(self.tasks), device=device)
        gradients = torch.zeros(len(self.tasks), sum(p.numel() for p in self.parameters), device=device)
        with self.stepper.undisturbed():
            for batch in parts:
                with self.stepper.fabric.autocast():
                    own, weight = network.losses(batch, network.share(batch))
                for row, one in zip(gradients, own, strict=True):
                    self._add_gradient(row, one)
                sums, weights = sums + own.detach(), weights + weight.detach()
        return gradients.div_(weights[:, None]), sums / weights

    def _add_gradient(self, row: Tensor, total: Tensor) -> None:
        """To `[P]`, where anything is reached; of rows without any label nothing is."""
        if not total.requires_grad:
            return
        slopes = torch.autograd.grad(total, self.parameters, retain_graph=True, allow_unused=True)
        for place, slope in zip(row.split([p.numel() for p in self.parameters]), slopes, strict=True):
            if slope is not None:
                place += slope.flatten()

    def _shares(self, parts: Sequence[Batch]) -> Tensor:
        """What each task's mean loss is multiplied by: its preference, and where the engine divides by what is labelled
        as a rule, what is labelled here over that, `[T]`.
        """
        size = sum(batch.size for batch in parts)
        counts = [sum(each) for each in zip(*(batch.counts for batch in parts), strict=True)]
        known = zip(self.tasks, counts, strict=True)
        shares = [
            self.preferences[task] * (count / (self.rates[task] * size) if task in self.rates else 1.0)
            for task, count in known
        ]
        return torch.tensor(shares, device=self.stepper.fabric.device)

    def _rates(self, whole: Tensor) -> Tensor:
        """By what AdamW multiplies a gradient in the step that it comes in, `[P]`; 0 where none has come before.

        Args:
            whole: all tasks' gradients together, clipped, `[P]`.
        """
        groups = {p: group for group in self.stepper.optimiser.param_groups for p in group["params"]}
        sizes = [p.numel() for p in self.parameters]
        return torch.cat([self._rate(p, groups[p], own) for p, own in zip(self.parameters, whole.split(sizes))])

    def _rate(self, parameter: Tensor, group: Mapping[str, Any], gradient: Tensor) -> Tensor:
        state = self.stepper.optimiser.state.get(parameter)
        if not state:
            return torch.zeros_like(gradient)
        first, second = group["betas"]
        square = second * state["exp_avg_sq"].flatten() + (1 - second) * gradient.square()
        mean = (square / (1 - second ** (state["step"] + 1))).sqrt() + group["eps"]
        return group["lr"] * (1 - first) / (1 - first ** (state["step"] + 1)) / mean

    @torch.no_grad()
    def _falls(self, step: Tensor, parts: Sequence[Batch], losses: Tensor) -> Tensor:
        """By how much the losses are less after this step `[P]`, `[T]`."""
        kept = [p.clone() for p in self.parameters]
        moves = step.split([p.numel() for p in self.parameters])
        torch._foreach_sub_(self.parameters, [m.view_as(p).to(p) for p, m in zip(self.parameters, moves, strict=True)])
        sums, weights = self.stepper.losses(parts)
        torch._foreach_copy_(self.parameters, kept)
        return losses - sums / weights

    def _table(self, values: Tensor, there: Sequence[bool]) -> Table:
        numbers = values.tolist()
        return {
            one: {other: numbers[i][j] if there[i] and there[j] else None for j, other in enumerate(self.tasks)}
            for i, one in enumerate(self.tasks)
        }
