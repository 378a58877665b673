"""Odd texts on every road: as inputs, texts to write, tags, classes and labels; from files and from Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trunkline.config import load_config
from trunkline.data import read_table, write_rows
from trunkline.errors import DataError
from trunkline.modalities import Text
from trunkline.plan import make_plan
from trunkline.run import evaluate, fit, predict
from trunkline.schema import Schema, TaskColumn, find_faults, tell_faults
from trunkline.sources import columns_of, read_splits
from trunkline.tasks import Category, Labels, Tags
from trunkline.tasks import Text as TextTask

pytest.importorskip("transformers")

CONFIG = """\
data: {table: rows.jsonl, split: split}
inputs: {note: {type: text, max_length: 16}}
tasks:
  kind: category
  marks: labels
  slots: {type: tags, of: note}
  out: {type: text, of: note, max_length: 8, vocabulary: 300, layers: 1}
training: {steps: 2, batch_size: 8}
width: 8
"""
LONG = 100_000
TEXTS = [
    "plain words here",
    "هذا نصٌّ عربي",
    "这是没有空格的中文",
    "👩‍🚀 ❤️ 🏳️‍🌈",
    "cafe\u0301 café",
    "\u202eright to left\u202c",
    "nul\x00 cr\rlf\nvt\x0b ls\u2028 nel\x85 end",
    "\ufeffmark \u200b",
    "<pad> [CLS] <end> </s> [MASK]",
    "",
    " \u2003 ",
]
CLASSES = ["红", "عربي", "👩‍🚀", "a\x00b\u2028c", "café"]


def odd_rows() -> list[dict[str, Any]]:
    rows = [
        {"note": text, "kind": CLASSES[i % 5], "marks": [CLASSES[i % 5], CLASSES[i % 3]],
         "slots": ["B-红" if i % 2 else "O" for _ in text.split()], "out": text}
        for i, text in enumerate(TEXTS * 3)
    ]  # fmt: skip
    long = " ".join(["long", "text"] * (LONG // 2))
    for i in (0, 24):
        rows[i] = {**rows[i], "note": long, "slots": ["O"] * LONG, "out": long}
    return [{**row, "split": "train" if i < 22 else "val" if i < 27 else "test"} for i, row in enumerate(rows)]


def test_a_run_with_odd_texts_loses_nothing(tmp_path: Path) -> None:
    """Fit, evaluate, predict from a file and from rows; a hundred thousand words take seconds."""
    rows = odd_rows()
    write_rows(tmp_path / "rows.jsonl", rows)
    (tmp_path / "c.yaml").write_text(CONFIG)
    with pytest.warns(UserWarning, match="max_length") as told:
        run = fit(tmp_path / "c.yaml", out=tmp_path / "run", show_progress=False)
    said = [str(warning.message) for warning in told]
    assert any(f"1 of 22 texts have more than max_length=16 tokens (the longest {LONG})" in line for line in said)
    assert any("target texts have more than max_length=8 tokens (the longest" in line for line in said)
    assert evaluate(run.folder)["scores"] == run.metrics["test"]
    with pytest.warns(
        UserWarning, match="inputs.note: 2 of 33 rows have more than max_length=16; the rest is not read"
    ):
        evaluate(run.folder, tmp_path / "rows.jsonl")
    with pytest.warns(
        UserWarning, match="inputs.note: 2 of 33 rows have more than max_length=16; the rest is not read"
    ):
        predictions = predict(run.folder, tmp_path / "rows.jsonl", tmp_path / "said.jsonl")
    assert [json.loads(line) for line in (tmp_path / "said.jsonl").read_bytes().split(b"\n")[:-1]] == predictions
    assert [len(row["slots"]) for row in predictions] == [len(row["note"].split()) for row in rows]
    assert {row["kind"]["value"] for row in predictions} <= set(CLASSES)
    predict(run.folder, rows, tmp_path / "said.csv")
    back = read_table(tmp_path / "said.csv")
    assert back.column("kind") == [row["kind"]["value"] for row in predictions]
    assert back.column("out") == [row["out"] or None for row in predictions]
    again = predict(run.folder, rows[:11])
    assert [row["slots"] for row in again] == [row["slots"] for row in predictions[:11]]


HALF = "a\ud800"


@pytest.mark.parametrize(
    ("column", "cell"), [("note", HALF), ("kind", HALF), ("marks", ["b", HALF]), ("slots", ["O", HALF]), ("out", HALF)]
)
@pytest.mark.parametrize("is_file", [True, False])
def test_half_a_surrogate_pair_is_a_fault_of_its_cell(tmp_path: Path, column: str, cell: Any, is_file: bool) -> None:
    row = {"note": "red cat", "kind": "a", "marks": ["b"], "slots": ["O", "O"], "out": "x"}
    rows = [row, row, {**row, column: cell}]
    if is_file:  # JSON can say it
        (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = read_table(tmp_path / "t.jsonl" if is_file else rows)
    schema = Schema(
        {"note": Text()},
        {"kind": Category(), "marks": Labels(), "slots": TaskColumn(Tags(), "slots", of="note"), "out": TextTask()},
    )
    tell_faults(find_faults(schema, read_table([*rows, rows[2]]))).encode()  # a terminal can show it
    (fault,) = find_faults(schema, table)
    assert (fault.row, fault.column) == (2, column)
    assert r"\ud800" in fault.reason and "is half of a pair" in fault.reason


def plan_of(folder: Path, rows: list[dict[str, Any]], tasks: str, ending: str = "jsonl", na: str = "") -> Any:
    write_rows(folder / f"t.{ending}", rows)
    more = f", na: {na}" if na else ""
    (folder / "c.yaml").write_text(f"data: {{train: t.{ending}{more}}}\ninputs: {{note: text}}\ntasks: {{{tasks}}}\n")
    config = load_config(folder / "c.yaml", columns=columns_of)
    return make_plan(config, read_splits(config))


@pytest.mark.parametrize("task", ["kind: category", "kind: labels"])
def test_classes_that_look_the_same_are_told(tmp_path: Path, task: str) -> None:
    rows = [{"note": "a b", "kind": ["café", "cafe\u0301", "New York", "New  York"][i % 4]} for i in range(80)]
    with pytest.warns(
        UserWarning, match=r"t.jsonl, column 'kind': 'New  York' and 'New York', 'cafe.u0301' and 'caf.xe9' look"
    ):
        plan_of(tmp_path, rows, task)


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_an_empty_text_is_a_text_and_a_class_unless_it_means_absent(tmp_path: Path, ending: str) -> None:
    rows = [{"note": "" if i % 4 == 1 else "a b", "kind": ["", "x", "y"][i % 3]} for i in range(60)]
    with pytest.warns(UserWarning, match=r"column 'kind': the empty text '' is a name; `na: \[\"\"\]` under `data:`"):
        plan = plan_of(tmp_path, rows, "kind: category", ending)
    assert plan.network.preprocessing.states["tasks"]["kind"]["classes"] == ["", "x", "y"]
    with pytest.raises(DataError, match="none of the inputs"):
        plan_of(tmp_path, rows, "kind: category", ending, na='[""]')


def test_an_empty_cell_of_a_csv_is_absent(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b'note,kind\n"",a\n  ,b\nx,\n')
    table = read_table(tmp_path / "t.csv")
    assert table.column("note") == [None, None, "x"]
    assert table.column("kind") == ["a", "b", None]


@pytest.mark.parametrize("slots", [["O"], ["O", "O", "O"], "O", []])
def test_tags_and_words_of_different_number(tmp_path: Path, slots: Any) -> None:
    rows = [{"note": "red cat", "slots": ["B-colour", "O"]} for _ in range(60)]
    for split, row in (("train", 3), ("val", 43), ("test", 53)):
        bad = [dict(r, split="train" if i < 40 else "val" if i < 50 else "test") for i, r in enumerate(rows)]
        bad[row]["slots"] = slots
        write_rows(tmp_path / "t.jsonl", bad)
        (tmp_path / "c.yaml").write_text(
            "data: {table: t.jsonl, split: split}\ninputs: {note: text}\ntasks: {slots: {type: tags, of: note}}\n"
        )
        config = load_config(tmp_path / "c.yaml", columns=columns_of)
        said = f"row {row + 1}, column 'slots': {len(slots)} tags for 2 words; there must be one tag a word"
        with pytest.raises(DataError, match=said):
            make_plan(config, read_splits(config))
        assert split in {r["split"] for r in bad}
