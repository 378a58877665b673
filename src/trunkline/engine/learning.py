"""When a loss balancer learns: once a step, whatever the number of parts, and where it asks for it once more after it.

Shape legend: `T'` tasks present in a step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from trunkline.balancers import LossBalancer, index_like
from trunkline.engine.step import Step, Whole


class Learning:
    """Shows a loss balancer the steps' losses.

    Args:
        balancer: that learns.
    """

    def __init__(self, balancer: LossBalancer) -> None:
        self.balancer = balancer
        self._whole: Whole | None = None  # of which a part was begun last
        self._is_new_step = True
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
        if self._is_new_step and torch.is_grad_enabled() and self.balancer.needs_losses_after_step:
            self._check_not_waiting()
            self._waits = step, ()

    def begin(self, whole: Whole | None) -> None:
        """A step, or a part of one."""
        self._is_new_step, self._whole = whole is None or whole is not self._whole, whole

    def terms(self, losses: Tensor, weighs: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Terms and weights, `[T']`: 0 for tasks whose labels weigh nothing, where these are kept from the balancer.

        Args:
            losses: `[T']`.
            weighs: `[T']` bool, whose labels weigh anything.
            step: that they are of.
        """
        if self.balancer.separate or bool(weighs.all()):
            return self._weighed(losses, step.present, step)
        index = weighs.nonzero().flatten()
        nothing = torch.zeros_like(losses)
        if not len(index):
            self.show_nothing(step)
            return losses * 0, nothing
        terms, weights = self._weighed(losses[index], tuple(step.present[k] for k in index.tolist()), step)
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
        index = index_like([step.present.index(task) for task in shown], losses)
        if not bool(weighs[index].all()):
            missing = [task for task, is_there in zip(shown, weighs[index].tolist(), strict=True) if not is_there]
            raise ValueError(f"the step had losses of {missing}; after it they are missing")
        if bool(losses[index].isfinite().all()):
            self.balancer.after_step(losses[index], shown)

    def _weighed(self, losses: Tensor, tasks: tuple[str, ...], step: Step) -> tuple[Tensor, Tensor]:
        if self._is_new_step and torch.is_grad_enabled():
            self._observe(losses.detach(), tasks, step)
        return self.balancer.weigh(losses, tasks)

    def _observe(self, losses: Tensor, tasks: tuple[str, ...], step: Step) -> None:
        # What is no number shows in the gradients and is over; in what a balancer keeps it would stay for good.
        if not (self.balancer.separate or bool(losses.isfinite().all())):
            self.show_nothing(step)
            return
        self._check_not_waiting()
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
