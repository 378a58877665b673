"""GradNorm: weights are learned so that tasks which have learned less have longer gradients.

Chen, Badrinarayanan, Lee and Rabinovich, "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep
Multitask Networks", ICML 2018, equations 1 and 2 and algorithm 1: with the weighted norms `G_t = w_t ‖g_t‖`, their mean
`Ḡ`, and the relative inverse training rates `r_t = L̃_t / mean(L̃)`, `L̃_t = L_t / L_t(0)`,

    L_grad = Σ_t |G_t - Ḡ r_t^α|,  the targets taken as constants

After each step on `w` all weights are scaled, so that their sum stays. The paper compares gradients at the last shared
layer: level `last`, the default where that is known. It leaves the optimiser of `w` open; here it is Adam (Kingma and
Ba 2015), for which the scale of the losses does not matter. The weights act on the shared part alone, as those of all
balancers from gradients.

The norm of a sum of gradients does not follow from those of the summands. So of a step in parts, whose gradients add
up, the sum of the parts' norms stands for the norm: never less, and the same where the parts agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from trunkline.balancers.contract import GramianBalancer
from trunkline.balancers.kept import Kept
from trunkline.balancers.units import Array
from trunkline.errors import ConfigError, RunError

DECAYS = (0.9, 0.999)  # of Adam's moments
SMALLEST = 1e-3  # weight, since an optimiser might go below 0
GREATEST = 10.0  # ratio: a first loss that a later one exceeds so far was an accident, and the later takes its place


def gradnorm_slopes(weights: Array, norms: Array, ratios: Array, *, alpha: float) -> Array:
    """`∂L_grad / ∂w_t`, `[T]`.

    Args:
        weights: `[T]`.
        norms: `[T]`, `‖g_t‖`.
        ratios: `[T]`, `L_t / L_t(0)`; NaN where unknown, which counts as the mean.
        alpha: how strongly tasks are held to one rate.
    """
    known = ~np.isnan(ratios)
    mean = ratios[known].mean() if known.any() else 0.0
    rates = np.where(known, ratios, 1.0) / (mean if mean > 0 else 1.0)
    rates = np.where(known & (mean > 0), rates, 1.0)
    weighted = weights * norms
    slopes: Array = np.sign(weighted - weighted.mean() * rates**alpha) * norms
    return slopes


def adam_step(moments: Array, slopes: Array, *, rate: float) -> tuple[Array, Array]:
    """What to take from each weight `[T]`, and the new `moments [T, 3]`: first, second, number of steps."""
    first, second = DECAYS
    m = first * moments[:, 0] + (1 - first) * slopes
    v = second * moments[:, 1] + (1 - second) * slopes**2
    steps = moments[:, 2] + 1
    length = np.sqrt(v / (1 - second**steps))
    taken = np.divide(rate * m / (1 - first**steps), length, out=np.zeros_like(m), where=length > 0)
    return taken, np.stack([m, v, steps], 1)


def scaled_to_sum(weights: Array, total: float) -> Array:
    """Weights `[T]` times one number, but for those that would fall below the smallest, and are that."""
    is_held = np.zeros(len(weights), dtype=bool)
    while True:
        factor = (total - SMALLEST * is_held.sum()) / weights[~is_held].sum()
        scaled = np.where(is_held, SMALLEST, weights * factor)
        falls = scaled < SMALLEST * (1 - 1e-12)
        if not falls.any():
            return scaled
        is_held |= falls


class GradNorm(GramianBalancer):
    """Tasks that have learned less get longer gradients.

    All weights start at 1. A task that is absent keeps its weight.

    Args:
        alpha: how strongly tasks are held to one rate of training; 0 holds all gradients to one length.
        rate: learning rate of the weights.
    """

    level: ClassVar[Literal["last"] | None] = "last"
    learned: Kept

    def __init__(self, alpha: float = 1.5, *, rate: float = 0.025) -> None:
        super().__init__()
        self.alpha, self.rate = alpha, rate

    def start(self, tasks: Sequence[str]) -> None:
        """Of each task: its weight, its first loss, its last one, Adam's moments and steps."""
        if not 0 <= self.alpha < float("inf"):
            raise ConfigError(f"balancer.alpha: {self.alpha} cannot be; 0 or a positive number can")
        if not 0 < self.rate < 1:
            raise ConfigError(f"balancer.rate: {self.rate} is out of range; give more than 0 and less than 1")
        self.learned = Kept(tasks, 1, [1.0, np.nan, np.nan, 0.0, 0.0, 0.0])
        self.norms: dict[str, float] = {}  # of this step, so far

    def begin_step(self) -> None:
        """With the weights that the last step made."""
        self.learned.begin_step()
        self.norms = {}

    def watch(self, losses: Tensor, tasks: Sequence[str]) -> None:
        """The first loss of a task above 0 is what its later ones are divided by, if they are comparable at all.

        Raises:
            RunError: a loss is negative.
        """
        learned, now = self.learned.of(tasks), losses.numpy()
        for task, loss in zip(tasks, now.tolist()):
            if loss < 0:
                raise RunError(f"balancer: gradnorm needs positive losses, and that of task {task!r} is {loss:g}")
        learned[:, 2] = np.where(np.isfinite(now), now, np.nan)
        is_first = np.isfinite(now) & (now > 0) & ~(now <= GREATEST * learned[:, 1])
        learned[:, 1] = np.where(is_first, learned[:, 2], learned[:, 1])
        self.learned.keep(tasks, learned)

    def weigh(self, gramian: Tensor, tasks: Sequence[str]) -> Tensor:
        """Algorithm 1: the weights as they were when the step began; then they learn, from its parts so far."""
        norms = gramian.double().diagonal().clamp(min=0.0).sqrt()
        for task, norm in zip(tasks, norms.tolist(), strict=True):
            self.norms[task] = self.norms.get(task, 0.0) + norm
        self._learn(list(self.norms), np.array(list(self.norms.values())))
        return torch.from_numpy(self.learned.began(tasks)[:, 0]).to(gramian)

    def _learn(self, tasks: Sequence[str], norms: Array) -> None:
        learned, losses = self.learned.began(tasks), self.learned.of(tasks)[:, 1:3]
        weights = learned[:, 0]
        slopes = gradnorm_slopes(weights, norms, losses[:, 1] / losses[:, 0], alpha=self.alpha)
        taken, moments = adam_step(learned[:, 3:], slopes, rate=self.rate)
        new = scaled_to_sum(np.maximum(weights - taken, SMALLEST), weights.sum())
        self.learned.keep(tasks, np.concatenate([new[:, None], losses, moments], 1))
