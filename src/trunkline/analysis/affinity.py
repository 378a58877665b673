"""Which tasks help which, from many looks, and which of them should share a network.

After Fifty, Amid, Zhao, Yu, Anil, Finn, "Efficiently identifying task groupings for multi-task learning", NeurIPS 2021:
the affinity of one task for another is the mean over training, and of all groupings into so many networks the best is
that whose groups are worth most to their tasks. Two things differ. A group is worth to a task the sum of the others'
affinities for it, and not their mean: gradients add up, so to first order this is what their part of each step does for
it; by the mean a helper that helps less than another would be turned away. And a task is in one network alone, so that
none is paid for twice.

Shape legend: `T` tasks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trunkline.analysis.paired import interval

EXACT = 12  # tasks of which every grouping is weighed
CONFIDENCE = 0.95
Group = tuple[str, ...]


@dataclass(frozen=True)
class Helping:
    """What one task's steps do for another.

    Attributes:
        mean: affinity, over all looks; `None` where the two were never there together.
        low: end of the interval of the mean, as if looks were independent; `None` for fewer than two.
        high: the other.
    """

    mean: float | None
    low: float | None = None
    high: float | None = None

    @property
    def is_clear(self) -> bool:
        """The interval leaves no doubt whether it helps or harms."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Grouping:
    """A split of the tasks.

    Attributes:
        groups: tasks of each network, in task order.
        score: the sum of affinities within groups: the share of its loss that the others' part of a step takes off a
            task, over all tasks.
    """

    groups: tuple[Group, ...]
    score: float


def helping(looks: Sequence[Mapping[str, Mapping[str, float | None]]], tasks: Sequence[str]) -> list[list[Helping]]:
    """Of each task (rows) for each (columns), over all looks.

    Args:
        looks: by task that steps, then by task that is looked at; `None` where one of them was not there.
        tasks: in order.
    """
    return [[_over([look[one][other] for look in looks]) for other in tasks] for one in tasks]


def _over(values: Sequence[float | None]) -> Helping:
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return Helping(None)
    return Helping(math.fsum(known) / len(known), *(interval(known, CONFIDENCE) or (None, None)))


def groupings(tasks: Sequence[str], affinity: np.ndarray, networks: int) -> list[Grouping]:
    """The best split of the tasks into 1, 2, … `networks` networks, or as many as there are tasks.

    Of more than 12 tasks one that no move of a task makes better, begun by joining the groups that gain the most.

    Args:
        tasks: names.
        affinity: `[T, T]`, of rows for columns; NaN counts as 0. The diagonal is not read.
        networks: at most.

    Example:
        >>> likes = np.array([[0, 2, -1], [2, 0, -1], [-1, -1, 0]])
        >>> [found.groups for found in groupings("abc", likes, 2)]
        [(('a', 'b', 'c'),), (('a', 'b'), ('c',))]
    """
    likes = np.nan_to_num(np.asarray(affinity, dtype=np.float64))
    np.fill_diagonal(likes, 0.0)
    most = min(networks, len(tasks))
    splits = _all_best(likes, most) if len(tasks) <= EXACT else [_climbed(likes, n) for n in range(1, most + 1)]
    return [
        Grouping(
            tuple(tuple(tasks[k] for k in group) for group in sorted(sorted(group) for group in split)),
            sum(_worth(likes, group) for group in split),
        )
        for split in splits
    ]


def _worth(likes: np.ndarray, group: Sequence[int]) -> float:
    """The affinities of its tasks for each other."""
    return float(likes[np.ix_(group, group)].sum())


def _all_best(likes: np.ndarray, most: int) -> list[list[list[int]]]:
    """The best split into each number of groups, by dynamic programming over sets of tasks."""
    count = len(likes)
    members = [[k for k in range(count) if chosen >> k & 1] for chosen in range(1 << count)]
    worth = [_worth(likes, group) for group in members]
    best = [worth]  # best[n][set]: of that set in n + 1 groups
    taken: list[list[int]] = [list(range(1 << count))]  # and its group that holds the lowest task
    for _ in range(1, most):
        scores, groups = [-math.inf] * (1 << count), [0] * (1 << count)
        for tasks in range(1, 1 << count):
            lowest = tasks & -tasks
            rest = others = tasks ^ lowest
            while rest:  # what the other groups have: every non-empty subset without the lowest task
                score = worth[tasks ^ rest] + best[-1][rest]
                if score > scores[tasks]:
                    scores[tasks], groups[tasks] = score, tasks ^ rest
                rest = (rest - 1) & others
        best.append(scores)
        taken.append(groups)
    splits = []
    for number in range(most):
        left, split = (1 << count) - 1, []
        for level in range(number, -1, -1):
            split.append(members[taken[level][left]])
            left ^= taken[level][left]
        splits.append(split)
    return splits


def _climbed(likes: np.ndarray, number: int) -> list[list[int]]:
    """A split into so many groups that is good, and that no move of a task makes better."""
    split = [[k] for k in range(len(likes))]
    while len(split) > number:
        pairs = itertools.combinations(range(len(split)), 2)
        gains = {(a, b): _gain(likes, split[a], split[b]) for a, b in pairs}
        one, other = max(gains, key=lambda pair: gains[pair])
        split[one] += split.pop(other)
    while (move := _best_move(likes, split)) is not None:
        task, source, to = move
        split[source].remove(task)
        split[to].append(task)
    return split


def _gain(likes: np.ndarray, one: Sequence[int], other: Sequence[int]) -> float:
    return _worth(likes, [*one, *other]) - _worth(likes, one) - _worth(likes, other)


def _best_move(likes: np.ndarray, split: Sequence[Sequence[int]]) -> tuple[int, int, int] | None:
    """Which task goes from which group to which; no group is left empty. `None` where none makes it better."""
    best, found = 1e-12, None
    for source, group in enumerate(split):
        for task in group if len(group) > 1 else ():
            without = [k for k in group if k != task]
            lost = _worth(likes, group) - _worth(likes, without)
            for to, target in enumerate(split):
                if to == source:
                    continue
                gain = _worth(likes, [*target, task]) - _worth(likes, target) - lost
                if gain > best:
                    best, found = gain, (task, source, to)
    return found
