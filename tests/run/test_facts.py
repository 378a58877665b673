"""What is told of the answers, from decoded answers and labels."""

from __future__ import annotations

import pytest
from sklearn.metrics import precision_recall_fscore_support

from trunkline.run.facts.quality import describe, unseen_in
from trunkline.tasks import Category, Labels, Number, Ordinal


def test_names_that_training_never_saw_are_counted_for_each_kind() -> None:
    state = {"classes": ["a", "b"]}
    assert unseen_in(["a", "c", "c", "d"], Category(), state) == [("c", 2), ("d", 1)]
    assert unseen_in([["a", "c"], ["c", "d"], []], Labels(), state) == [("c", 2), ("d", 1)]
    assert unseen_in([1.0, 2.0, 2.5], Ordinal(), {"levels": [1, 2]}) == [("2.5", 1)]
    assert unseen_in([1.0, 2.0], Number(), {}) == []


@pytest.mark.parametrize("several", [False, True])
def test_classes_have_the_precision_and_recall_of_scikit_learn(several: bool) -> None:
    said, true = ["a", "a", "b", "b", "b", "c"], ["a", "b", "b", "b", "a", "c"]
    answers = [{"value": [s] if several else s, "probabilities": dict.fromkeys("abc", 0.3)} for s in said]
    told = describe(answers, [[t] for t in true] if several else true, {})["classes"]
    precision, recall, _, rows = precision_recall_fscore_support(true, said, labels=["b", "a", "c"])
    assert [one["name"] for one in told] == ["b", "a", "c"]  # the most frequent first
    assert [one["rows"] for one in told] == list(rows)
    assert [one["precision"] for one in told] == pytest.approx(list(precision))
    assert [one["recall"] for one in told] == pytest.approx(list(recall))
