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
from trunkline.run.facts.subject import apart, sampled, shared_out
from trunkline.sources import columns_of, read_splits
from trunkline.tasks import Category, Labels, Number, Ordinal


def test_names_that_training_never_saw_are_counted_for_each_kind() -> None:
    state = {"classes": ["a", "b"]}
    assert unseen_in(["a", "c", "c", "d"], Category(), state) == [("c", 2), ("d", 1)]
    assert unseen_in([["a", "c"], ["c", "d"], []], Labels(), state) == [("c", 2), ("d", 1)]
    assert unseen_in([1.0, 2.0, 2.5], Ordinal(), {"levels": [1, 2]}) == [("2.5", 1)]
    assert unseen_in([1.0, 2.0], Number(), {}) == []


def test_a_tag_that_is_only_said_is_told_with_its_precision() -> None:
    told = describe([["O", "B-a"], ["B-b"]], [["O", "B-a"], ["O"]], {})["classes"]
    assert told == [
        {"name": "O", "rows": 2, "precision": 1.0, "recall": 0.5},
        {"name": "B-a", "rows": 1, "precision": 1.0, "recall": 1.0},
        {"name": "B-b", "rows": 0, "precision": 0.0, "recall": None},
    ]


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


def test_tasks_that_meet_in_a_row_are_one_group() -> None:
    labelled = np.zeros((10, 6), dtype=bool)
    labelled[0:4, 0] = labelled[3:5, 3] = labelled[4:6, 1] = True  # 0 meets 3, which meets 1
    labelled[6:8, 2] = labelled[7:9, 5] = True
    found = [(tasks.tolist(), rows.tolist()) for tasks, rows in apart(labelled)]
    assert found == [([0, 1, 3], [0, 1, 2, 3, 4, 5]), ([2, 5], [6, 7, 8])]  # task 4 and row 9 have nothing
    chain = np.zeros((4, 5), dtype=bool)
    for row, pair in enumerate([(0, 4), (4, 1), (1, 3), (3, 2)]):
        chain[row, list(pair)] = True
    assert [tasks.tolist() for tasks, _ in apart(chain)] == [[0, 1, 2, 3, 4]]


def test_rows_are_shared_out_evenly() -> None:
    """As many of each group as of any other, the rest of what a small one lacks to the others; evenly spaced."""
    large, small, middle = np.arange(0, 3000, 3), np.arange(1, 31, 3), np.arange(2, 302, 3)
    some = shared_out([large, small, middle], 210)
    assert (np.diff(some) > 0).all()
    assert [int(np.isin(some, group).sum()) for group in (large, small, middle)] == [100, 10, 100]
    assert some[np.isin(some, large)].tolist() == sampled(large, 100).tolist()
    assert len(shared_out([large, small, middle], 5000)) == 1110
    assert shared_out([], 5).tolist() == []
    assert len(shared_out([large, small], 1)) == 1


def learned(folder: Path, tables: dict[str, list[dict[str, Any]]], inputs: Any, tasks: Any) -> Subject:
    """A small run of these tables, ready to be looked at."""
    for name, rows in tables.items():
        write_rows(folder / f"{name}.jsonl", rows)
    named = {name: {"train": str(folder / f"{name}.jsonl"), "split": "split"} for name in tables}
    data: dict[str, Any] = {"tables": named, "sampling": "equal"} if len(tables) > 1 else next(iter(named.values()))
    config: dict[str, Any] = {"data": data, "inputs": inputs, "tasks": tasks, "width": 8}
    config["training"] = {"steps": 60, "threads": 1, "lr": 0.02}
    run = fit(config, out=folder / "run")
    loaded = load_config(config, columns=columns_of)
    return Subject(run.folder, make_plan(loaded, read_splits(loaded)), load(run.folder), run.metrics, {})


SPLIT = ("train", "val", "test")


