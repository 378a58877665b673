"""The 2-D toy of multi-task optimisation (CAGrad 2021, Nash-MTL 2022, FAMO 2023) in closed form, all starts at once.

Two losses over two parameters. Above `x2 = 0` each has a deep narrow valley, in conflict with the other's; below they
are bowls with minima at `x1 = -7` and `x1 = 7`, and the Pareto set is the line between, at `x2 ≈ -8.36`.

`S` starts, `T` = 2 tasks, `P` = 2 parameters; float64. At `x2 = 0` both switches have derivatives, as `torch.clamp` had
up to 2.13; where it has none, a start at (0, 0) never moves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trunkline.balancers import GramianBalancer, LossBalancer
from trunkline.balancers.famo import adam_step, famo_gradient, famo_weights

Array = NDArray[np.float64]

STARTS = np.array([[-8.5, 7.5], [0.0, 0.0], [9.0, 9.0], [-7.5, -0.5], [9.0, -1.0]])
SCALE = 0.1  # of the first loss
LOWER = 5e-6
IDEALS = np.array([-21 * SCALE, -21.0])  # below both losses everywhere
TASKS = ("first", "second")
FRONT, ENDS = -8.355, 7.0  # x2 of the Pareto set, and |x1| of its ends
LR, METHOD_LR = 1e-3, 0.025
BETAS, EPS = (0.9, 0.999), 1e-8
ZEROS = np.zeros(2)


def losses_and_jacobian(x: Array) -> tuple[Array, Array]:
    """Losses `[S, T]` and their derivatives `[S, T, P]` at `x [S, P]`."""
    a, b = x[:, 0], x[:, 1]
    slope, half_slope = 1 - np.tanh(b) ** 2, 1 - np.tanh(b / 2) ** 2
    inner = np.stack([(-a - 7) / 2 + np.tanh(b), (3 - a) / 2 - np.tanh(b) + 2], 1)
    inner_by_b = np.stack([slope, -slope], 1)
    deep = np.abs(inner) > LOWER
    valleys = np.log(np.where(deep, np.abs(inner), LOWER)) + 6
    by_inner = np.where(deep, 1 / np.where(deep, inner, 1.0), 0.0)
    bowls = ((a[:, None] - np.array([7.0, -7.0])) ** 2 + 0.1 * (b[:, None] + 8) ** 2) / 10 - 20
    bowls_by_a = (a[:, None] - np.array([7.0, -7.0])) / 5
    bowls_by_b = np.repeat((b[:, None] + 8) / 50, 2, 1)
    up, down = np.maximum(np.tanh(b / 2), 0)[:, None], np.maximum(-np.tanh(b / 2), 0)[:, None]
    up_by_b, down_by_b = (half_slope / 2 * (b >= 0))[:, None], (-half_slope / 2 * (b <= 0))[:, None]
    scale = np.array([SCALE, 1.0])
    losses = scale * (valleys * up + bowls * down)
    by_a = scale * (-by_inner / 2 * up + bowls_by_a * down)
    by_b = scale * (by_inner * inner_by_b * up + valleys * up_by_b + bowls_by_b * down + bowls * down_by_b)
    return losses, np.stack([by_a, by_b], 2)


class Method(Protocol):
    """Weights `[S, T]` of the tasks' gradients in a step, from losses `[S, T]` and derivatives `[S, T, P]`."""

    def __call__(self, losses: Array, jacobian: Array) -> Array:
        """Called once a step."""


@dataclass(frozen=True)
class Path:
    """What a run did.

    Attributes:
        points: `[K, S, P]`, every so many steps, the starts first.
        hits: `[S]`, the first step on the Pareto set, or -1.
    """

    points: Array
    hits: NDArray[np.int64]

    @property
    def ends(self) -> Array:
        """`[S, P]`."""
        return self.points[-1]


def on_front(x: Array, tolerance: float = 0.1) -> NDArray[np.bool_]:
    """Which of `x [S, P]` are on the Pareto set, `[S]`."""
    return (np.abs(x[:, 1] - FRONT) < tolerance) & (np.abs(x[:, 0]) < ENDS + tolerance)


