"""GradNorm: weights are learned so that tasks which have learned less have longer gradients.

Chen, Badrinarayanan, Lee and Rabinovich, "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep
Multitask Networks", ICML 2018, equations 1 and 2 and algorithm 1: with the weighted norms `G_t = w_t ‖g_t‖`, their mean
`Ḡ`, and the relative inverse training rates `r_t = L̃_t / mean(L̃)`, `L̃_t = L_t / L_t(0)`,

    L_grad = Σ_t |G_t - Ḡ r_t^α|,  the targets taken as constants

After each step on `w` all weights are scaled, so that their sum stays. The paper compares gradients at the last shared
layer: level `last`. It leaves the optimiser of `w` open; here it is Adam (Kingma and Ba 2015), for which the scale of
the losses does not matter. The weights act on the shared part alone, as those of all balancers from gradients.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from trunkline.balancers.contract import GramianBalancer
from trunkline.balancers.kept import Kept
from trunkline.balancers.units import Array
from trunkline.errors import ConfigError, RunError

DECAYS = (0.9, 0.999)  # of Adam's moments
SMALLEST = 1e-3  # weight, since an optimiser might go below 0


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


class GradNorm(GramianBalancer):
    """Tasks that have learned less get longer gradients.

    All weights start at 1. A task that is absent keeps its weight.

    Args:
        alpha: how strongly tasks are held to one rate of training; 0 holds all gradients to one length.
        rate: learning rate of the weights.
    """

    learned: Kept

    def __init__(self, alpha: float = 1.5, *, rate: float = 0.025) -> None:
        super().__init__()
        self.alpha, self.rate = alpha, rate

    def start(self, tasks: Sequence[str]) -> None:
        """Of each task: its weight, its first loss, its last one, Adam's moments."""
        if not 0 <= self.alpha < float("inf"):
            raise ConfigError(f"balancer.alpha: {self.alpha} cannot be; 0 or a positive number can")
        if not 0 < self.rate < 1:
            raise ConfigError(f"balancer.rate: {self.rate} is out of range; give more than 0 and less than 1")
        self.learned = Kept(tasks, 1, [1.0, np.nan, np.nan, 0.0, 0.0, 0.0])

    def watch(self, losses: Tensor, tasks: Sequence[str]) -> None:
        """The first loss of a task above 0 is what its later ones are divided by.

        Raises:
            RunError: a loss is negative.
        """
        learned, now = self.learned.of(tasks), losses.numpy()
        for task, loss in zip(tasks, now.tolist()):
            if loss < 0:
                raise RunError(f"balancer: gradnorm needs positive losses, and that of task {task!r} is {loss:g}")
        learned[:, 2] = np.where(np.isfinite(now), now, np.nan)
        learned[:, 1] = np.where(np.isnan(learned[:, 1]) & (now > 0), learned[:, 2], learned[:, 1])
        self.learned.keep(tasks, learned)

    def weigh(self, gramian: Tensor, tasks: Sequence[str]) -> Tensor:
        """Algorithm 1: the weights as they are; then they learn."""
        learned = self.learned.of(tasks)
        weights, ratios = learned[:, 0].copy(), learned[:, 2] / learned[:, 1]
        norms = gramian.diagonal().clamp(min=0.0).sqrt().numpy()
        slopes = gradnorm_slopes(weights, norms, ratios, alpha=self.alpha)
        taken, learned[:, 3:] = adam_step(learned[:, 3:], slopes, rate=self.rate)
        new = np.maximum(weights - taken, SMALLEST)
        learned[:, 0] = new * (weights.sum() / new.sum())
        self.learned.keep(tasks, learned)
        return torch.from_numpy(weights).to(gramian)
