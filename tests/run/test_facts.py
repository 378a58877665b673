"""What is told of the answers, from decoded answers and labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from trunkline import fit, load
from trunkline.config import load_config
from trunkline.data import read_table, write_rows
from trunkline.plan import make_plan
from trunkline.report import make_page
from trunkline.run.facts import Subject
from trunkline.run.facts.absence import absence_facts
from trunkline.run.facts.held import _kept_rows, intervals
from trunkline.run.facts.quality import describe, unseen_in
from trunkline.run.facts.subject import for_each_task
from trunkline.sources import columns_of, read_splits
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


NAMES = [f"x{i}" for i in range(14)]


def write_wide(path: Path, seed_of_test: int, *, splits: tuple[str, ...]) -> None:
    """A sum of all columns, each weighing more than the one before; in the test rows it is noise of some seed."""
    rng, other = np.random.default_rng(0), np.random.default_rng(seed_of_test)
    rows: list[dict[str, Any]] = []
    for i in range(400):
        cells, split = rng.normal(size=len(NAMES)), splits[i % len(splits)]
        label = float(other.normal()) if split == "test" else float(cells @ np.arange(len(NAMES)))
        rows.append({**dict(zip(NAMES, cells.tolist())), "y": label, "split": split})
    write_rows(path, rows)


def config_of(table: Path) -> dict[str, Any]:
    return {
        "data": {"table": str(table), "split": "split"},
        "inputs": dict.fromkeys(NAMES, "number"),
        "tasks": {"y": "number"},
        "width": 16,
        "training": {"steps": 200, "threads": 1, "lr": 0.01},
    }


def test_columns_are_picked_on_other_rows_than_they_are_judged_on(tmp_path: Path) -> None:
    """Whatever the labels of the test rows are, the same columns are picked: those that matter on validation rows."""
    found = []
    for seed in (1, 2):
        write_wide(tmp_path / f"{seed}.jsonl", seed, splits=("train", "train", "val", "test"))
    run = fit(config_of(tmp_path / "1.jsonl"), out=tmp_path / "run")
    for seed in (1, 2):
        config = load_config(config_of(tmp_path / f"{seed}.jsonl"), columns=columns_of)
        plan = make_plan(config, read_splits(config))
        subject = Subject(run.folder, plan, load(run.folder), run.metrics, {})
        found.append(absence_facts(subject))
    assert [one["split"] for one in found] == ["test"] * 2
    assert [one["screened_on"] for one in found] == ["validation"] * 2
    picked, again = ([column["name"] for column in one["columns"]] for one in found)
    assert picked == again and {"x11", "x12", "x13"} < set(picked)
    assert found[0]["columns"] != found[1]["columns"]  # the scores are those of the test rows
    assert "picked on the validation rows" in make_page([run.folder])


def test_columns_that_are_picked_on_the_same_rows_say_so(tmp_path: Path) -> None:
    write_wide(tmp_path / "rows.jsonl", 1, splits=("train", "train", "val"))
    config = config_of(tmp_path / "rows.jsonl")
    run = fit(config | {"training": config["training"] | {"steps": 5}}, out=tmp_path / "run")
    assert "picked on these rows, too" in make_page([run.folder])


def test_each_input_alone_beside_all_that_its_rows_have(tmp_path: Path) -> None:
    """On the very rows that have it, whatever else they lack; the interval holds the difference."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for i in range(700):
        x, y = rng.normal(size=2)
        cells = {"x": None if i % 5 == 1 else x, "y": None if i % 5 == 2 else y}
        label = int(x + 0.3 * y > 0) if i % 7 < 2 else None
        rows.append({**cells, "is up": label, "sum": x + y, "split": ("train", "train", "val", "test")[i % 4]})
    write_rows(tmp_path / "rows.jsonl", rows)
    config = {
        "data": {"table": str(tmp_path / "rows.jsonl"), "split": "split"},
        "inputs": {"x": "number", "y": "number"},
        "tasks": {"is up": "binary", "sum": "number"},
        "width": 16,
        "training": {"steps": 150, "threads": 1, "lr": 0.01},
    }
    run = fit(config, out=tmp_path / "run")
    loaded = load_config(config, columns=columns_of)
    subject = Subject(run.folder, make_plan(loaded, read_splits(loaded)), load(run.folder), run.metrics, {})
    told = {one["input"]: one for one in absence_facts(subject)["alone"]}
    test = [row for row in rows if row["split"] == "test"]
    for name, other in (("x", "y"), ("y", "x")):
        here = [row for row in test if row[name] is not None]
        whole, _ = run.predictor.evaluate(read_table(here))
        alone, _ = run.predictor.evaluate(read_table([{**row, other: None} for row in here]))
        for task, metric in (("is up", "roc_auc"), ("sum", "r2")):
            one = told[name]["tasks"][task]
            assert one["rows"] == sum(row[task] is not None for row in here)
            assert one["together"] == pytest.approx(whole[task][metric], abs=1e-6)
            assert one["alone"] == pytest.approx(alone[task][metric], abs=1e-6)
            few = one["rows"] < 100
            assert few == (task == "is up")
            assert one["low"] is None if few else one["low"] < one["together"] - one["alone"] < one["high"]
    assert told["y"]["tasks"]["sum"]["low"] > 0, "half of a sum is not the sum"
    page = make_page([run.folder])
    assert "All inputs, or the best one" in page and "all together better" in page