def run(method: Method, steps: int, *, clips: Sequence[float] = (np.inf,), every: int = 100) -> list[Path]:
    """Adam from all starts, one path for each of `clips`.

    Args:
        method: weighs.
        steps: how many.
        clips: greatest norms of the combined gradient.
        every: steps between the points that are kept.
    """
    x = np.tile(STARTS, (len(clips), 1))
    clip = np.repeat(np.asarray(clips), len(STARTS))
    first, second = np.zeros_like(x), np.zeros_like(x)
    points, hits = [x], np.full(len(x), -1)
    for step in range(1, steps + 1):
        losses, jacobian = losses_and_jacobian(x)
        gradient = (method(losses, jacobian)[:, :, None] * jacobian).sum(1)
        norm = np.hypot(gradient[:, 0], gradient[:, 1])
        gradient = gradient * np.where(norm > clip, clip / np.where(norm > 0, norm, 1.0), 1.0)[:, None]
        first = BETAS[0] * first + (1 - BETAS[0]) * gradient
        second = BETAS[1] * second + (1 - BETAS[1]) * gradient**2
        x = x - LR * first / (1 - BETAS[0] ** step) / (np.sqrt(second / (1 - BETAS[1] ** step)) + EPS)
        hits = np.where((hits < 0) & on_front(x), step, hits)
        if step % every == 0:
            points.append(x)
    return [Path(np.stack(points)[:, own], hits[own]) for own in np.split(np.arange(len(x)), len(clips))]


class OfLosses:
    """A function of the losses alone, `[S, T] → [S, T]`."""

    def __init__(self, weights: Callable[[Tensor], Tensor], *, above: Array = ZEROS) -> None:
        self.weights, self.above = weights, above

    def __call__(self, losses: Array, jacobian: Array) -> Array:
        return self.weights(torch.from_numpy(losses - self.above)).numpy()


class Learned:
    """Terms `[S, T]` of losses and of numbers within bounds that Adam learns beside the point, both `[S, T]`."""

    def __init__(
        self, terms: Callable[[Tensor, Tensor], Tensor], *, bound: float = np.inf, above: Array = ZEROS
    ) -> None:
        self.terms, self.bound, self.above = terms, bound, above
        self.step = 0

    def __call__(self, losses: Array, jacobian: Array) -> Array:
        rows = torch.from_numpy(losses - self.above).requires_grad_()
        if self.step == 0:
            self.values, self.first, self.second = (torch.zeros(losses.shape, dtype=torch.float64) for _ in range(3))
        self.step += 1
        values = self.values.requires_grad_()
        weights, gradient = torch.autograd.grad(self.terms(rows, values).sum(), (rows, values))
        values, self.first, self.second = adam_step(
            values.detach(), gradient, self.first, self.second, self.step, METHOD_LR
        )
        self.values = values.clamp(-self.bound, self.bound)
        return weights.numpy()


class OfGramian:
    """A Gramian balancer for each start."""

    def __init__(self, make: Callable[[], GramianBalancer]) -> None:
        self.make = make
        self.balancers: list[GramianBalancer] = []

    def __call__(self, losses: Array, jacobian: Array) -> Array:
        self.balancers = self.balancers or [started(self.make()) for _ in losses]
        gramians = torch.from_numpy(jacobian @ jacobian.transpose(0, 2, 1))
        return np.stack([self._weigh(b, g) for b, g in zip(self.balancers, gramians, strict=True)])

    def _weigh(self, balancer: GramianBalancer, gramian: Tensor) -> Array:
        balancer.begin_step()
        return balancer.weigh(gramian, TASKS).double().numpy()


class OfBalancer:
    """A loss balancer for each start, as it stands; one that learns nothing by the run's optimiser."""

    def __init__(self, make: Callable[[], LossBalancer], *, above: Array = ZEROS) -> None:
        self.make, self.above = make, above
        self.balancers: list[LossBalancer] = []

    def __call__(self, losses: Array, jacobian: Array) -> Array:
        self.balancers = self.balancers or [started(self.make()) for _ in losses]
        rows = torch.from_numpy(losses - self.above)
        return np.stack([self._weigh(b, row) for b, row in zip(self.balancers, rows, strict=True)])

    def _weigh(self, balancer: LossBalancer, losses: Tensor) -> Array:
        balancer.observe(losses, TASKS)
        return balancer.weigh(losses, TASKS)[1].numpy()


class Famo:
    """FAMO of all starts; where every step has all rows, the losses after a step are those of the next."""

    def __init__(self, decay: float = 0.0) -> None:
        self.decay, self.step = decay, 0
        self.before: Tensor | None = None

    def __call__(self, losses: Array, jacobian: Array) -> Array:
        gaps = torch.from_numpy(losses - IDEALS)
        if self.before is None:
            self.logits, self.first, self.second = (torch.zeros_like(gaps) for _ in range(3))
        else:
            self.step += 1
            gradient = famo_gradient(self.before, gaps, self.logits) + self.decay * self.logits
            self.logits, self.first, self.second = adam_step(
                self.logits, gradient, self.first, self.second, self.step, METHOD_LR
            )
        self.before = gaps
        return famo_weights(gaps, self.logits).numpy()


def started(balancer: Any) -> Any:
    """For the two tasks, in float64."""
    balancer.start(TASKS)
    return balancer.double()
