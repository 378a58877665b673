"""Student's interval against tables, and what is said of differences."""

from __future__ import annotations

import numpy as np
import pytest

from trunkline.analysis import interval, mean_std, student_quantile, summary, verdict


@pytest.mark.parametrize(
    ("freedom", "value"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (5, 2.5706), (10, 2.2281), (29, 2.0452), (200, 1.9719)],
)
def test_quantiles_of_the_printed_tables(freedom: int, value: float) -> None:
    assert student_quantile(0.975, freedom) == pytest.approx(value, abs=6e-5)


def test_quantiles_against_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for freedom in (1, 2, 7, 30):
        for probability in (0.6, 0.9, 0.995):
            assert student_quantile(probability, freedom) == pytest.approx(stats.t.ppf(probability, freedom), rel=1e-9)


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    found = [interval(rng.normal(1.0, 2.0, 3).tolist(), 0.9) for _ in range(3000)]
    covered = np.mean([between is not None and between[0] <= 1.0 <= between[1] for between in found])
    assert covered == pytest.approx(0.9, abs=0.02)


def test_mean_and_spread() -> None:
    assert mean_std([1.0, 2.0, 6.0]) == (3.0, pytest.approx(7**0.5))
    assert mean_std([4.0]) == (4.0, None)


def test_verdicts() -> None:
    assert verdict((0.1, 0.3), lower_is_better=False) == "better"
    assert verdict((0.1, 0.3), lower_is_better=True) == "worse"
    assert verdict((-0.3, -0.1), lower_is_better=False) == "worse"
    assert verdict((-0.3, -0.1), lower_is_better=True) == "better"
    assert verdict((-0.1, 0.3), lower_is_better=False) == "no difference seen"
    assert verdict(None, lower_is_better=False) == "one seed"


def test_two_close_pairs_are_no_proof() -> None:
    """Both seeds better, yet with two of them the interval is wide."""
    said = summary([0.01, 0.03], lower_is_better=False, confidence=0.95)
    assert said is not None
    assert said["verdict"] == "no difference seen"
    assert said["low"] < 0 < said["mean"] == pytest.approx(0.02)


def test_undefined_seeds_are_left_out() -> None:
    said = summary([None, 0.5], lower_is_better=False, confidence=0.95)
    assert said == {"values": [None, 0.5], "mean": 0.5, "std": None, "low": None, "high": None, "verdict": "one seed"}
    assert summary([None], lower_is_better=False, confidence=0.95) is None


def test_equal_differences_leave_no_doubt() -> None:
    said = summary([0.2, 0.2, 0.2], lower_is_better=False, confidence=0.95)
    assert said is not None
    assert said["verdict"] == "better"