def test_rare_tasks_have_their_share_of_the_rows_that_are_looked_at() -> None:
    labelled = np.zeros((1000, 3), dtype=bool)
    labelled[::2, 0], labelled[500:530, 1], labelled[501:999:2, 2] = True, True, True
    rows = np.arange(1000) * 7
    some = for_each_task(rows, labelled, 90)
    assert len(some) == len(set(some)) == 90 and (np.diff(some) > 0).all() and set(some) <= set(rows)
    assert (labelled[some // 7].sum(0) >= 30).all()
    assert np.ptp(some[labelled[some // 7, 0]]) > 6000  # evenly spaced
    wide = for_each_task(rows, labelled, 300)  # all there are of the rare one, of the others alike
    counts = labelled[wide // 7].sum(0)
    assert counts[1] == 30 and abs(counts[0] - counts[2]) <= 30
    assert for_each_task(rows, labelled, 1000) is rows
    assert len(for_each_task(rows, labelled, 2)) == 2
    assert for_each_task(rows, np.zeros((1000, 0), dtype=bool), 4).tolist() == [0, 7 * 333, 7 * 666, 7 * 999]


def test_tables_without_a_common_input(tmp_path: Path) -> None:
    """Nothing is compared with itself, and a small table beside a large one is looked at, too."""
    rng = np.random.default_rng(0)
    split = ("train", "val", "test")
    large = [{"x": float(x), "y": bool(x > 0), "split": split[i % 3]} for i, x in enumerate(rng.normal(size=2400))]
    small = [{"z": float(z), "k": "ab"[int(z > 0)], "split": split[i % 3]} for i, z in enumerate(rng.normal(size=60))]
    tags = [{"note": "a b c", "t": ["A", "B", "B"], "split": split[i % 3]} for i in range(60)]
    tables = {}
    for name, rows in (("large", large), ("small", small), ("tags", tags)):
        write_rows(tmp_path / f"{name}.jsonl", rows)
        tables[name] = {"train": str(tmp_path / f"{name}.jsonl"), "split": "split"}
    config: dict[str, Any] = {
        "data": {"tables": tables, "sampling": "equal"},
        "inputs": {"x": "number", "z": "number", "note": {"type": "text", "encoder": "scratch"}},
        "tasks": {"y": "binary", "k": "category", "t": {"type": "tags", "of": "note"}},
        "width": 8,
        "training": {"steps": 60, "threads": 1, "lr": 0.02},
    }
    run = fit(config, out=tmp_path / "run")
    loaded = load_config(config, columns=columns_of)
    subject = Subject(run.folder, make_plan(loaded, read_splits(loaded)), load(run.folder), run.metrics, {})
    told = absence_facts(subject)
    assert told["alone"] == []
    assert "All inputs, or the best one" not in make_page([run.folder])
    assert (subject.batches.labelled[subject.some_rows(100)].sum(0) >= 20).all()
    assert None not in told["subsets"][0]["scores"].values()
    kept = _kept_rows(subject)
    assert subject.batches.labelled[kept].sum(0).tolist() == [800, 20, 20]
    assert set(intervals(subject)) == {"y", "k", "t"}


def test_of_large_splits_some_rows_are_looked_at_and_all_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"split": ("train", "test")[n % 2], "x": n % 7, "y": "ab"[n % 7 > 3]} for n in range(400)]
    write_rows(tmp_path / "rows.csv", rows)
    config = {
        "data": {"train": str(tmp_path / "rows.csv"), "split": "split"},
        "inputs": {"x": "number"},
        "tasks": {"y": "category"},
        "training": {"steps": 3},
    }
    whole = fit(config, out=tmp_path / "whole")
    monkeypatch.setattr("trunkline.run.predictions.LOOKED_AT", 30)
    monkeypatch.setattr("trunkline.run.predictions.PIECE", 64)
    some = fit(config, out=tmp_path / "some")
    for name in ("test.jsonl",):
        assert (whole.folder / "predictions" / name).read_bytes() == (some.folder / "predictions" / name).read_bytes()
    told = [json.loads((run.folder / "report" / "quality.json").read_text()) for run in (whole, some)]
    assert [(one["rows"], one["looked_at"], one["tasks"]["y"]["rows"]) for one in told] == [
        (200, 200, 200), (200, 30, 200),
    ]  # fmt: skip
    assert [sum(map(sum, one["tasks"]["y"]["confusion"]["counts"])) for one in told] == [200, 30]
    assert "figures here are of 30 of 200 rows" in (some.folder / "report.html").read_text()
    assert "figures here are of" not in (whole.folder / "report.html").read_text()
    gallery = json.loads((some.folder / "report" / "gallery.json").read_text())
    predictions = [json.loads(line) for line in (some.folder / "predictions" / "test.jsonl").read_text().splitlines()]
    for row in gallery["rows"]:
        place = (row["row"] - 2) // 2  # test rows are every second one
        assert row["answers"]["y"]["said"]["text"] == predictions[place]["y"]["value"]
