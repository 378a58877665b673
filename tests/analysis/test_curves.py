from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from trunkline.analysis import confusion, precision_recall_curve, roc_curve


def answers(rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties."""
    rng = np.random.default_rng(1)
    truth = rng.random(rows) < 0.3
    return (rng.normal(truth, 1.0)).round(1), truth


def test_the_area_under_the_roc_curve_is_scikit_learns() -> None:
    scores, truth = answers()
    x, y = np.array(roc_curve(scores, truth, points=10_000)).T
    assert np.trapezoid(y, x) == pytest.approx(roc_auc_score(truth, scores))
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)


def test_steps_under_the_precision_recall_curve_are_scikit_learns() -> None:
    scores, truth = answers()
    recall, precision = np.array(precision_recall_curve(scores, truth, points=10_000)).T
    area = float((np.diff(recall, prepend=0.0) * precision).sum())
    assert area == pytest.approx(average_precision_score(truth, scores))


def test_thinned_curves_keep_their_ends_and_nearly_their_area() -> None:
    scores, truth = answers(5_000)
    x, y = np.array(roc_curve(scores, truth, points=60)).T
    assert len(x) <= 61
    assert (x[-1], y[-1]) == (1, 1)
    assert np.trapezoid(y, x) == pytest.approx(roc_auc_score(truth, scores), abs=0.01)


def test_one_class_has_no_curve() -> None:
    assert roc_curve([0.1, 0.2], [True, True]) == []
    assert precision_recall_curve([0.1, 0.2], [False, False]) == []


def test_confusion_merges_the_rarest() -> None:
    true = ["a"] * 5 + ["b"] * 3 + ["c"] * 2 + ["d"]
    said = ["a"] * 5 + ["b", "b", "c"] + ["c", "d"] + ["a"]
    found = confusion(true, said, ["a", "b", "c", "d"], limit=3)
    assert found.classes == ["a", "b", "(others)"]
    assert found.counts == [[5, 0, 0], [0, 2, 1], [1, 0, 2]]
    assert found.merged == 2


def test_confusion_counts_every_row_also_of_classes_nobody_knew() -> None:
    found = confusion(["new", "a"], ["a", "a"], ["a", "b"])
    assert found.classes == ["a", "new"]
    assert sum(map(sum, found.counts)) == 2
