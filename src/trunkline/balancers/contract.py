"""What a balancer is. `trunkline.testing.check_balancer` holds any implementation to this.

Two kinds, by what they read. A loss balancer makes one total from the losses; it is differentiated as the paper
writes it, heads included. A Gramian balancer makes weights from the tasks' inner products; they act on the shared
part, and each head gets its own task's plain gradient. Either sees only the tasks present in the step: an absent
task has no entry, never a zero.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from trunkline.errors import ConfigError, RunError


class LossBalancer(nn.Module, ABC):
    """Losses → one total.

    A step is `observe`, then `weigh`; where the paper looks at the losses again after the optimiser's step, then
    `after_step`. State changes in the first and the last only: a step whose rows go through the network in parts is
    weighed once a part.

    Attributes:
        separate: each term is a function of its own loss alone, so a task whose labels weigh nothing in a step can be
            left out afterwards, without waiting for the device. The others are never shown one.
        needs_losses_after_step: `after_step` must be called.
    """

    separate: ClassVar[bool] = False
    needs_losses_after_step: ClassVar[bool] = False

    def __init__(self) -> None:  # without arguments: the constructor's signature is the config schema
        super().__init__()

    def start(self, tasks: Sequence[str]) -> None:
        """Make whatever is kept per task; called once, with every task's name. Keeps nothing by default."""

    def observe(self, losses: Tensor, tasks: Sequence[str]) -> None:
        """Learn from a step's losses, before they are weighed: once a step. Learns nothing by default.

        Not called where a loss is not finite, but for a `separate` balancer: to know, one waits for the device.

        Args:
            losses: `[T']`, detached.
            tasks: names, in the order of `losses`.
        """

    @abstractmethod
    def weigh(self, losses: Tensor, tasks: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Combine the losses of the present tasks.

        Args:
            losses: `[T']`, differentiable, at least one. To a `separate` balancer, 0 where a task's labels weigh
                nothing (a text without words), whose term the engine leaves out; others never see such a task.
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


class GramianBalancer(nn.Module, ABC):
    """Inner products of the tasks' gradients → weights."""

    def __init__(self) -> None:  # without arguments: the constructor's signature is the config schema
        super().__init__()

    def start(self, tasks: Sequence[str]) -> None:
        """Make whatever is kept per task; called once, with every task's name. Keeps nothing by default."""

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


def check_positive(
    gaps: Tensor, tasks: Sequence[str], balancer: object, *, above: Mapping[str, float] | None = None, option: str = ""
) -> None:
    """A method that divides by losses, or takes their logarithm, has positive ones; waits for the device.

    What is no number passes: it must show in the gradients, where a gradient scaler or the user looks for it.

    Args:
        gaps: losses, less their lower bounds.
        tasks: names, in the order of `gaps`.
        balancer: whose method it is.
        above: lower bounds by task, where any are given.
        option: that gives them.

    Raises:
        RunError: one is zero or negative.
    """
    for task, gap in zip(tasks, gaps.tolist(), strict=True):
        if gap <= 0 and above and task in above:
            raise RunError(
                f"balancer {type(balancer).__name__}: the loss of task {task!r} is {gap + above[task]:g}, not above "
                f"its lower bound {above[task]:g}; lower balancer.{option}.{task}"
            )
        if gap <= 0:
            raise RunError(
                f"balancer {type(balancer).__name__}: the loss of task {task!r} is {gap:g}, and this method needs "
                "positive losses. A loss that can reach zero or less is for Equal, Uncertainty or one that reads "
                "gradients"
            )
