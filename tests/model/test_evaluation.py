"""`gain` and `aggregate`, by hand."""

from types import SimpleNamespace

import pytest

from trunkline.model.evaluation import aggregate, gain
from trunkline.schema import TaskColumn
from trunkline.tasks import Binary, Category, Number, Text

KINDS = {"kind": Category(), "loud": Binary(), "price": Number(), "german": Text()}
BOUND = SimpleNamespace(schema=SimpleNamespace(tasks={n: TaskColumn(kind, n) for n, kind in KINDS.items()}))


def test_a_gain_is_the_share_of_the_way_from_majority_to_perfect():
    assert gain("kind", {"kind": {"accuracy": 0.9}}, {"kind": {"accuracy": 0.6}}, BOUND) == pytest.approx(0.75)
    assert gain("kind", {"kind": {"accuracy": 0.4}}, {"kind": {"accuracy": 0.6}}, BOUND) == pytest.approx(-0.5)
    assert gain("kind", {"kind": {"accuracy": 0.6}}, {"kind": {"accuracy": 0.6}}, BOUND) == 0.0


def test_perfect_is_what_the_task_says():
    assert KINDS["german"].best == 100.0
    primary = KINDS["german"].primary
    assert gain("german", {"german": {primary: 40.0}}, {"german": {primary: 20.0}}, BOUND) == pytest.approx(0.25)


@pytest.mark.parametrize(("ours", "theirs"), [
    (None, {"accuracy": 0.5}), ({"accuracy": 0.5}, None), ({"accuracy": None}, {"accuracy": 0.5}),
    ({"accuracy": 0.5}, {"accuracy": None}), ({"accuracy": 1.0}, {"accuracy": 1.0}),
])  # fmt: skip
def test_a_gain_that_is_not_defined_is_none(ours, theirs):
    assert gain("kind", {"kind": ours}, {"kind": theirs}, BOUND) is None


def test_the_aggregate_is_the_mean_gain_of_the_tasks_that_have_one():
    scores = {"kind": {"accuracy": 0.9}, "loud": {"roc_auc": 0.7}, "price": {"r2": None}, "german": None}
    majority = {"kind": {"accuracy": 0.6}, "loud": {"roc_auc": 0.5}, "price": {"r2": 0.0}, "german": {"chrf": 1.0}}
    assert aggregate(scores, majority, BOUND) == pytest.approx((0.75 + 0.4) / 2)


def test_the_aggregate_of_nothing_is_none():
    assert aggregate({"kind": None}, {"kind": {"accuracy": 0.5}}, BOUND) is None
    assert aggregate({}, {}, BOUND) is None
