"""What a balancer is. `trunkline.testing.check_balancer` holds any implementation to this.

Two kinds, by what they read. A loss balancer makes one total from the losses; it is differentiated as the paper
writes it, heads included. A Gramian balancer makes weights from the tasks' inner products; they act on the shared
part, and each head gets its own task's plain gradient. Either sees only the tasks present in the step: an absent
task has no entry, never a zero.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from trunkline.balancers.state import numbers_like
from trunkline.errors import ConfigError, RunError


def constructor_arguments(component: Any) -> str:
    """As they stand in the call that made it: constructors only store."""
    return ", ".join(f"{name}={getattr(component, name)!r}" for name in inspect.signature(type(component)).parameters)


class LossBalancer(nn.Module, ABC):
    """Losses → one total.

    A step is `observe`, then `weigh`; where the paper looks at the losses again after the optimiser's step, then
    `after_step`. State changes in the first and the last only: a step whose rows go through the network in parts is
    weighed once a part.

    Attributes:
        separate: each term is a function of its own loss alone, so a task whose labels weigh nothing in a step (a text
            without words) can be left out afterwards. Its loss is 0.
        blind: weights do not follow from the losses that they weigh. The loss of a task whose labels weigh nothing is
            NaN, and it must have no share.
        positive: the method needs losses above their lower bounds; the engine tells the task that has none.
        bounds: the option that gives lower bounds by task, where there is one; they are 0 otherwise.
        needs_losses_after_step: `after_step` must be called.

    Which labels weigh anything, and what the losses are, the device alone knows. So the engine waits for it, once,
    unless the balancer is separate or blind. These are shown every step; others none with a loss that is not finite,
    and no task whose labels weigh nothing.
    """

    separate: ClassVar[bool] = False
    blind: ClassVar[bool] = False
    positive: ClassVar[bool] = False
    bounds: ClassVar[str | None] = None
    needs_losses_after_step: ClassVar[bool] = False

    def __init__(self) -> None:  # without arguments: the constructor's signature is the config schema
        super().__init__()

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return constructor_arguments(self)

    def start(self, tasks: Sequence[str]) -> None:
        """Make whatever is kept per task; called once, with every task's name. Keeps nothing by default."""

    def expect_steps(self, steps: int) -> None:
        """Told before the first step, by a run that knows, how many it will take. Does not matter by default."""

    def observe(self, losses: Tensor, tasks: Sequence[str]) -> None:
        """Learn from a step's losses, before they are weighed: once a step. Learns nothing by default.

        Args:
            losses: `[T']`, detached, finite but for balancers that are shown every step.
            tasks: names, in the order of `losses`.
        """

    @abstractmethod
    def weigh(self, losses: Tensor, tasks: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Combine the losses of the present tasks.

        Args:
            losses: `[T']`, differentiable, at least one.
            tasks: names, in the order of `losses`.

        Returns:
            `(terms, weights)`: `terms [T']`, whose sum is the total to differentiate, and the effective weight of
            each loss `[T']`, detached, for the log. A term's gradient is that of its own loss: preferences multiply it.
        """

    def after_step(self, losses: Tensor, tasks: Sequence[str]) -> None:
        """Learn from the losses of the same rows after the optimiser's step. Learns nothing by default.

        Not called where a loss is not finite, before the step or after it.

        Args:
            losses: `[T']`, detached.
            tasks: as `observe` had them.
        """

    def gaps(self, losses: Tensor, tasks: Sequence[str]) -> Tensor:
        """How far the losses are above their lower bounds, `[T']`; the losses themselves where none are given."""
        bounds = lower_bounds(self)
        return losses - numbers_like([bounds.get(task, 0.0) for task in tasks], losses) if bounds else losses


class GramianBalancer(nn.Module, ABC):
    """Inner products of the tasks' gradients → weights.

    A step is `begin_step`, then `watch` and `weigh`, once for each part in which its rows go through the network. The
    Gramian of a part is not that of the step, nor do all of them give it: what two parts have to do with each other is
    not in them. So each part is weighed by its own. What is kept from step to step must not move with the number of
    parts: parts of one step are weighed with the same, and it moves once.

    Attributes:
        level: where the paper compares gradients, if it says so: the default where the engine can.
    """

    level: ClassVar[Literal["last"] | None] = None

    def __init__(self) -> None:  # without arguments: the constructor's signature is the config schema
        super().__init__()

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return constructor_arguments(self)

    def start(self, tasks: Sequence[str]) -> None:
        """Make whatever is kept per task; called once, with every task's name. Keeps nothing by default."""

    def begin_step(self) -> None:
        """What is weighed from now on is of another step. Does nothing by default."""

    def watch(self, losses: Tensor, tasks: Sequence[str]) -> None:
        """Told, before `weigh`, of the losses whose gradients are weighed. Heeds them not by default.

        Args:
            losses: `[T']`, float64, on the CPU; NaN where a gradient came from elsewhere.
            tasks: names, in the order of `losses`.
        """

    @abstractmethod
    def weigh(self, gramian: Tensor, tasks: Sequence[str]) -> Tensor:
        """Weights `[T']` such that the shared update is the weighted sum of the tasks' gradients.

        Args:
            gramian: `[T', T']`, symmetric positive semi-definite up to rounding, on the CPU, finite: pairs that the
                engine could not see hold 0 here, and the engine reports them as unknown. Its dtype is the precision in
                which products were taken, float32 or float64: of cosines in float32, 1e-6 is nothing.
            tasks: names, in the order of `gramian`.

        Returns:
            `[T']`, finite.
        """


Balancer = LossBalancer | GramianBalancer


def check_options(balancer: nn.Module, *names: str) -> None:
    """These options are above 0.

    Raises:
        ConfigError: one is not.
    """
    for name in names:
        if not getattr(balancer, name) > 0:
            raise ConfigError(f"balancer.{name}: {getattr(balancer, name)} cannot be; a number above 0 can")


def lower_bounds(balancer: LossBalancer) -> Mapping[str, float]:
    """Of the losses by task, where any are given."""
    return (getattr(balancer, balancer.bounds) if balancer.bounds else None) or {}


def check_positive(gaps: Mapping[str, float], balancer: LossBalancer) -> None:
    """A method that divides by losses, or takes their logarithm, has positive ones.

    What is no number passes: it must show in the gradients, where a gradient scaler or the user looks for it.

    Args:
        gaps: losses by task, less their lower bounds.
        balancer: whose method it is.

    Raises:
        RunError: one is zero or negative.
    """
    bounds = lower_bounds(balancer)
    for task, gap in gaps.items():
        if not balancer.positive or not gap <= 0:
            continue
        if task in bounds:
            raise RunError(
                f"balancer {type(balancer).__name__}: the loss of task {task!r} is {gap + bounds[task]:g}, not above "
                f"its lower bound {bounds[task]:g}; lower balancer.{balancer.bounds}.{task}"
            )
        raise RunError(
            f"balancer {type(balancer).__name__}: the loss of task {task!r} is {gap:g}, and this method needs positive "
            "losses. A loss that can reach zero or less is for Equal, Uncertainty or one that reads gradients"
        )
