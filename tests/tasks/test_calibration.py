"""Temperatures against a general optimiser, thresholds by trying all, and that decoding and metrics follow them."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn import metrics

from trunkline.analysis import calibration_error, reliability
from trunkline.tasks import Binary, Category, Labels, Ordinal
from trunkline.tasks.binary import binary_nll
from trunkline.tasks.calibration import (
    best_f1_threshold,
    fit_temperatures,
    settle_threshold,
)
from trunkline.tasks.ordinal import log_probabilities

torch.set_num_threads(1)

CASES = {
    "category": (Category(), {"classes": ["a", "b", "c"], "prior": [0.3, 0.3, 0.4]}),
    "binary": (Binary(), {"prior": 0.5}),
    "labels": (Labels(), {"classes": ["a", "b", "c"], "prior": [0.3, 0.3, 0.4]}),
    "ordinal": (Ordinal(), {"levels": [1, 2, 3, 4], "prior": [0.25] * 4}),
}


def drawn(name: str, rows: int, heat: float) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Honest logits times `heat`, and labels drawn from the honest probabilities."""
    generator = torch.Generator().manual_seed(1)
    logits = 1.5 * torch.randn(rows, 1, {"binary": 1}.get(name, 3), generator=generator)
    if name == "category":
        values = torch.multinomial(logits[:, 0].softmax(-1), 1, generator=generator)
    elif name == "ordinal":
        values = torch.multinomial(log_probabilities(logits[:, 0]).exp(), 1, generator=generator).float()
    else:
        values = torch.bernoulli(logits.sigmoid(), generator=generator)
        values = values[..., 0] if name == "binary" else values
    return logits * heat, {"values": values, "flags": torch.ones(rows, 1, dtype=torch.bool)}


def error(judged):
    return calibration_error(reliability(judged.confidence.tolist(), judged.right.double().tolist()))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("heat", [0.4, 3.0])
def test_the_temperature_that_was_put_in_is_found(name, heat):
    task, state = CASES[name]
    output, target = drawn(name, 4000, heat)
    (settled,) = task.after_training(output, target, [state])
    assert settled.state["temperature"] == pytest.approx(heat, rel=0.08)
    (before,), (after,) = task.judge(output, target, [state]), task.judge(output, target, [state | settled.state])
    assert after.nll < before.nll
    assert error(after) < 0.03 < error(before)


@pytest.mark.parametrize("name", CASES)
def test_decoded_probabilities_are_the_judged_ones(name):
    task, state = CASES[name]
    output, target = drawn(name, 50, 3.0)
    state = state | {"temperature": 3.0}
    (judged,) = task.judge(output, target, [state])
    (decoded,) = task.decode(output, [state], [None] * 50)
    if name == "labels":
        sure = [p for row in decoded for p in row["probabilities"].values()]
    elif name == "binary":
        sure = [row["probability"] for row in decoded]
    else:
        sure = [row["probabilities"][str(row["value"])] for row in decoded]
    assert judged.confidence.tolist() == pytest.approx(sure, abs=1e-6)


