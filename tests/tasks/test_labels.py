"""Labels: scores against scikit-learn with holes, decoding, the baseline."""

import pytest
import torch
from sklearn import metrics

from trunkline.errors import DataError
from trunkline.tasks import Labels

torch.set_num_threads(1)

STATE = {"classes": ["a", "b", "c", "d"], "prior": [0.5, 0.25, 0.75, 0.1]}


@pytest.mark.parametrize(("scale", "shift"), [(2.0, 0.0), (3.0, 40.0)])
def test_scores_are_means_over_the_names_that_have_both(scale, shift):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 1, 4, generator=generator).mul(3).round() * scale + shift
    values = (torch.rand(50, 1, 4, generator=generator) < 0.4).float()
    flags = torch.rand(50, 1, generator=generator) < 0.7
    values[..., 3] = 0.0  # no row has it
    metric = Labels().metric([STATE])
    for part in (slice(0, 20), slice(20, None)):
        target = {"values": values[part].masked_fill(~flags[part].unsqueeze(-1), torch.nan), "flags": flags[part]}
        metric.update(logits[part], target)
    (scores,) = metric.compute()
    truth, says = values[flags][:, :3].numpy(), logits[flags][:, :3].double().numpy()
    assert scores == pytest.approx({
        "roc_auc": metrics.roc_auc_score(truth, says, average="macro"),
        "average_precision": metrics.average_precision_score(truth, says, average="macro"),
        "accuracy": (truth == (says > 0)).mean(),
        "f1": metrics.f1_score(truth, says > 0, average="macro"),
    }, abs=1e-12)  # fmt: skip


def test_without_a_name_that_has_both_nothing_is_defined():
    metric = Labels().metric([STATE])
    metric.update(torch.zeros(2, 1, 4), {"values": torch.ones(2, 1, 4), "flags": torch.ones(2, 1, dtype=torch.bool)})
    assert set(metric.compute()[0].values()) == {None}


def test_decoding_names_what_is_over_one_half():
    output = torch.tensor([[[1e-9, 0.0, -1e-9, 50.0]]])
    ((decoded,),) = Labels().decode(output, [STATE], [None])
    assert decoded["value"] == ["a", "d"]
    assert decoded["probabilities"] == pytest.approx({"a": 0.5, "b": 0.5, "c": 0.5, "d": 1.0})


def test_the_baseline_says_the_training_shares():
    task = Labels()
    state = task.fit([["x", "y"], ["x"], ["x", "x"], []])
    assert state == {"classes": ["x", "y"], "prior": [0.75, 0.25]}
    target = task.collate([[task.prepare(["x"], state, None)], [None], [task.prepare([], state, None)]])
    output = task.baseline([state], target)
    assert output.sigmoid().tolist() == [[pytest.approx([0.75, 0.25])]] * 3
    assert [row["value"] for row in task.decode(output, [state], [None] * 3)[0]] == [["x"]] * 3


def test_what_cannot_be_a_label():
    with pytest.raises(DataError, match="at least one name"):
        Labels().fit([[], []])


def test_a_name_that_training_never_saw_has_no_place():
    assert Labels().prepare(["bb", "b"], STATE, None) == [0.0, 1.0, 0.0, 0.0]


def test_names_are_read_alike_from_json_and_text():
    assert Labels().read("[1, 2.0, true]") == Labels().read("1|2.0|True") == ["1", "2", "true"]
