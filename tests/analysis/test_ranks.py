"""Places among several models."""

from __future__ import annotations

from trunkline.analysis import mean_ranks

LOWER = {"a": {"mae"}, "b": set()}


def test_places_are_averaged_over_metrics_and_over_tasks() -> None:
    """Equals share their places, and less is better where it says so."""
    scores = {
        "one": {"a": {"mae": 1.0, "r2": 0.5}, "b": {"f1": 0.7}},
        "two": {"a": {"mae": 2.0, "r2": 0.5}, "b": {"f1": 0.9}},
        "three": {"a": {"mae": 3.0, "r2": 0.1}, "b": {"f1": 0.8}},
    }
    assert mean_ranks(scores, LOWER) == {
        "one": {"per_metric": (1 + 1.5 + 3) / 3, "per_task": (1.25 + 3) / 2},
        "two": {"per_metric": (2 + 1.5 + 1) / 3, "per_task": (1.75 + 1) / 2},
        "three": {"per_metric": (3 + 3 + 2) / 3, "per_task": (3 + 2) / 2},
    }


def test_a_score_that_one_lacks_ranks_nobody() -> None:
    scores = {"one": {"a": {"mae": 1.0}, "b": {}}, "two": {"a": {"mae": None}, "b": {"f1": 0.9}}}
    assert mean_ranks(scores, LOWER) == {name: {"per_metric": None, "per_task": None} for name in scores}


def test_what_is_no_number_ranks_nobody() -> None:
    scores = {name: {"a": {"mae": value}} for name, value in (("one", float("nan")), ("two", 0.9))}
    assert mean_ranks(scores, LOWER)["one"] == {"per_metric": None, "per_task": None}
