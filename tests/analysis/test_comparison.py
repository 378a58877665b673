"""Scores of several seeds, of which some lack a task."""

from __future__ import annotations

import pytest

from trunkline.analysis import compare_scores, metrics_of

LOWER = {"a": {"mae"}, "b": set()}


def test_a_seed_without_a_label_hides_no_task_of_the_others() -> None:
    theirs = [
        {"a": {"mae": 2.0}, "b": {}},
        {"a": {"mae": 2.0}, "b": {"f1": 0.5}},
        {"a": {"mae": 2.0}, "b": {"f1": 0.4}},
    ]
    ours = [{"a": {"mae": 1.0}, "b": {}}, {"a": {"mae": 1.0}, "b": {"f1": 0.6}}, {"a": {"mae": 1.0}, "b": {"f1": 0.6}}]
    found = compare_scores(ours, theirs, LOWER, confidence=0.95)["differences"]
    assert found["b"]["f1"]["mean"] == pytest.approx(0.15)


def test_metrics_are_those_of_any_seed_in_order() -> None:
    assert metrics_of([{"b": {}}, {"b": {"f1": 0.5}}, {"b": {"accuracy": 1.0, "f1": 0.4}}], "b") == ["f1", "accuracy"]
