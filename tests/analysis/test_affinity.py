"""Groupings beside every grouping there is, and means with their intervals."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from trunkline.analysis import groupings, helping
from trunkline.analysis.affinity import EXACT


def splits(tasks: int, number: int) -> Iterator[list[list[int]]]:
    """Every split of `0 … tasks − 1` into so many groups."""

    def grow(k: int, groups: list[list[int]]) -> Iterator[list[list[int]]]:
        if k == tasks:
            if len(groups) == number:
                yield [list(group) for group in groups]
            return
        for place in range(len(groups)):
            yield from grow(k + 1, [*groups[:place], [*groups[place], k], *groups[place + 1 :]])
        yield from grow(k + 1, [*groups, [k]])

    return grow(0, [])


def worth(likes: np.ndarray, split: list[list[int]]) -> float:
    return sum(likes[a, b] for group in split for a in group for b in group if a != b)


@pytest.mark.parametrize("seed", range(4))
def test_the_best_of_all_splits_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names, likes = "abcdef", rng.standard_normal((6, 6))
    for number, found in enumerate(groupings(names, likes, 6), 1):
        assert len(found.groups) == number
        assert sorted(task for group in found.groups for task in group) == list(names)
        best = max(worth(likes, split) for split in splits(6, number))
        assert found.score == pytest.approx(best)
        assert found.score == pytest.approx(worth(likes, [[names.index(t) for t in g] for g in found.groups]))


def test_many_tasks_are_grouped_as_they_belong() -> None:
    count = EXACT + 6
    rng = np.random.default_rng(0)
    whose = rng.permutation(np.arange(count) % 3)
    likes = np.where(whose[:, None] == whose, 1.0, -0.5) + 0.3 * rng.standard_normal((count, count))
    names = [f"t{k:02d}" for k in range(count)]
    found = groupings(names, likes, 3)
    wanted = {tuple(name for name, own in zip(names, whose) if own == group) for group in range(3)}
    assert set(found[2].groups) == wanted
    assert [len(one.groups) for one in found] == [1, 2, 3]


def test_no_task_of_many_would_rather_be_elsewhere() -> None:
    count = EXACT + 2
    likes = np.random.default_rng(1).standard_normal((count, count))
    (*_, found) = groupings([str(k) for k in range(count)], likes, 4)
    split = [[int(task) for task in group] for group in found.groups]
    assert found.score == pytest.approx(worth(likes, split))
    for source in range(4):
        for task in split[source]:
            for to in range(4):
                moved = [[k for k in group if k != task] for group in split]
                moved[to].append(task)
                assert len(split[source]) == 1 or worth(likes, moved) <= found.score + 1e-9


def test_pairs_that_never_met_count_for_nothing() -> None:
    likes = np.array([[5.0, np.nan, 1.0], [np.nan, 5.0, -1.0], [1.0, -1.0, 5.0]])
    one, two, three, *more = groupings("abc", likes, 7)
    assert not more, "there are no more groups than tasks"
    assert one.groups == (("a", "b", "c"),)
    assert one.score == 0
    assert (two.groups, two.score) == ((("a", "c"), ("b",)), 2)
    assert (three.groups, three.score) == ((("a",), ("b",), ("c",)), 0)


def test_means_are_over_the_looks_at_which_both_were_there() -> None:
    looks = [
        {"a": {"a": 1.0, "b": 0.2}, "b": {"a": None, "b": 1.0}},
        {"a": {"a": 1.0, "b": 0.4}, "b": {"a": -0.1, "b": None}},
        {"a": {"a": 1.0, "b": None}, "b": {"a": float("nan"), "b": None}},
    ]
    (_, on_b), (on_a, _) = helping(looks, ["a", "b"])
    assert on_b.mean == pytest.approx(0.3)
    reach = 12.706 * 0.1  # Student's quantile for one degree of freedom, times the error of the mean
    assert (on_b.low, on_b.high) == (pytest.approx(0.3 - reach, abs=1e-3), pytest.approx(0.3 + reach, abs=1e-3))
    assert not on_b.is_clear
    assert (on_a.mean, on_a.low, on_a.is_clear) == (-0.1, None, False)


@pytest.mark.parametrize(
    ("values", "is_clear"), [((0.1, 0.11, 0.12), True), ((-0.1, -0.11), True), ((0.1, -0.1), False)]
)
def test_what_is_clear(values: tuple[float, ...], is_clear: bool) -> None:
    looks = [{"a": {"a": value, "b": value}, "b": {"a": value, "b": value}} for value in values]
    assert helping(looks, ["a", "b"])[0][1].is_clear is is_clear
