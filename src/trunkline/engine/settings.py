"""The settings of an engine, checked where they enter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from trunkline.balancers import Balancer, GramianBalancer, LossBalancer
from trunkline.engine.distributed import num_ranks
from trunkline.engine.levels import LEVELS, Level
from trunkline.errors import ConfigError, check_names, suggest

_GRADIENTS = "{}, or {}".format(", ".join(map(repr, LEVELS[1:-1])), repr(LEVELS[-1]))


def checked_level(level: Level | None, balancer: Balancer, last_shared: Sequence[nn.Linear]) -> Level:
    """The level to use; by default the balancer's own, where it has one, or the cheapest that it works with.

    Raises:
        ConfigError: there is no such level, or it cannot serve this balancer.
    """
    name = type(balancer).__name__
    if not isinstance(balancer, LossBalancer | GramianBalancer):
        raise ConfigError(f"balancer: {balancer!r} is neither a LossBalancer nor a GramianBalancer")
    if level is None:
        if isinstance(balancer, LossBalancer):
            return "losses"
        return balancer.level or "features" if last_shared else "features"
    if level not in LEVELS:
        raise ConfigError(f"level: there is no level {level!r}.{suggest(level, LEVELS)}")
    if isinstance(balancer, LossBalancer) != (level == "losses"):
        reads, works = ("losses", "'losses'") if level != "losses" else ("gradients", _GRADIENTS)
        raise ConfigError(f"level: {level!r} cannot serve {name}, which reads {reads}; level {works} can")
    if level == "last" and not last_shared:
        raise ConfigError("level: 'last' compares gradients at the last shared layers; name them in last_shared")
    return level


def checked_every(every: int, level: Level) -> int:
    """Steps that a comparison serves.

    Raises:
        ConfigError: it is no count, or nothing is compared at this level.
    """
    if every < 1:
        raise ConfigError(f"every: {every} cannot be a number of steps; 1 or more can")
    if every > 1 and level == "losses":
        raise ConfigError("every: at level 'losses' no gradients are compared, so there is nothing to do more rarely")
    return every


def checked_direct(level: Level, rates: Mapping[str, float], by_parameters: bool, at: Sequence[object]) -> None:
    """Whether gradients can be balanced by one call on losses that stand.

    Raises:
        ConfigError: they cannot.
    """
    if not at:
        raise ConfigError("backward(): give `features`, or `shared` parameters, that require gradients")
    if by_parameters and not level.startswith("trunk"):
        raise ConfigError(f"backward(shared=…) compares gradients at parameters: level 'trunk' does, not {level!r}")
    if num_ranks() > 1 or rates:
        raise ConfigError("backward() is for one process and no rates; `split` and `combine` serve all")


def mean_one(preferences: Mapping[str, float], tasks: Sequence[str]) -> dict[str, float]:
    """Preferences of all tasks, scaled to mean 1; a task left out counts 1.

    Raises:
        ConfigError: a preference is negative, or all are 0.
    """
    check_names(preferences, tasks)
    weights = {task: float(preferences.get(task, 1.0)) for task in tasks}
    for task, weight in weights.items():
        if not 0 <= weight < float("inf"):
            raise ConfigError(f"tasks.{task}.weight: {weight} cannot be a weight; 0 or a positive number can")
    total = sum(weights.values())
    if total == 0:
        raise ConfigError("tasks.*.weight: all weights are 0; at least one task must count")
    return {task: weight * len(tasks) / total for task, weight in weights.items()}


def checked_rates(rates: Mapping[str, float], tasks: Sequence[str]) -> dict[str, float]:
    """Label rates of the tasks that are divided by their expected weight.

    Raises:
        ConfigError: a rate is not a share above 0.
    """
    check_names(rates, tasks)
    for task, rate in rates.items():
        if not 0 < rate <= 1:
            raise ConfigError(f"rates: {rate} of task {task!r} cannot be a share of labelled rows; above 0 up to 1 can")
    return dict(rates)
