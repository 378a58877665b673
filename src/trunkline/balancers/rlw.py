"""RLW: random weights in every step.

Lin, Ye, Zhang and Tsang, "Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task Learning", TMLR
2022, section 3: `λ̃ ~ N(0, I)`, `total = Σ_t softmax(λ̃)_t L_t`.

A task's number follows from the seed, the step and the task's name alone: no other task, absent or new, and no order
changes it, every process draws the same, and a resumed run goes on with the same numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from statistics import NormalDist
from typing import ClassVar

from torch import Tensor

from trunkline.balancers.contract import LossBalancer
from trunkline.balancers.state import StepCount, masked_softmax, numbers_like

_NORMAL = NormalDist()


def normal_number(seed: int, step: int, task: str) -> float:
    """A standard normal number of its own for each seed, step and task, by 64 bits of a hash."""
    digest = hashlib.blake2b(f"{seed} {step} {task}".encode(), digest_size=8).digest()
    # The middle of one of 2**52 equal parts of (0, 1): never 0 or 1, whose quantiles are infinite.
    return _NORMAL.inv_cdf((int.from_bytes(digest) // 2**12 + 0.5) / 2**52)


class RLW(LossBalancer):
    """Weights that add up to 1, drawn anew each step.

    Args:
        seed: of the numbers.
    """

    blind: ClassVar[bool] = True

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    def start(self, tasks: Sequence[str]) -> None:
        """No step yet."""
        self.count = StepCount()

    def observe(self, losses: Tensor, tasks: Sequence[str]) -> None:
        """One step more: other numbers."""
        self.count.steps += 1

    def weigh(self, losses: Tensor, tasks: Sequence[str]) -> tuple[Tensor, Tensor]:
        """With this step's numbers."""
        drawn = [normal_number(self.seed, self.count.steps, task) for task in tasks]
        weights = masked_softmax(numbers_like(drawn, losses), ~losses.detach().isnan())
        return weights * losses, weights
