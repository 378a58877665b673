"""DWA: more weight for the losses that fall more slowly.

Liu, Johns and Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019, equation 7:

    λ_k(t) = K exp(r_k(t-1) / T) / Σ_i exp(r_i(t-1) / T),   r_k(t-1) = L_k(t-1) / L_k(t-2)

with the mean losses `L_k` of the epochs before, and `r = 1` in the first two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from trunkline.balancers.contract import LossBalancer, check_options
from trunkline.balancers.state import StepCount, TaskState, masked_softmax


def dwa_weights(ratios: Tensor, temperature: float, takes_part: Tensor) -> Tensor:
    """`λ [T]`, which add up to the number of tasks that take part `[T]`, from the losses' ratios `[T]`."""
    return masked_softmax(ratios / temperature, takes_part) * takes_part.sum()


class DWA(LossBalancer):
    """Weights from the mean losses of the two windows before; a window is to steps what the paper's epoch is.

    A task that had no label, or a mean of zero or less, in one of them has the ratio 1. Losses that are not finite are
    left out of the means.

    Args:
        temperature: evens the weights out; 2 in the paper.
        window: steps over which losses are averaged. By default a two-hundredth of the run (the paper has 200 epochs),
            10 steps at least; 100 where nobody says how long the run is.
    """

    blind: ClassVar[bool] = True
    total: TaskState
    times: TaskState
    last: TaskState
    before_last: TaskState

    def __init__(self, temperature: float = 2.0, *, window: int | None = None) -> None:
        super().__init__()
        self.temperature, self.window = temperature, window

    def start(self, tasks: Sequence[str]) -> None:
        """No window yet."""
        check_options(self, "temperature", *([] if self.window is None else ["window"]))
        self.length = 100 if self.window is None else self.window
        self.count = StepCount()
        self.total, self.times = TaskState(tasks, 0.0), TaskState(tasks, 0.0)
        self.last, self.before_last = TaskState(tasks, 0.0), TaskState(tasks, 0.0)

    def expect_steps(self, steps: int) -> None:
        """A window that was left open is a share of the run."""
        self.length = max(10, steps // 200) if self.window is None else self.window

    def observe(self, losses: Tensor, tasks: Sequence[str]) -> None:
        """Add to the window; when it was full, begin the next."""
        if self.count.steps == self.length:
            everyone = self.total.tasks
            self.before_last.set(everyone, self.last.values)
            self.last.set(everyone, self.total.values / self.times.values.clamp(min=1))
            self.total.set(everyone, torch.zeros_like(self.total.values))
            self.times.set(everyone, torch.zeros_like(self.times.values))
            self.count.steps = 0
        self.count.steps += 1
        counts = losses.isfinite()
        self.total.set(tasks, self.total(tasks) + torch.where(counts, losses, 0.0))
        self.times.set(tasks, self.times(tasks) + counts)

    def weigh(self, losses: Tensor, tasks: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Equation 7."""
        last, before_last = self.last(tasks), self.before_last(tasks)
        known = (last > 0) & (before_last > 0)
        ratios = torch.where(known, last / torch.where(known, before_last, 1.0), 1.0)
        weights = dwa_weights(ratios.to(losses), self.temperature, ~losses.detach().isnan())
        return weights * losses, weights
