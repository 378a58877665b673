"""Number: scores against scikit-learn in each column's own units, with holes; decoding, the baseline."""

import numpy as np
import pytest
import torch
from sklearn import metrics

from trunkline.errors import DataError
from trunkline.tasks import Number

torch.set_num_threads(1)


def columns(rows: int = 40) -> tuple[Number, np.ndarray, list[dict]]:
    """Three columns of very different units."""
    rng = np.random.default_rng(0)
    values = rng.normal([0.0, 1e4, -5.0], [1e-3, 500.0, 2.0], (rows, 3))
    task = Number()
    return task, values, [task.fit(iter(column)) for column in values.T]


def test_scores_are_those_of_scikit_learn_in_the_columns_units():
    task, values, states = columns()
    rng = np.random.default_rng(1)
    says = values + rng.normal(size=values.shape) * [s["std"] for s in states]
    flags = rng.random(values.shape) < 0.6
    mean, std = ([s[key] for s in states] for key in ("mean", "std"))
    output = torch.tensor((says - mean) / std).float().unsqueeze(-1)
    metric = task.metric(states)
    for part in (range(15), range(15, 40)):
        items = [[task.prepare(values[i, g], states[g], None) if flags[i, g] else None for g in range(3)] for i in part]
        target = task.collate(items)
        target["values"] = target["values"].masked_fill(~target["flags"], torch.nan)
        metric.update(output[list(part)], target)
    for g, scores in enumerate(metric.compute()):
        truth, guess = values[flags[:, g], g], says[flags[:, g], g]
        assert scores == pytest.approx({
            "mae": metrics.mean_absolute_error(truth, guess),
            "rmse": metrics.root_mean_squared_error(truth, guess),
            "r2": metrics.r2_score(truth, guess),
        }, rel=1e-5)  # fmt: skip


def test_equal_targets_have_no_r2_and_no_targets_no_scores():
    task, _, states = columns()
    metric = task.metric(states[:2])
    metric.update(torch.zeros(2, 2, 1), {"values": torch.ones(2, 2), "flags": torch.tensor([[True, False]] * 2)})
    first, second = metric.compute()
    assert first == {"mae": pytest.approx(states[0]["std"]), "rmse": pytest.approx(states[0]["std"]), "r2": None}
    assert second is None


def test_decoding_undoes_preparing():
    task, values, states = columns(5)
    items = [[task.prepare(v, s, None) for v, s in zip(row, states)] for row in values]
    decoded = task.decode(task.collate(items)["values"].unsqueeze(-1), states, [None] * 5)
    found = np.array([[cell["value"] for cell in column] for column in decoded]).T
    np.testing.assert_allclose(found, values, rtol=1e-5)


def test_the_baseline_is_the_training_mean():
    task, values, states = columns()
    target = task.collate([[task.prepare(v, s, None) for v, s in zip(row, states)] for row in values])
    output = task.baseline(states, target)
    decoded = [column[0]["value"] for column in task.decode(output, states, [None] * len(values))]
    assert decoded == pytest.approx(values.mean(0).tolist())
    metric = task.metric(states)
    metric.update(output, target)
    for scores, column in zip(metric.compute(), values.T, strict=True):
        assert scores["r2"] == pytest.approx(0.0, abs=1e-6)
        assert scores["rmse"] == pytest.approx(column.std(), rel=1e-5)


@pytest.mark.parametrize("value", [0.1, 0.0, -7.3])
def test_a_constant_column_has_scale_one(value):
    assert Number().fit([value] * 3) == {"mean": pytest.approx(value), "std": 1.0}


def test_nothing_to_learn_from():
    with pytest.raises(DataError, match="found none"):
        Number().fit([])