def test_tables_without_a_common_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compared with itself, and a small table beside a large one is looked at as often."""
    rng = np.random.default_rng(0)
    large = [{"x": float(x), "y": bool(x > 0), "split": SPLIT[i % 3]} for i, x in enumerate(rng.normal(size=900))]
    small = [{"z": float(z), "k": "ab"[int(z > 0)], "split": SPLIT[i % 3]} for i, z in enumerate(rng.normal(size=60))]
    tags = [{"note": "a b c", "t": ["A", "B", "B"], "split": SPLIT[i % 3]} for i in range(120)]
    inputs = {"x": "number", "z": "number", "note": {"type": "text", "encoder": "scratch"}}
    tasks = {"y": "binary", "k": "category", "t": {"type": "tags", "of": "note"}}
    subject = learned(tmp_path, {"large": large, "small": small, "tags": tags}, inputs, tasks)
    looked_at: list[list[int]] = []
    evaluate = subject.predictor.evaluate

    def seen(source: Any, rows: Any) -> Any:
        looked_at.append(subject.batches.labelled[rows].sum(0).tolist())
        return evaluate(source, rows)

    monkeypatch.setattr(subject.predictor, "evaluate", seen)
    monkeypatch.setattr("trunkline.run.facts.absence.ROWS", 60)
    monkeypatch.setattr("trunkline.run.facts.absence.LEAST_ROWS", 60)
    told = absence_facts(subject)
    assert told["alone"] == []
    assert told["rows"] == 60 and looked_at[0] == looked_at[1] == [20, 20, 20]
    assert None not in told["subsets"][0]["scores"].values()
    assert "All inputs, or the best one" not in make_page([subject.folder])
    monkeypatch.setattr("trunkline.run.facts.held.DENSE_ROWS", 30)
    monkeypatch.setattr("trunkline.run.facts.held.ROWS", 120)
    assert subject.batches.labelled[_kept_rows(subject)].sum(0).tolist() == [100, 20, 30]
    assert set(intervals(subject)) == {"y", "k", "t"}


def test_a_rare_label_does_not_choose_the_rows_that_others_are_judged_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it stands the common task is harder; each sample of rows has as much of that as there is."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for i in range(1800):
        x, rare = float(rng.normal()), i % 30 < 3
        y = bool(rng.random() < 0.5) if rare else x > 0
        rows.append({"x": x, "y": y, "r": ["A", "B"] if rare else None, "note": "a b", "split": SPLIT[i % 3]})
    inputs = {"x": "number", "note": {"type": "text", "encoder": "scratch"}}
    subject = learned(tmp_path, {"all": rows}, inputs, {"y": "binary", "r": {"type": "tags", "of": "note"}})
    common, share = subject.preprocessing.places(["y", "r"]), 0.1
    monkeypatch.setattr("trunkline.run.facts.held.DENSE_ROWS", 100)
    for some in (subject.some_rows(100), _kept_rows(subject)):
        labelled = subject.batches.labelled[some][:, common]
        assert len(some) == 100 and labelled[:, 0].all()
        assert abs(labelled[:, 1].mean() - share) < 0.05
    found = intervals(subject)["y"]
    assert found["low"] < subject.metrics["test"]["y"]["roc_auc"] < found["high"]


def test_only_tasks_whose_rows_have_more_are_compared(tmp_path: Path) -> None:
    """`k` comes with `x` alone, `y` with both inputs."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for i in range(360):
        x, z = rng.normal(size=2).tolist()
        both = {"x": x, "z": z, "y": x + z > 0, "k": None}
        rows.append(
            {**(both if i % 2 else {"x": x, "z": None, "y": None, "k": "ab"[int(x > 0)]}), "split": SPLIT[i % 3]}
        )
    subject = learned(tmp_path, {"all": rows}, {"x": "number", "z": "number"}, {"y": "binary", "k": "category"})
    told = {one["input"]: list(one["tasks"]) for one in absence_facts(subject)["alone"]}
    assert told == {"x": ["y"], "z": ["y"]}


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
