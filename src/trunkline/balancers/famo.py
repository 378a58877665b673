"""FAMO: weights by which all losses fall at the same relative rate.

Liu, Feng, Stone and Liu, "FAMO: Fast Adaptive Multitask Optimization", NeurIPS 2023, algorithm 1. With logits `ξ`,
`z = softmax(ξ)` and `D = L - b`, where `b` is a lower bound of each loss (0 unless it is known):

    total = c Σ_t z_t log D_t,   c = 1 / Σ_t (z_t / D_t), without gradient     so the weights c z / D add up to 1
    ξ ← ξ - β (δ + γ ξ),         δ = J_zᵀ (log D(θ) - log D(θ'))               θ' after the optimiser's step

`J_z` is the Jacobian of the softmax. The step on `ξ` is Adam's, with `γ` added to its gradient, as in the paper's code.
`D(θ')` is taken on the same rows. That costs one forward pass more a step, so `FAMOLagged` puts the next step's losses
in its place. Where every step has all rows the two are the same (so does the paper's code on its toy); elsewhere the
lagged one takes how hard the next rows are for progress, and is another method.

The paper's code adds 1e-8 to `D`; here a loss must be above its bound, and its scale changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from trunkline.balancers.contract import LossBalancer, check_options, check_positive
from trunkline.balancers.state import StepCount, TaskState
from trunkline.errors import check_names

BETAS, EPS = (0.9, 0.999), 1e-8  # Adam's own


def famo_weights(gaps: Tensor, logits: Tensor) -> Tensor:
    """`c z_t / D_t`, `[..., T]`, from gaps `D` and logits, by logarithms: tiny gaps are no trouble."""
    return (logits - gaps.log()).softmax(-1)


def famo_terms(gaps: Tensor, logits: Tensor) -> Tensor:
    """`c z_t log D_t`, `[..., T]`; differentiable by the gaps."""
    shares = logits.log_softmax(-1)
    log_c = -(shares - gaps.detach().log()).logsumexp(-1, keepdim=True)
    return (shares + log_c).exp() * gaps.log()


def famo_gradient(before: Tensor, after: Tensor, logits: Tensor, steps: Tensor | int = 1) -> Tensor:
    """`δ = J_zᵀ (log D - log D')`, `[..., T]`: what the logits go against; a step's, where there were several."""
    shares = logits.softmax(-1)
    progress = (before.log() - after.log()) / steps
    return shares * (progress - (shares * progress).sum(-1, keepdim=True))


def adam_step(
    values: Tensor, gradient: Tensor, first: Tensor, second: Tensor, times: Tensor | int, lr: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`(values, first, second)` after a step of Adam, the `times`-th for each number."""
    first = BETAS[0] * first + (1 - BETAS[0]) * gradient
    second = BETAS[1] * second + (1 - BETAS[1]) * gradient.square()
    root = (second / (1 - BETAS[1] ** times)).sqrt()
    return values - lr * first / (1 - BETAS[0] ** times) / (root + EPS), first, second


class _FAMO(LossBalancer):
    """What both have in common.

    Args:
        decay: `γ`, pulls the logits back to equal ones; the paper's code has 1e-5 to 1e-2.
        lr: `β`, of the logits.
        minima: lower bounds of losses by task; 0 where none is named.
    """

    logits: TaskState
    first: TaskState
    second: TaskState
    times: TaskState

    def __init__(self, decay: float = 1e-3, *, lr: float = 0.025, minima: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.decay, self.lr, self.minima = decay, lr, minima

    def start(self, tasks: Sequence[str]) -> None:
        """Equal logits."""
        check_options(self, "lr")
        check_names(self.minima or (), tasks, "balancer.minima")
        self.logits, self.times = TaskState(tasks, 0.0), TaskState(tasks, 0.0)
        self.first, self.second = TaskState(tasks, 0.0), TaskState(tasks, 0.0)

    def weigh(self, losses: Tensor, tasks: Sequence[str]) -> tuple[Tensor, Tensor]:
        """With the logits of the present tasks.

        Raises:
            RunError: a loss is not above its lower bound.
        """
        gaps, logits = self.gaps(losses, tasks), self.logits(tasks).to(losses)
        check_positive(gaps, tasks, self, above=self.minima, option="minima")
        return famo_terms(gaps, logits), famo_weights(gaps.detach(), logits)

    def gaps(self, losses: Tensor, tasks: Sequence[str]) -> Tensor:
        """`D [T']`."""
        if not self.minima:
            return losses
        minima = [float(self.minima.get(task, 0.0)) for task in tasks]
        return losses - torch.tensor(minima, dtype=torch.float64).to(losses)

    def learn(self, before: Tensor, after: Tensor, tasks: Sequence[str], steps: Tensor | int = 1) -> None:
        """Move the logits of these tasks, from their losses before and after so many optimiser steps."""
        logits = self.logits(tasks)
        before, after = (self.gaps(losses, tasks).to(logits) for losses in (before, after))
        gradient = famo_gradient(before, after, logits, steps) + self.decay * logits
        times = self.times(tasks) + 1
        logits, first, second = adam_step(logits, gradient, self.first(tasks), self.second(tasks), times, self.lr)
        for state, values in ((self.logits, logits), (self.first, first), (self.second, second), (self.times, times)):
            state.set(tasks, values)


class FAMO(_FAMO):
    """The paper's: looks at the losses of the same rows again after each optimiser step."""

    needs_losses_after_step: ClassVar[bool] = True

    def start(self, tasks: Sequence[str]) -> None:
        """Equal logits."""
        super().start(tasks)
        self.before: Tensor | None = None  # of the step that is under way; checkpoints lie between steps

    def observe(self, losses: Tensor, tasks: Sequence[str]) -> None:
        """The losses before."""
        self.before = losses

    def after_step(self, losses: Tensor, tasks: Sequence[str]) -> None:
        """The losses after."""
        assert self.before is not None
        check_positive(self.gaps(losses, tasks), tasks, self, above=self.minima, option="minima")
        self.learn(self.before, losses, tasks)
        self.before = None


class FAMOLagged(_FAMO):
    """Takes the next step's losses, of other rows, for the losses after this step: no second look, no paper's equation.

    A task's progress is known once it is present again, and counts by the step: a rare task has made that of many.
    """

    previous: TaskState
    seen: TaskState

    def start(self, tasks: Sequence[str]) -> None:
        """Equal logits, and no step before."""
        super().start(tasks)
        self.count = StepCount()
        self.previous, self.seen = TaskState(tasks, float("nan")), TaskState(tasks, 0.0)

    def observe(self, losses: Tensor, tasks: Sequence[str]) -> None:
        """The losses after the last step, and before this one."""
        check_positive(self.gaps(losses, tasks), tasks, self, above=self.minima, option="minima")
        self.count.steps += 1
        known = (~self.previous(tasks).isnan()).tolist()
        met = [task for task, is_known in zip(tasks, known, strict=True) if is_known]
        if met:
            place = torch.tensor([k for k, is_known in enumerate(known) if is_known]).to(losses.device)
            self.learn(self.previous(met), losses[place], met, self.count.steps - self.seen(met))
        self.previous.set(tasks, losses)
        self.seen.set(tasks, torch.full_like(losses, self.count.steps))
