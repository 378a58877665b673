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


def samples(name: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    return {
        "normal": rng.normal(50, 10, 400),
        "uniform": rng.uniform(0, 1, 400),
        "exponential": rng.exponential(3, 400),
        "prices": rng.lognormal(3, 1.2, 400).round(2),
        "counts": rng.poisson(rng.lognormal(0.5, 1.2, 400)).astype(float),
        "years": rng.integers(1950, 2020, 400).astype(float),
        "outlier": np.append(rng.normal(0, 1, 399), 1e6),
        "positive outlier": np.append(rng.uniform(0, 100, 399), 1e9),
        "student": rng.standard_t(1.5, 400),
        "rare": np.where(rng.random(400) < 0.9, 0.0, rng.normal(0, 5, 400)),
        "constant": np.full(400, 3.0),
    }[name]


@pytest.mark.parametrize(
    ("name", "scale", "loss"),
    [
        ("normal", "standard", "squared"),
        ("uniform", "standard", "squared"),
        ("exponential", "standard", "squared"),
        ("years", "standard", "squared"),
        ("constant", "standard", "squared"),
        ("prices", "log", "squared"),
        ("counts", "log", "squared"),
        ("outlier", "robust", "huber"),
        ("positive outlier", "robust", "huber"),
        ("student", "robust", "huber"),
    ],
)
def test_scale_and_loss_follow_from_the_tails(name, scale, loss):
    choices = Number().choose(samples(name).tolist())
    assert {option: value for option, (value, _) in choices.items()} == {"scale": scale, "loss": loss}
    assert all(reason for _, reason in choices.values())


@pytest.mark.parametrize("scale", ["standard", "robust", "log"])
@pytest.mark.parametrize("name", ["normal", "prices", "counts", "outlier", "student", "rare", "constant"])
def test_every_scale_comes_back_to_the_columns_units(name, scale):
    """From a cell to the target and back; the baseline is the mean on each."""
    values = samples(name)
    task = Number(scale=scale)
    state = task.fit(values.tolist())
    target = task.collate([[task.prepare(v, state, None)] for v in values.tolist()])
    (decoded,) = task.decode(target["values"].unsqueeze(-1), [state], [None] * 400)
    size = np.abs(values).max() if scale != "log" else np.abs(values) + state["unit"]
    assert bool((np.abs(np.array([d["value"] for d in decoded]) - values) < 1e-5 * size).all())
    (mean,) = task.decode(task.baseline([state], target)[:1], [state], [None])
    assert mean[0]["value"] == pytest.approx(values.mean(), rel=1e-4)


def test_a_logarithm_never_says_more_than_it_has_seen():
    task = Number(scale="log")
    state = task.fit([1.0, 10.0, 1000.0])
    ((low, high),) = task.decode(torch.tensor([[[-50.0]], [[50.0]]]), [state], [None, None])
    assert (low["value"], high["value"]) == (pytest.approx(1.0), pytest.approx(1000.0))


@pytest.mark.parametrize(("loss", "expected"), [("squared", 9.0), ("huber", 5.0), ("absolute", 3.0)])
def test_errors_by_hand(loss, expected):
    """Of 3 and of 0.5 units; Huber's is squared up to 1."""
    head = Number(loss=loss).build([{"mean": 0.0, "std": 1.0}], 4)
    target = {"values": torch.tensor([[3.0], [0.5]]), "flags": torch.tensor([[True], [False]])}
    assert [float(x) for x in head.loss(torch.zeros(2, 1, 1), target)] == [expected, 1.0]


def test_one_wild_label_does_not_spoil_the_others():
    """A line with one label of a million: chosen options find it, squared errors of standardised values do not."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 8, generator=generator)
    values = (x[:, 0] - x[:, 1]).tolist()
    values[0] = 1e6

    def error(task: Number) -> float:
        torch.manual_seed(0)
        state = task.fit(values)
        head = task.build([state], 8)
        target = task.collate([[task.prepare(v, state, None)] for v in values])
        optimiser = torch.optim.AdamW(head.parameters(), lr=1e-2)
        for _ in range(200):
            total, weight = head.loss(head.predict_output(x[None]), target)
            optimiser.zero_grad()
            (total / weight).sum().backward()
            optimiser.step()
        (decoded,) = task.decode(head.predict_output(x[None]).detach(), [state], [None] * 300)
        said = np.array([d["value"] for d in decoded])
        return float(np.median(np.abs(said - np.array(values))))

    chosen = {option: value for option, (value, _) in Number().choose(values).items()}
    assert error(Number(**chosen)) < 0.3 < 100 * 0.3 < error(Number())


@pytest.mark.parametrize("value", [0.1, 0.0, -7.3])
def test_a_constant_column_has_scale_one(value):
    assert Number().fit([value] * 3) == {"mean": pytest.approx(value), "std": 1.0}


def test_nothing_to_learn_from():
    with pytest.raises(DataError, match="found none"):
        Number().fit([])
