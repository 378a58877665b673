"""What is none of the classes: told from them in a run, from its table to its report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from trunkline import evaluate, fit, load, predict
from trunkline.data import read_table, write_rows

PLACES = {
    "a": (2.0, 0.0),
    "b": (-1.0, 1.7),
    "c": (-1.0, -1.7),
    "new": (0.0, 0.0),
}  # the new one lies between all others


def rows(folder: Path) -> Path:
    """`new` is in the test rows alone."""
    rng = np.random.default_rng(0)
    made = []
    for i in range(480):
        part = ("train", "train", "val", "test")[i % 4]
        kind = rng.choice(["a", "b", "c", *(["new"] if part == "test" else [])])
        x, y = (np.array(PLACES[kind]) + 0.3 * rng.normal(size=2)).round(3).tolist()
        made.append({"x": x, "y": y, "kind": kind, "part": part})
    write_rows(folder / "rows.csv", made)
    (folder / "config.yaml").write_text(
        "data: {table: rows.csv, split: part}\ninputs: {x: number, y: number}\n"
        "tasks: {kind: {type: category, unknown: none of them}}\n"
        "training: {steps: 150, batch_size: 32, lr: 0.01, threads: 1, validations: 3}\nwidth: 16\n"
    )
    return folder / "config.yaml"


def test_a_class_that_is_new_is_told_as_unknown(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"'new'; 'none of them' is the right answer for them"):
        run = fit(rows(tmp_path), out=tmp_path / "run", show_progress=False)
    scores = run.metrics["test"]["kind"]
    assert scores["unknown_auc"] > 0.95 and scores["accuracy"] > 0.85
    assert run.metrics["validation"]["kind"]["unknown_auc"] is None
    assert 0.9 < run.metrics["validation"]["kind"]["accuracy"] < 1, "about one in twenty is refused"
    with pytest.warns(UserWarning, match="'none of them' is the right answer"):
        assert evaluate(run.folder)["scores"] == run.metrics["test"]
    said = predict(run.folder, tmp_path / "rows.csv", tmp_path / "said.csv")
    assert [row["kind"] for row in _rows(tmp_path / "said.csv")] == [row["kind"]["value"] for row in said]
    table = _rows(tmp_path / "rows.csv")
    new = [row["kind"]["value"] == "none of them" for row, true in zip(said, table) if true["kind"] == "new"]
    known = [row["kind"]["value"] == "none of them" for row, true in zip(said, table) if true["kind"] != "new"]
    assert np.mean(new) > 0.6 and np.mean(known) < 0.15
    assert load(run.folder).predict([{"x": 2.0, "y": 0.1}])[0]["kind"]["value"] == "a"
    quality = json.loads((tmp_path / "run" / "report" / "quality.json").read_text())["tasks"]["kind"]
    assert quality["confusion"]["classes"] == ["a", "b", "c", "none of them"]
    (own,) = (one for one in quality["classes"] if one["name"] == "none of them")
    assert own["rows"] == sum(row["kind"] == "new" for row in table) and own["recall"] == pytest.approx(np.mean(new))
    few = [{"x": 0.0}, {"x": 2.0}, {"y": 1.7}, {"y": -1.7}]
    assert "none of them" not in {row["kind"]["value"] for row in load(run.folder).predict(few)}
    alone = json.loads((tmp_path / "run" / "report" / "absence.json").read_text())
    for subset in alone["subsets"]:
        assert subset["scores"]["kind"] > subset["majority"]["kind"] - 0.1, "absence is no class"


def test_without_validation_rows_it_is_never_said_which_is_told(tmp_path: Path) -> None:
    table = [row for row in _rows(rows(tmp_path).parent / "rows.csv") if row["kind"] != "new"]
    some = [{**row, "part": "train" if i > 20 else "val"} for i, row in enumerate(table[:120])]
    write_rows(tmp_path / "rows.csv", some)
    with pytest.warns(
        UserWarning, match=r"tasks\.kind\.unknown: is never said: 21 validation rows with all inputs, labelled"
    ):
        fit(tmp_path / "config.yaml", overrides=["training.steps=2"], out=tmp_path / "run", show_progress=False)


def _rows(path: Path) -> list[dict]:
    table = read_table(path)
    return [table.row(i) for i in range(len(table))]
