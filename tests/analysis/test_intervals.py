from __future__ import annotations

import numpy as np
import pytest

from trunkline.analysis import bootstrap, paired_bootstrap, subsets


def test_of_an_accuracy_it_is_as_wide_as_the_binomial() -> None:
    right = np.arange(400) % 4 > 0  # 75 %
    (found,) = bootstrap(lambda rows: [(right[rows].mean(), 0.5)], 400, higher_is_better=[True], resamples=2_000)
    assert found is not None
    half = 1.96 * (0.75 * 0.25 / 400) ** 0.5
    assert (found.low, found.high) == pytest.approx((0.75 - half, 0.75 + half), abs=0.005)
    assert found.better == 1.0


def test_better_follows_the_direction_of_the_metric() -> None:
    error = np.random.default_rng(0).random(50)

    def score(rows: np.ndarray) -> list[tuple[float | None, float | None]]:
        return [(error[rows].mean(), 2.0)] * 2

    less, more = bootstrap(score, 50, higher_is_better=[False, True])
    assert less is not None
    assert more is not None
    assert (less.better, more.better) == (1.0, 0.0)


def test_ties_with_guessing_are_a_coin_toss() -> None:
    (found,) = bootstrap(lambda rows: [(0.5, 0.5)], 10, higher_is_better=[True])
    assert found is not None
    assert found.better == 0.5


def test_a_score_that_is_rarely_defined_has_none() -> None:
    assert bootstrap(lambda rows: [(None, 0.5)], 10, higher_is_better=[True]) == [None]


def test_a_difference_is_surer_than_what_it_is_of_where_both_are_of_the_same_rows() -> None:
    """Two answers that are right on nearly the same rows: the difference varies with those where they differ alone."""
    rng = np.random.default_rng(0)
    first = rng.random(400) < 0.7
    second = first ^ (rng.random(400) < 0.05)
    ((low, high),) = paired_bootstrap(lambda rows: [(first[rows].mean(), second[rows].mean())], 400, resamples=2_000)
    apart = first.astype(float) - second
    half = 1.96 * apart.std() / 400**0.5
    assert (low, high) == pytest.approx((apart.mean() - half, apart.mean() + half), abs=0.006)
    assert high - low < 0.6 * 2 * 1.96 * (0.7 * 0.3 / 400) ** 0.5
    assert paired_bootstrap(lambda rows: [(0.5, None)], 10) == [None]


def test_subsets_of_few_groups_are_all_of_them() -> None:
    kept = [s.kept for s in subsets(["a", "b", "c", "d"])]
    assert len(kept) == len(set(kept)) == 2**4 - 1
    assert kept[0] == ("a", "b", "c", "d")


def test_subsets_of_many_groups_are_the_largest_and_the_smallest() -> None:
    kept = [s.kept for s in subsets([str(i) for i in range(9)])]
    assert sorted(map(len, kept)) == [1] * 9 + [8] * 9 + [9]
