"""FAMO: weights by which all losses fall at the same relative rate.

Liu, Feng, Stone and Liu, "FAMO: Fast Adaptive Multitask Optimization", NeurIPS 2023, algorithm 1. With logits `ξ`,
`z = softmax(ξ)` and `D = L - b`, where `b` is a lower bound of each loss (0 unless it is known):

    total = c Σ_t z_t log D_t,   c = 1 / Σ_t (z_t / D_t), without gradient     so the weights c z / D add up to 1
    ξ ← ξ - β (δ + γ ξ),         δ = J_zᵀ (log D(θ) - log D(θ'))               θ' after the optimiser's step

`J_z` is the Jacobian of the softmax. The step on `ξ` is Adam's, with `γ` added to its gradient, as in algorithm 2 and
the paper's code. `D(θ')` is taken on the same rows. That costs one forward pass more a step, so `FAMOLagged` puts the
next step's losses in its place. Where every step has all rows the two are the same (so does the paper's code on its
toy); elsewhere the lagged one takes how hard the next rows are for progress, and is another method.

The paper's code adds 1e-8 to `D`, so a loss of zero has the weight of all others. Here a loss must be above its bound,
or the run ends with an error; its scale changes nothing. A loss that does reach zero (a hinge, rows that are learned by
heart) wants a bound a little below it in `minima`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from trunkline.balancers.contract import LossBalancer, check_options
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


class Logits(nn.Module):
    """`ξ` of each task, equal at first, with what Adam keeps of it.

    Args:
        tasks: names.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.values, self.times = TaskState(tasks, 0.0), TaskState(tasks, 0.0)
        self.first, self.second = TaskState(tasks, 0.0), TaskState(tasks, 0.0)

    def forward(self, tasks: Sequence[str]) -> Tensor:
        """`[len(tasks)]`."""
        return self.values(tasks)

    def learn(self, gradient: Tensor, tasks: Sequence[str], lr: float, learns: Tensor) -> None:
        """A step of Adam for those of the tasks that learn, `[len(tasks)]` bool."""
        states = self.values, self.first, self.second, self.times
        old = [state(tasks) for state in states]
        times = old[-1] + 1
        new = *adam_step(old[0], gradient, old[1], old[2], times, lr), times
        for state, before, after in zip(states, old, new, strict=True):
            state.set(tasks, torch.where(learns, after, before))


class FAMO(LossBalancer):
    """The paper's: looks at the losses of the same rows again after each optimiser step.

    Args:
        decay: `γ`, pulls the logits back to equal ones; 1e-3 in algorithm 2, 1e-5 to 1e-2 in the paper's code.
        lr: `β`, of the logits.
        minima: lower bounds of losses by task; 0 where none is named.
    """

    positive: ClassVar[bool] = True
    bounds: ClassVar[str | None] = "minima"
    needs_losses_after_step: ClassVar[bool] = True
    logits: Logits

    def __init__(self, decay: float = 1e-3, *, lr: float = 0.025, minima: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.decay, self.lr, self.minima = decay, lr, minima

    def start(self, tasks: Sequence[str]) -> None:
        """Equal logits."""
        check_options(self, "lr")
        check_names(self.minima or (), tasks, "balancer.minima")
        self.logits = Logits(tasks)
        self.before: Tensor | None = None  # of the step that is under way; checkpoints lie between steps

    def observe(self, losses: Tensor, tasks: Sequence[str]) -> None:
        """The losses before."""
        self.before = losses

    def weigh(self, losses: Tensor, tasks: Sequence[str]) -> tuple[Tensor, Tensor]:
        """With the logits of the present tasks."""
        gaps, logits = self.gaps(losses, tasks), self.logits(tasks).to(losses)
        return famo_terms(gaps, logits), famo_weights(gaps.detach(), logits)

    def after_step(self, losses: Tensor, tasks: Sequence[str]) -> None:
        """The losses after."""
        assert self.before is not None
        logits = self.logits(tasks)
        before, after = (self.gaps(each, tasks).to(logits) for each in (self.before, losses))
        gradient = famo_gradient(before, after, logits) + self.decay * logits
        self.logits.learn(gradient, tasks, self.lr, torch.ones_like(logits, dtype=torch.bool))
        self.before = None


class FAMOLagged(LossBalancer):
    """Takes the next step's losses, of other rows, for the losses after this step: no second look, no paper's equation.

    A task's progress is known once it is present again, and counts by the step: a rare task has made that of many.

    Args:
        decay: as of `FAMO`.
        lr: likewise.
        minima: likewise.
    """

    positive: ClassVar[bool] = True
    bounds: ClassVar[str | None] = "minima"
    logits: Logits
    previous: TaskState
    seen: TaskState

    def __init__(self, decay: float = 1e-3, *, lr: float = 0.025, minima: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.decay, self.lr, self.minima = decay, lr, minima

    def start(self, tasks: Sequence[str]) -> None:
        """Equal logits, and no step before."""
        check_options(self, "lr")
        check_names(self.minima or (), tasks, "balancer.minima")
        self.logits, self.count = Logits(tasks), StepCount()
        self.previous, self.seen = TaskState(tasks, float("nan")), TaskState(tasks, 0.0)

    def observe(self, losses: Tensor, tasks: Sequence[str]) -> None:
        """The losses after the last step, and before this one."""
        self.count.steps += 1
        logits, previous = self.logits(tasks), self.previous(tasks)
        met = ~previous.isnan()
        before, after = (self.gaps(each, tasks).to(logits) for each in (previous, losses))
        among = logits.masked_fill(~met, -torch.inf)  # those that were met before have all the shares
        gradient = famo_gradient(torch.where(met, before, after), after, among, self.count.steps - self.seen(tasks))
        self.logits.learn(gradient + self.decay * logits, tasks, self.lr, met)
        self.previous.set(tasks, losses)
        self.seen.set(tasks, torch.full_like(losses, self.count.steps))

    def weigh(self, losses: Tensor, tasks: Sequence[str]) -> tuple[Tensor, Tensor]:
        """With the logits of the present tasks."""
        gaps, logits = self.gaps(losses, tasks), self.logits(tasks).to(losses)
        return famo_terms(gaps, logits), famo_weights(gaps.detach(), logits)
