"""Random orders in which every task looks at the others.

A task's order follows from the seed, the step and the tasks' *names* alone, so that it does not depend on who else is
known or present, nor on the order in which tasks are given; all processes have the same. A checkpoint keeps the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from torch import nn

from trunkline.balancers.state import StepCount

Keys = NDArray[np.uint64]


class RandomOrders(nn.Module):
    """Drawn anew at each step; parts of one have the same.

    Args:
        seed: of all orders.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed, self.count = seed, StepCount()
        self._salts: dict[str, int] = {}

    def begin_step(self) -> None:
        """Other orders from now on."""
        self.count.steps += 1

    def draw(self, tasks: Sequence[str]) -> NDArray[np.intp]:
        """`[T, T - 1]`: row `i` holds the tasks other than `i`, each order as likely as any other."""
        if len(tasks) <= 2:  # nothing to choose
            return np.arange(len(tasks))[::-1, None][:, : len(tasks) - 1]
        own = np.array([self._salt(task) for task in tasks], dtype=np.uint64)
        first = scramble(own + scramble(np.array([self.count.steps], dtype=np.uint64)))
        keys = scramble(first[:, None] + own)
        np.fill_diagonal(keys, np.iinfo(np.uint64).max)
        return keys.argsort(axis=1)[:, :-1]

    def _salt(self, task: str) -> int:
        if task not in self._salts:
            digest = blake2b(f"{self.seed} {task}".encode(), digest_size=8).digest()
            self._salts[task] = int.from_bytes(digest, "little")
        return self._salts[task]


def scramble(numbers: Keys) -> Keys:
    """A bijection of 64-bit numbers that looks random: the finalizer of SplitMix64 (Steele, Lea and Flood 2014)."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