def test_the_optimum_is_a_general_optimisers():
    """Of three tasks at once, each with its own rows; the prior is worth one row of 500."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(500, 3, generator=generator).double() * torch.tensor([0.5, 2.0, 6.0])
    truth = torch.rand(500, 3, generator=generator) < (logits / torch.tensor([0.5, 2.0, 3.0])).sigmoid()
    flags = torch.rand(500, 3, generator=generator) < 0.6
    rows = flags.sum(0).double()
    found = fit_temperatures(lambda beta: binary_nll(logits * beta, truth, flags), rows)

    def posterior(log, z, y, n):
        return np.logaddexp(0, -np.where(y, 1, -1) * z * np.exp(log)).mean() + log**2 / (2 * n)

    for g in range(3):
        mine = logits[flags[:, g], g].numpy(), truth[flags[:, g], g].numpy(), float(rows[g])
        best = minimize_scalar(posterior, args=mine, bounds=(-3, 3), method="bounded", options={"xatol": 1e-9})
        assert float(found[g]) == pytest.approx(np.exp(-best.x), rel=1e-4)


def test_it_is_never_worse_and_never_certain():
    """Without a single mistake the likelihood has no optimum; the temperature stays finite and helps."""
    logits, truth = torch.linspace(-3, 3, 60).double()[:, None], torch.arange(60)[:, None] >= 30
    flags = torch.ones_like(truth)
    heat = fit_temperatures(lambda beta: binary_nll(logits * beta, truth, flags), torch.tensor([60.0]))
    assert 0.05 < float(heat) < 1
    assert float(binary_nll(logits / heat, truth, flags)) < float(binary_nll(logits, truth, flags))


@pytest.mark.parametrize("name", CASES)
def test_few_rows_and_a_wish_against_it(name):
    task, state = CASES[name]
    (settled,) = task.after_training(*drawn(name, 29, 3.0), [state])
    assert settled.state == {} and "29 labelled validation rows are too few" in settled.skipped["temperature"]
    (settled,) = type(task)(calibrate=False).after_training(*drawn(name, 400, 3.0), [state])
    assert (settled.state, settled.skipped) == ({}, {})


def test_rows_without_a_label_say_nothing():
    task, state = CASES["binary"]
    output, target = drawn("binary", 200, 3.0)
    holes = {"values": target["values"].clone(), "flags": target["flags"].clone()}
    holes["flags"][::2], holes["values"][::2] = False, torch.nan
    alone = {k: v[1::2] for k, v in target.items()}
    assert task.after_training(output, holes, [state]) == task.after_training(output[1::2], alone, [state])
    assert task.judge(output, {**target, "flags": torch.zeros(200, 1, dtype=torch.bool)}, [state]) == [None]


class TestThresholds:
    @pytest.mark.parametrize("seed", range(5))
    def test_none_is_better(self, seed):
        """Also with ties: equal logits are told alike."""
        rng = np.random.default_rng(seed)
        logits = torch.tensor(rng.normal(0, 2, 60).round(1 if seed else 0))
        truth = torch.tensor(rng.random(60) < (logits - 1).sigmoid().numpy())
        threshold = best_f1_threshold(logits, truth)
        ours = metrics.f1_score(truth, logits.sigmoid() > threshold)
        assert ours == pytest.approx(max(metrics.f1_score(truth, logits >= cut) for cut in logits))

    def test_too_few_of_one_kind(self):
        settled = settle_threshold(torch.randn(100), torch.arange(100) < 4)
        assert settled.state == {} and "4 yes and 96 no" in settled.skipped["threshold"]

    @pytest.mark.parametrize("threshold", [0.2, "best_f1"])
    def test_decoding_and_metric_follow_it(self, threshold):
        """Of binary and labels, with a temperature; ranks do not change."""
        for name in ("binary", "labels"):
            plain, state = CASES[name]
            task = type(plain)(threshold=threshold)
            output, target = drawn(name, 300, 3.0)
            output = output - 2.0
            first = task.fit([True, False] if name == "binary" else [["a", "b"], ["c"]])
            (settled,) = task.after_training(output, target, [first])
            final = first | settled.state
            metric, other = task.metric([final]), plain.metric([state])
            metric.update(output, target), other.update(output, target)
            (scores,), (at_half,) = metric.compute(), other.compute()
            assert scores["roc_auc"] == at_half["roc_auc"] and scores["f1"] > at_half["f1"]
            (decoded,) = task.decode(output, [final], [None] * 300)
            if name == "binary":
                said = np.array([[row["value"]] for row in decoded])
                chances = np.array([[row["probability"]] for row in decoded])
            else:
                said = np.array([[c in row["value"] for c in "abc"] for row in decoded])
                chances = np.array([[row["probabilities"][c] for c in "abc"] for row in decoded])
            truth = target["values"].reshape(300, -1).numpy()
            assert scores["accuracy"] == pytest.approx((said == truth).mean())
            assert scores["f1"] == pytest.approx(np.mean([metrics.f1_score(t, s) for t, s in zip(truth.T, said.T)]))
            cut = final.get("thresholds", final.get("threshold"))
            assert ((chances > np.array(cut)) == said).mean() > 0.999
