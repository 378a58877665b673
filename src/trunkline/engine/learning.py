"""When balancers learn: once a step, whatever the number of parts, and where one asks for it once more after it.

Shape legend: `T'` tasks present in a step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from trunkline.balancers import LossBalancer, check_positive, index_like
from trunkline.engine.step import Step, Whole


class Steps:
    """Tells a step from one more part of the last one. What is looked at in between, without gradients, is no step."""

    def __init__(self) -> None:
        self._begun: Whole | None = None  # of which a part was begun last
        self._known: dict[str, Whole | None] = {}  # by who asks

    def begin(self, whole: Whole | None) -> None:
        """A step, or a part of one."""
        self._begun = whole

    def is_new(self, who: str = "balancer") -> bool:
        """Whether this is the first time that they ask in this step."""
        known, self._known[who] = self._known.get(who), self._begun
        return self._begun is None or self._begun is not known


class Learning:
    """Shows a loss balancer the steps' losses.

    Args:
        balancer: that learns.
        steps: as they begin.
    """

    def __init__(self, balancer: LossBalancer, steps: Steps) -> None:
        self.balancer, self.steps = balancer, steps
        # For its losses after the optimiser's step; without tasks where the step showed none.
        self._waits: tuple[Step, tuple[str, ...]] | None = None

    @property
    def waits(self) -> bool:
        """Whether the last step's losses are to be shown once more."""
        return self._waits is not None and self._waits[1] != ()

    def forget(self) -> None:
        """Wait for no losses any longer."""
        self._waits = None

    def show_nothing(self, step: Step) -> None:
        """A step without any loss: looking at it again is allowed, and teaches nothing."""
        if self._is_new_step():
            self._show(None, (), step)

    def terms(self, losses: Tensor, weighs: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Terms and weights, `[T']`: 0 for tasks whose labels weigh nothing, where these are kept from the balancer.

        Waits for the device once, or not at all (see `LossBalancer`).

        Args:
            losses: `[T']`.
            weighs: `[T']` bool, whose labels weigh anything.
            step: that they are of.
        """
        is_new, tasks = self._is_new_step(), step.present
        if self.balancer.separate or self.balancer.blind:
            losses = torch.where(weighs, losses, torch.nan) if self.balancer.blind else losses
            if is_new:
                self._show(losses.detach(), tasks, step)
            return self.balancer.weigh(losses, tasks)
        found = self._found(losses, weighs, tasks)
        taught = losses
        if len(found) < len(tasks):
            index = index_like([tasks.index(task) for task in found], losses)
            taught = losses[index]
        if torch.is_grad_enabled():  # what is only looked at may be perfect
            check_positive(found, self.balancer)
        if is_new and found and all(map(math.isfinite, found.values())):
            self._show(taught.detach(), tuple(found), step)
        elif is_new:
            self._show(None, (), step)
        nothing = torch.zeros_like(losses)
        if not found:
            return losses * 0, nothing
        terms, weights = self.balancer.weigh(taught, tuple(found))
        if len(found) == len(tasks):
            return terms, weights
        return nothing.index_copy(0, index, terms.to(nothing)), nothing.index_copy(0, index, weights.to(nothing))

    def after_step(self, sums: Tensor, weights: Tensor, tasks: Sequence[str], rates: Mapping[str, float]) -> None:
        """The same step's losses once more.

        Args:
            sums: `[T]` of this rank, in all parts.
            weights: `[T]`.
            tasks: all of them.
            rates: see `Engine`.

        Raises:
            ValueError: no step waits for it, or a task's labels weighed something in the step and do no longer.
        """
        if self._waits is None:
            raise ValueError("no step waits for its losses: call this once after each optimiser step, if at all")
        (step, shown), self._waits = self._waits, None
        if not shown:
            return
        place = index_like([list(tasks).index(task) for task in step.present], sums)
        losses, weighs = replace(step, parts=1, own=None).losses(sums.detach()[place], weights[place], rates)
        found = self._found(losses, weighs, step.present)
        if missing := [task for task in shown if task not in found]:
            raise ValueError(f"the step had losses of {missing}; after it they are missing")
        found = {task: found[task] for task in shown}
        if all(map(math.isfinite, found.values())):
            check_positive(found, self.balancer)
            self.balancer.after_step(losses[index_like([step.present.index(task) for task in shown], losses)], shown)

    def _is_new_step(self) -> bool:
        return torch.is_grad_enabled() and self.steps.is_new()

    def _found(self, losses: Tensor, weighs: Tensor, tasks: Sequence[str]) -> dict[str, float]:
        """How far the losses of the tasks whose labels weigh anything are above their lower bounds; waits once."""
        gaps = self.balancer.gaps(losses.detach(), tasks)
        gaps_and_flags = torch.stack([gaps, weighs.to(gaps)]).tolist()
        return {task: gap for task, gap, is_there in zip(tasks, *gaps_and_flags, strict=True) if is_there}

    def _show(self, losses: Tensor | None, tasks: tuple[str, ...], step: Step) -> None:
        """A step; without losses where there are none, or one that is no number.

        That shows in the gradients and is over; in what a balancer keeps it would stay for good.
        """
        self._check_not_waiting()
        if losses is not None:
            self.balancer.observe(losses, tasks)
        if self.balancer.needs_losses_after_step:
            self._waits = step, tasks

    def _check_not_waiting(self) -> None:
        if self.waits:
            raise ValueError(
                f"{type(self.balancer).__name__} looks at the losses again after each optimiser step: "
                "call engine.after_step(losses) then, with the losses of the same rows, "
                "or engine.after_step(None) where the step was not taken"
            )
