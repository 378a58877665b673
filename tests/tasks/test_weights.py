"""Class weights and label smoothing: the loss stays a weighted mean; balanced is scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from trunkline.errors import DataError
from trunkline.tasks import Binary, Category, Labels, Ordinal
from trunkline.tasks.weights import weights_of

torch.set_num_threads(1)

NAMES = ["a"] * 6 + ["b"] * 3 + ["c"]


def test_balanced_is_scikit_learns():
    state = Category(class_weights="balanced").fit(NAMES)
    assert state["weights"] == pytest.approx(
        compute_class_weight("balanced", classes=np.array(["a", "b", "c"]), y=NAMES)
    )
    assert Ordinal(class_weights="balanced").fit([1.0] * 6 + [2.0] * 3 + [3.0])["weights"] == pytest.approx(
        state["weights"]
    )
    truth = [True] * 2 + [False] * 8
    expected = compute_class_weight("balanced", classes=np.array([False, True]), y=truth)
    assert Binary(class_weights="balanced").fit(truth)["weights"] == pytest.approx(expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_category_is_a_weighted_mean(smoothing):
    task = Category(class_weights=[1, 2, 5], label_smoothing=smoothing)
    state = task.fit(NAMES)
    head = task.build([state], 8)
    output, values = torch.randn(12, 1, 3), torch.randint(0, 3, (12, 1))
    flags = torch.arange(12)[:, None] < 9
    total, weight = head.loss(output, {"values": values.masked_fill(~flags, 10**6), "flags": flags})
    losses = F.cross_entropy(output[:9, 0], values[:9, 0], reduction="none", label_smoothing=smoothing)
    weights = torch.tensor([1.0, 2.0, 5.0])[values[:9, 0]]
    torch.testing.assert_close(total / weight, ((losses * weights).sum() / weights.sum()).reshape(1))
    if not smoothing:
        torch.testing.assert_close(
            (total / weight)[0], F.cross_entropy(output[:9, 0], values[:9, 0], torch.tensor([1.0, 2.0, 5.0]))
        )


def test_binary_weighs_yes_and_no_of_each_task_of_a_stack():
    task = Binary(class_weights="balanced", label_smoothing=0.2)
    states = [task.fit([True] * 2 + [False] * 8), task.fit([True] * 5 + [False] * 5)]
    head = task.build(states, 8)
    output, values = torch.randn(10, 2, 1), (torch.rand(10, 2) < 0.5).float()
    total, weight = head.loss(output, {"values": values, "flags": torch.ones(10, 2, dtype=torch.bool)})
    for g, state in enumerate(states):
        weights = torch.where(values[:, g] > 0.5, state["weights"][1], state["weights"][0])
        losses = F.binary_cross_entropy_with_logits(output[:, g, 0], values[:, g] * 0.8 + 0.1, reduction="none")
        torch.testing.assert_close(total[g] / weight[g], (losses * weights).sum() / weights.sum())
    assert head.linear.bias[0].item() == pytest.approx(0.0, abs=1e-6), "balanced, it starts at one half"


def test_labels_weigh_the_rows_that_have_a_name():
    task = Labels(class_weights="balanced")
    state = task.fit([["a", "b"], ["a"], ["a"], []])
    assert state["weights"] == pytest.approx([1 / 3, 3.0])
    head = task.build([state], 8)
    output, values = torch.randn(6, 1, 2), (torch.rand(6, 1, 2) < 0.5).float()
    total, weight = head.loss(output, {"values": values, "flags": torch.ones(6, 1, dtype=torch.bool)})
    weights = torch.where(values > 0.5, torch.tensor(state["weights"]), 1.0)
    losses = F.binary_cross_entropy_with_logits(output, values, reduction="none")
    torch.testing.assert_close(total / weight, ((losses * weights).sum() / weights.sum()).reshape(1))


def test_a_mapping_names_some():
    assert weights_of({"b": 3}, ["a", "b"], [0.5, 0.5]) == [1.0, 3.0]
    assert weights_of("balanced", ["a", "b"], [1.0, 0.0]) == [0.5, 1.0], "a level that does not occur"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"bb": 2.0}, r"'bb' is no class\. Did you mean|'bb' is no class\. Known: a, b"),
        ([1.0], r"1 weights for 2 classes \(a, b\)"),
        ([1.0, -1.0], "must be positive"),
    ],
)
def test_what_does_not_fit(given, says):
    with pytest.raises(DataError, match=says):
        weights_of(given, ["a", "b"], [0.5, 0.5])
