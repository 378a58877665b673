"""GradNorm: weights are learned so that tasks which have learned less have longer gradients.

Chen, Badrinarayanan, Lee and Rabinovich, "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep
Multitask Networks", ICML 2018, equations 1 and 2 and algorithm 1: with the weighted norms `G_t = w_t ‖g_t‖`, their mean
`Ḡ`, and the relative inverse training rates `r_t = L̃_t / mean(L̃)`, `L̃_t = L_t / L_t(0)`,

    L_grad = Σ_t |G_t - Ḡ r_t^α|,  the targets taken as constants

After each step on `w` all weights are scaled, so that their sum stays. The paper compares gradients at the last shared
layer: level `last`, the default where that is known. It leaves the optimiser of `w` open; here it is Adam (Kingma and
Ba 2015), for which the scale of the losses does not matter. The weights act on the shared part alone, as those of all
balancers from gradients.

A step in parts has the mean of its parts' gradients. The norm of a mean does not follow from the norms, so the mean of
these stands for it: never less, and the same where the parts agree. A part without a task counts as 0 for it. The
loss is that of the whole step, which each part is told.
"""

from __future__ import annotations

import math
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
EARLY, GREATEST = 10, 10.0  # steps, ratio: a first loss that an early one exceeds so far was an accident, and gives way


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

    A task's first loss, to which its later ones are compared, is that of the first step that it takes part in; in the
    nine after it, one ten times as large takes its place.
    """

    level: ClassVar[Literal["last"] | None] = "last"
    learned: Kept

    def __init__(self, alpha: float = 1.5, *, rate: float = 0.025) -> None:
        super().__init__()
        self.alpha, self.rate = alpha, rate

    def start(self, tasks: Sequence[str]) -> None:
        """Of each task: its weight, its first loss, Adam's moments and steps."""
        if not 0 <= self.alpha < float("inf"):
            raise ConfigError(f"balancer.alpha: {self.alpha} cannot be; 0 or a positive number can")
        if not 0 < self.rate < 1:
            raise ConfigError(f"balancer.rate: {self.rate} is out of range; give more than 0 and less than 1")
        self.learned = Kept(tasks, 1, [1.0, np.nan, 0.0, 0.0, 0.0])
        self.losses: dict[str, float] = {}  # of the part that is about to be weighed
        self._forget_parts()

    def begin_step(self) -> None:
        """With the weights that the last step made."""
        self.learned.begin_step()
        self._forget_parts()

    def watch(self, losses: Tensor, tasks: Sequence[str]) -> None:
        """What learning rates are told from.

        Raises:
            RunError: a loss is negative.
        """
        self.losses = dict(zip(tasks, losses.tolist(), strict=True))
        for task, loss in self.losses.items():
            if loss < 0:
                raise RunError(f"balancer: gradnorm needs positive losses, and that of task {task!r} is {loss:g}")

    def weigh(self, gramian: Tensor, tasks: Sequence[str]) -> Tensor:
        """Algorithm 1: the weights as they were when the step began; then they learn, from its parts so far."""
        norms = gramian.double().diagonal().clamp(min=0.0).sqrt().tolist()
        self.parts += 1
        for task, norm in zip(tasks, norms, strict=True):
            norm_so_far, _ = self.seen.get(task, (0.0, 0.0))
            self.seen[task] = norm_so_far + norm, self.losses.get(task, math.nan)
        self._learn(list(self.seen), np.array(list(self.seen.values())) / [self.parts, 1])
        return torch.from_numpy(self.learned.began(tasks)[:, 0]).to(gramian)

    def _learn(self, tasks: Sequence[str], seen: Array) -> None:
        learned, (norms, losses) = self.learned.began(tasks), seen.T
        weights, first, steps = learned[:, 0], learned[:, 1], learned[:, 4]
        losses = np.where(np.isfinite(losses), losses, np.nan)
        is_first = np.isnan(first) | ((steps < EARLY) & (losses > GREATEST * first))
        first = np.where(is_first & (losses > 0), losses, first)
        slopes = gradnorm_slopes(weights, norms, losses / first, alpha=self.alpha)
        taken, moments = adam_step(learned[:, 2:], slopes, rate=self.rate)
        new = scaled_to_sum(np.maximum(weights - taken, SMALLEST), weights.sum())
        self.learned.keep(tasks, np.concatenate([new[:, None], first[:, None], moments], 1))

    def _forget_parts(self) -> None:
        self.parts = 0
        self.seen: dict[str, tuple[float, float]] = {}  # norms in this step's parts so far, summed, and the step's loss
