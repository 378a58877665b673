"""Many numbers, many binary tasks, few labels: the config of `benchmarks/wide_table.yaml` on a small table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.wide_table import CONFIG, our_step, plain_step, plan_of, write_wide_table
from torchmetrics.functional.classification import binary_accuracy, binary_auroc, binary_average_precision

from trunkline import fit
from trunkline.config import load_config
from trunkline.data import read_table, write_rows
from trunkline.model import Evaluation
from trunkline.run import Run
from trunkline.sources import columns_of
from trunkline.tasks.binary import BinaryMetric, stacked_binary_scores

TASKS = [f"y{j:03d}" for j in range(40)]
UNSEEN = "y007"  # has no label in a validation row


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """60 rows, 30 inputs, 40 tasks; a column says which rows validate."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("wide")
    write_wide_table(folder / "all.parquet", rows=60, inputs=30, tasks=40, absent=0.5)
    table = read_table(folder / "all.parquet")
    rows = [table.row(i) | {"split": "val" if i % 3 == 0 else "train"} for i in range(60)]
    for row in rows:
        if row["split"] == "val":
            row[UNSEEN] = None
    write_rows(folder / "wide_table.parquet", rows)
    text = CONFIG.read_text().replace("validation: 0.1", "split: split")
    (folder / CONFIG.name).write_text(text)
    return fit(folder / CONFIG.name, overrides=["training.steps=3", "width=32"], out=folder / "run")


def test_the_config_is_short() -> None:
    assert len(CONFIG.read_text().splitlines()) < 15


def test_one_head_and_one_metric(run: Run) -> None:
    preprocessing = run.predictor.preprocessing
    (head,) = preprocessing.heads
    assert head.tasks == tuple(TASKS)
    assert len(preprocessing.encoders) == len(run.predictor.network.heads) == 1
    assert len(Evaluation(preprocessing).metrics) == 1


def test_a_score_a_task(run: Run) -> None:
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert list(metrics["validation"]) == list(metrics["majority"]) == TASKS
    scores = [s for task, s in metrics["validation"].items() if task != UNSEEN]
    assert all(set(s) == {"roc_auc", "average_precision", "accuracy", "f1"} for s in scores)
    assert len({s["roc_auc"] for s in scores}) > 5, "tasks of a stack must not share a score"


def test_a_task_without_labels_says_so(run: Run) -> None:
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert metrics["validation"][UNSEEN] is None and metrics["majority"][UNSEEN] is None


def test_many_tasks_have_a_page_of_the_best_and_the_worst(run: Run) -> None:
    page = (run.folder / "report.html").read_text()
    assert "and those that gain least" in page
    assert "score above guessing" in page
    assert len(page) < 1_000_000
    absence = json.loads((run.folder / "report" / "absence.json").read_text())
    assert absence["screened"] == 30
    assert len({column["name"] for column in absence["columns"]}) == 8


def test_600_names_survive(tmp_path: Path) -> None:
    write_wide_table(tmp_path / "wide_table.parquet", rows=2)
    (tmp_path / CONFIG.name).write_text(CONFIG.read_text())
    config = load_config(tmp_path / CONFIG.name, columns=columns_of)
    assert list(config.tasks) == [f"y{j:03d}" for j in range(600)]
    assert list(config.inputs) == [f"x{i:03d}" for i in range(300)]


def cells(rows: int, tasks: int, seed: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Logits with ties, and labels: absent ones are NaN, the first three tasks have none, only yes, only no."""
    rng = np.random.default_rng(seed)
    logits = torch.tensor(rng.normal(0, 3, (rows, tasks, 1)).round(), dtype=torch.float32)
    values = torch.tensor(rng.random((rows, tasks)) < 0.5, dtype=torch.float32)
    flags = torch.tensor(rng.random((rows, tasks)) < 0.4)
    flags[:, 0], flags[0, 1:3], values[:, 1], values[:, 2] = False, True, 1.0, 0.0
    return logits, {"values": values.masked_fill(~flags, float("nan")), "flags": flags}


@pytest.mark.parametrize("rows", [1, 2, 7, 200])
def test_scores_of_a_stack_are_those_of_torchmetrics(rows: int) -> None:
    output, target = cells(rows, 30, seed=rows)
    metric = BinaryMetric([{}] * 30)
    metric.update(output, target)
    ours = metric.compute()
    assert ours[0] is None and ours[1]["roc_auc"] is ours[2]["average_precision"] is None
    for g, mine in enumerate(ours):
        here = target["flags"][:, g]
        probability, truth = output[here, g, 0].double().sigmoid(), target["values"][here, g].long()
        assert (mine is None) == (not here.any())
        if mine is not None:
            assert mine["accuracy"] == pytest.approx(float(binary_accuracy(probability, truth)), abs=1e-6)
        if mine is not None and mine["roc_auc"] is not None:
            assert mine["roc_auc"] == pytest.approx(float(binary_auroc(probability, truth)), abs=1e-6)
            theirs = float(binary_average_precision(probability, truth))
            assert mine["average_precision"] == pytest.approx(theirs, abs=1e-6)


def test_a_stack_is_scored_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much memory as is allowed, the same scores."""
    output, target = cells(50, 30, seed=0)
    whole = stacked_binary_scores(output[..., 0], target["values"] > 0.5, target["flags"], torch.zeros(30))
    monkeypatch.setattr("trunkline.tasks.binary.CELLS_AT_A_TIME", 170)
    metric = BinaryMetric([{}] * 30)
    metric.update(output, target)
    assert metric.compute() == whole


def test_the_benchmark_takes_its_steps(tmp_path: Path) -> None:
    """Both sides of the comparison run on the same batches; what they take is for the benchmark to say."""
    plan = plan_of(tmp_path / "wide", rows=300)
    for step in (plain_step(plan), our_step(plan)):
        before = [p.detach().clone() for p in step.network.parameters()]
        step()
        assert any(not torch.equal(p, q) for p, q in zip(step.network.parameters(), before))
