"""Binary: scores against scikit-learn, with holes and stacked; one rule for yes; decoding and the baseline."""

import numpy as np
import pytest
import torch
from sklearn import metrics

from trunkline.errors import DataError
from trunkline.tasks import Binary

torch.set_num_threads(1)


def scored(logits, values, flags):
    """Of one stack, in two batches: `[n, G]` each."""
    metric = Binary().metric([{"prior": 0.5}] * logits.shape[1])
    for part in (slice(0, 7), slice(7, None)):
        target = {"values": values[part].masked_fill(~flags[part], torch.nan), "flags": flags[part]}
        metric.update(logits[part].unsqueeze(-1), target)
    return metric.compute()


def expected(logits, truth):
    return {
        "roc_auc": metrics.roc_auc_score(truth, logits),
        "average_precision": metrics.average_precision_score(truth, logits),
        "accuracy": metrics.accuracy_score(truth, logits > 0),
        "f1": metrics.f1_score(truth, logits > 0),
    }


@pytest.mark.parametrize(("scale", "shift"), [(2.0, 0.0), (3.0, 40.0), (1e-9, 0.0), (1.0, -200.0)])
def test_scores_are_those_of_scikit_learn(scale, shift):
    """Ties and holes; also far from 0 and close to it, where 32-bit probabilities are all alike."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(60, 3, generator=generator).mul(3).round() * scale + shift
    values = (torch.rand(60, 3, generator=generator) < 0.4).float()
    flags = torch.rand(60, 3, generator=generator) < 0.7
    for g, scores in enumerate(scored(logits, values, flags)):
        rows = flags[:, g]
        assert scores == pytest.approx(expected(logits[rows, g].double().numpy(), values[rows, g].numpy()), abs=1e-12)


def test_even_minus_infinity_is_a_logit():
    """What has no label is never taken for the lowest logit."""
    logits = torch.tensor([[-torch.inf], [1.0], [-torch.inf], [-torch.inf], [0.5]])
    values = torch.tensor([[1.0], [1.0], [0.0], [0.0], [0.0]])
    flags = torch.tensor([[True], [True], [True], [False], [True]])
    truth, ranks = values[flags].numpy(), np.array([0, 2, 0, 1])
    (scores,) = scored(logits, values, flags)
    assert scores["roc_auc"] == pytest.approx(metrics.roc_auc_score(truth, ranks))
    assert scores["average_precision"] == pytest.approx(metrics.average_precision_score(truth, ranks))


def test_what_is_not_defined_is_none():
    logits, flags = torch.tensor([[1.0] * 3, [-1.0] * 3]), torch.tensor([[True, True, False]] * 2)
    no, yes, unlabelled = scored(logits, torch.tensor([[0.0, 1.0, 1.0]] * 2), flags)
    assert no == {"roc_auc": None, "average_precision": None, "accuracy": 0.5, "f1": None}
    assert yes == {"roc_auc": None, "average_precision": None, "accuracy": 0.5, "f1": pytest.approx(2 / 3)}
    assert unlabelled is None


@pytest.mark.parametrize("logit", [-100.0, -1e-9, 0.0, 1e-9, 1.0, 100.0])
def test_decoding_says_yes_where_the_metric_does(logit):
    output = torch.tensor([[[logit]]])
    ((decoded,),) = Binary().decode(output, [{"prior": 0.5}], [None])
    (scores,) = scored(output[..., 0], torch.ones(1, 1), torch.ones(1, 1, dtype=torch.bool))
    assert decoded["value"] is (scores["accuracy"] == 1.0) is (logit > 0)
    assert decoded["probability"] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-6)


def test_the_baseline_is_the_majority():
    task = Binary()
    states = [task.fit([True] * 3 + [False]), task.fit([False] * 9 + [True])]
    target = task.collate([[1.0, 0.0], [1.0, None], [0.0, 0.0], [1.0, 1.0]])
    output = task.baseline(states, target)
    assert [[d["value"] for d in column] for column in task.decode(output, states, [None] * 4)] == [
        [True] * 4, [False] * 4,
    ]  # fmt: skip
    assert output.sigmoid()[0, :, 0].tolist() == pytest.approx([0.75, 0.1])
    metric = task.metric(states)
    metric.update(output, target)
    first, second = metric.compute()
    assert (first["accuracy"], first["roc_auc"]) == (0.75, 0.5)
    assert (second["accuracy"], second["roc_auc"]) == (pytest.approx(2 / 3), 0.5)


def test_the_state_is_the_share_of_yes():
    assert Binary().fit(iter([True, False, False, False])) == {"prior": 0.25}
    with pytest.raises(DataError, match="found none"):
        Binary().fit([])


@pytest.mark.parametrize(("positive", "cells"), [("3", (3, 3.0, "3.0")), ("3.0", (3, "3")), ("true", (True, "True"))])
def test_positive_is_compared_as_a_name(positive, cells):
    assert [Binary(positive).read(cell) for cell in (*cells, "other")] == [True] * len(cells) + [False]
