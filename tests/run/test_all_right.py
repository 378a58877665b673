"""Rows in which all answers are right at once, counted by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trunkline.data import read_table, write_rows
from trunkline.modalities import Text
from trunkline.report.sections.summary import _all_right
from trunkline.run import evaluate, fit
from trunkline.run.all_right import MOST, all_right, labelled_together
from trunkline.schema import Schema, TaskColumn
from trunkline.tables import all_right_line
from trunkline.tasks import Binary, Category, Labels, Number, Tags

TASKS = {
    "intent": Category(),
    "loud": Binary(),
    "marks": Labels(),
    "slots": TaskColumn(Tags(), "slots", of="note"),
    "price": Number(),
}
RIGHT = {"note": "a b", "intent": "x", "loud": "yes", "marks": ["m", "n"], "slots": "O B-k", "price": 1}
SAID = {
    "intent": {"value": "x"}, "loud": {"value": True}, "marks": {"value": ["n", "m"]}, "slots": ["O", "B-k"],
    "price": {"value": 9.0},
}  # fmt: skip


class Parrot:
    """In the place of a predictor: always says the same."""

    def __init__(self, tasks: dict[str, Any]) -> None:
        self.preprocessing = self
        self.schema = Schema({"note": Text()}, tasks)
        self.asked: list[Sequence[int]] = []

    def answers(self, table: Any, rows: Sequence[int], tasks: Sequence[str]) -> tuple[list[dict[str, Any]], dict]:
        self.asked.append(rows)
        return [SAID for _ in rows], {}


def test_by_hand() -> None:
    """Of eight rows two lack a label; of the others two are right, one of them without a look at its price."""
    table = read_table([
        RIGHT,
        {**RIGHT, "intent": "never seen"},
        {**RIGHT, "loud": "no"},
        {**RIGHT, "marks": ["m"]},
        {**RIGHT, "slots": "O O"},
        {**RIGHT, "slots": None},
        {**RIGHT, "price": None},
        {**RIGHT, "note": None},
    ])  # fmt: skip
    parrot = Parrot(TASKS)
    found = all_right(parrot, table, range(8))  # type: ignore[arg-type]
    assert found == {"tasks": ["intent", "loud", "marks", "slots"], "rows": 6, "share": pytest.approx(2 / 6)}
    assert parrot.asked == [[0, 1, 2, 3, 4, 6]]
    assert all_right(parrot, table, [0, 1, 5]) == {**found, "rows": 2, "share": 0.5}  # type: ignore[arg-type]
    one = read_table([{**RIGHT, "loud": None, "marks": None, "slots": None}])
    assert all_right(parrot, one, [0]) is None  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trunkline.run.all_right.PIECE", 2)
        assert all_right(parrot, table, range(8)) == found  # type: ignore[arg-type]


def test_tasks_that_no_row_has_all_of_are_told_by_those_that_come_together() -> None:
    """Two tables: of one the intent and the slots are known, not always both; of the other three kinds of labels."""
    one, other = {"loud": None, "marks": None}, {"slots": None}
    table = read_table([
        {**RIGHT, **one},
        {**RIGHT, **one, "slots": None},
        {**RIGHT, **other},
        {**RIGHT, **other, "loud": "no"},
        {**RIGHT, **other, "marks": None},
    ])  # fmt: skip
    found = all_right(Parrot(TASKS), table, range(5))  # type: ignore[arg-type]
    assert found == {
        "tasks": ["intent", "loud", "marks"], "rows": 2, "share": 0.5,
        "others": [{"tasks": ["intent", "slots"], "rows": 1, "share": 1.0}],
    }  # fmt: skip
    assert all_right_line(found).splitlines() == [
        "all right at once (intent, loud, marks): 0.500 of the 2 rows that have all these labels",
        "all right at once (intent, slots): 1.000 of the 1 rows that have all these labels",
    ]
    assert "In 50.0% of 2 rows" in _all_right(found) and "In 100.0% of 1 row" in _all_right(found)


def test_few_of_many_sets_are_told() -> None:
    """Labels with holes everywhere."""
    flags = np.random.default_rng(0).random((400, 30)) < 0.5
    assert len(labelled_together(flags)) == MOST


def test_rows_with_all_labels_are_found_however_few() -> None:
    flags = np.random.default_rng(0).random((5000, 8)) < 0.5
    assert 0 < flags.all(1).sum() < 40
    (own,) = labelled_together(flags)
    assert own.all()


def test_one_task_alone_has_its_own_score() -> None:
    one = Parrot({"intent": Category(), "price": Number()})
    assert all_right(one, read_table([RIGHT]), [0]) is None  # type: ignore[arg-type]


def test_words_for_people() -> None:
    whole = {"tasks": list("abcde"), "rows": 40, "share": 0.8126}
    assert (
        all_right_line(whole)
        == "all right at once (a, b, c and 2 more): 0.813 of the 40 rows that have all these labels"
    )
    assert "In 81.3% of 40 rows" in _all_right(whole)
    assert _all_right(None) == ""


def test_a_run_says_it(tmp_path: Path) -> None:
    """With a CRF; a word that was never seen is a row that is not right."""
    train = [{"note": f"{k} {s}", "intent": k, "slots": f"O B-{s}"} for k in "ab" for s in "xy"] * 10
    held = [*train[:9], {**train[0], "intent": "new"}]
    for name, rows in (("train", train), ("test", held)):
        write_rows(tmp_path / f"{name}.jsonl", rows)
    config = {
        "data": {"train": str(tmp_path / "train.jsonl"), "test": str(tmp_path / "test.jsonl")},
        "inputs": {"note": "text"},
        "tasks": {"intent": "category", "slots": {"type": "tags", "of": "note", "crf": True}},
        "training": {"steps": 60, "batch_size": 16, "lr": 0.01},
        "width": 32,
    }
    with pytest.warns(UserWarning, match="training never saw"):
        run = fit(config, out=tmp_path / "run", show_progress=False)
    whole = run.metrics["all_right"]
    assert whole["tasks"] == ["intent", "slots"]
    assert whole["rows"] == 10
    assert whole["share"] <= min(run.metrics["test"]["intent"]["accuracy"], run.metrics["test"]["slots"]["exact"])
    assert whole["share"] == pytest.approx(0.9)
    assert "all answers are exactly right at once" in (run.folder / "report.html").read_text()
    with pytest.warns(UserWarning, match="training never saw"):
        assert evaluate(run.folder)["all_right"] == whole
