"""STCH: the smooth maximum of the losses.

Lin, Zhang, Yang, Liu, Wang and Zhang, "Smooth Tchebycheff Scalarization for Multi-Objective Optimization", ICML 2024,
definition of `g_μ^STCH`:

    total = μ log Σ_t exp(λ_t (f_t - z_t) / μ)

For multi-task learning the paper's code takes `f_t = log((L_t - z_t) / (n_t - z_t))` and `λ_t = 1`, multiplies by the
number of tasks, and finds the nadir `n_t` in a warm-up with log-sum, as the mean loss of its last epoch:

    total = T μ log Σ_t ((L_t - z_t) / (n_t - z_t))^(1/μ)

The ideal `z_t` is a lower bound of the loss: 0, as in that code, unless it is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from trunkline.balancers.contract import LossBalancer, check_options
from trunkline.balancers.state import StepCount, TaskState, numbers_like
from trunkline.errors import ConfigError, check_names

WARMUP, WINDOW = 4 / 200, 1 / 200  # of a run, as in the paper's code
LEAST = 10  # steps
UNKNOWN = 20_000  # steps of a run that does not say


def smooth_maximum(objectives: Tensor, smoothness: float) -> Tensor:
    """`μ log Σ_t exp(f_t / μ)`, `[...]`, from objectives `[..., T]`: between the greatest and `μ log T` more."""
    return smoothness * (objectives / smoothness).logsumexp(-1)


def stch_weights(objectives: Tensor, smoothness: float) -> Tensor:
    """Derivatives of the smooth maximum by each objective, both `[..., T]`."""
    return (objectives / smoothness).softmax(-1)


class STCH(LossBalancer):
    """After a warm-up with log-sum, the smooth maximum of what is left of each loss.

    Args:
        smoothness: `μ`; the nearer to 0, the more the worst task has all the weight.
        warmup: steps with log-sum alone. The paper's code has 4 of 200 epochs: by default as large a share of the run,
            10 steps at least; 400 steps where nobody says how long the run is.
        window: steps of log-sum after these, over which the nadir is averaged; the paper's code has one epoch, and the
            default follows in the same way. A task that had no label in them has its first loss as nadir.
        ideals: lower bounds of losses by task; 0 where none is named.
        nadirs: of all tasks, where they are known, as losses above their ideals; they are not looked for then.
    """

    positive: ClassVar[bool] = True
    bounds: ClassVar[str | None] = "ideals"
    nadir_sums: TaskState
    nadir_times: TaskState

    def __init__(
        self,
        smoothness: float = 1.0,
        *,
        warmup: int | None = None,
        window: int | None = None,
        ideals: Mapping[str, float] | None = None,
        nadirs: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.smoothness, self.warmup, self.window, self.ideals, self.nadirs = smoothness, warmup, window, ideals, nadirs

    def start(self, tasks: Sequence[str]) -> None:
        """No nadir but those that are known."""
        check_options(self, "smoothness", *([] if self.window is None else ["window"]))
        check_names(self.ideals or (), tasks, "balancer.ideals")
        check_names(self.nadirs or (), tasks, "balancer.nadirs")
        if self.nadirs is not None:
            for task in tasks:
                self._check_nadir(task, self.nadirs)
        self.count = StepCount()
        self._plan(UNKNOWN)
        self.nadir_sums, self.nadir_times = TaskState(tasks, 0.0), TaskState(tasks, 0.0)

    def expect_steps(self, steps: int) -> None:
        """Lengths that were left open are shares of the run."""
        self._plan(steps)

    def _plan(self, steps: int) -> None:
        self.begins = max(LEAST, round(WARMUP * steps)) if self.warmup is None else self.warmup
        self.looks = max(LEAST, round(WINDOW * steps)) if self.window is None else self.window

    def observe(self, losses: Tensor, tasks: Sequence[str]) -> None:
        """Average the gaps of the window."""
        if self.nadirs is not None:
            return
        self.count.steps += 1
        if self.count.steps <= self.begins:
            return
        times = self.nadir_times(tasks)
        counts = (times == 0) | (self.count.steps <= self.begins + self.looks)
        gaps = self.gaps(losses, tasks).to(times)
        self.nadir_sums.set(tasks, self.nadir_sums(tasks) + torch.where(counts, gaps, 0.0))
        self.nadir_times.set(tasks, times + counts.to(times))

    def weigh(self, losses: Tensor, tasks: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Log-sum, then the smooth maximum."""
        gaps = self.gaps(losses, tasks)
        if self.nadirs is None and self.count.steps <= self.begins + self.looks:
            return gaps.log(), 1 / gaps.detach()
        objectives = (gaps.detach() / self.depths(tasks).to(losses)).log()
        weights = len(tasks) * stch_weights(objectives, self.smoothness) / gaps.detach()
        # Equal shares of the total, each with the derivative by its own loss.
        return smooth_maximum(objectives, self.smoothness) + weights * (gaps - gaps.detach()), weights

    def depths(self, tasks: Sequence[str]) -> Tensor:
        """`n - z`, `[T']`."""
        if self.nadirs is not None:
            ideals = self.ideals or {}
            return numbers_like([self.nadirs[task] - ideals.get(task, 0.0) for task in tasks], self.nadir_sums.values)
        return self.nadir_sums(tasks) / self.nadir_times(tasks).clamp(min=1)

    def _check_nadir(self, task: str, nadirs: Mapping[str, float]) -> None:
        ideal = (self.ideals or {}).get(task, 0.0)
        if task not in nadirs:
            raise ConfigError(f"balancer.nadirs: task {task!r} is missing; name all tasks, or none to have them found")
        if not nadirs[task] > ideal:
            raise ConfigError(f"balancer.nadirs.{task}: {nadirs[task]} is not above the ideal of this task, {ideal}")
