"""The classic tasks of language in one network, asked for together: class, tags, summary and translation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trunkline.cli import app
from trunkline.data import write_rows

pytest.importorskip("transformers")

CONFIG = """\
data:
  tables:
    requests: {train: requests.csv, validation: 0.25, columns: {text: words}}
    packages: {train: packages.jsonl, validation: 0.25, columns: {text: description}}
    names: {train: packages.jsonl, validation: 0.25, columns: {text: summary, section: null, summary: null}}
  sampling: equal
inputs: {text: text}
tasks:
  intent: category
  slots: {type: tags, of: text, crf: true}
  section: category
  summary: {type: text, vocabulary: 300, max_length: 12}
  german: {share: summary}
training: {steps: 4, batch_size: 12, threads: 1, validations: 1}
width: 16
"""
TASKS = ["intent", "slots", "section", "summary", "german"]


def call(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("language")
    requests = [
        {"words": f"fly to {city} {day}", "slots": "O O B-city B-day", "intent": ("flight", "fare")[i % 2]}
        for i, (city, day) in enumerate([("Rome", "today"), ("Oslo", "Monday")] * 8)
    ]
    packages = [
        {
            "description": f"this is {name}, which one plays.",
            "section": "games",
            "summary": name,
            "german": f"{name}spiel",
        }
        for name in ("chess", "go", "tetris", "snake") * 4
    ]
    packages[0]["section"] = "net"
    write_rows(folder / "requests.csv", requests)
    write_rows(folder / "packages.jsonl", packages)
    (folder / "config.yaml").write_text(CONFIG)
    call("fit", folder / "config.yaml", "--out", folder / "run")
    return folder


def test_new_sentences_have_all_answers_together(folder: Path) -> None:
    (folder / "new.csv").write_text("text\nfly to Paris\nthis is poker\n")
    shown = call("predict", folder / "run", folder / "new.csv")
    assert shown.count("row ") == 2 and all(shown.count(f"{task} ") == 2 for task in TASKS)
    call("predict", folder / "run", folder / "new.csv", "--out", folder / "said.jsonl")
    rows = [json.loads(line) for line in (folder / "said.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    for row, words in zip(rows, (3, 3), strict=True):
        assert set(TASKS) <= set(row)
        assert len(row["slots"]) == words and all(isinstance(row[name], str) for name in ("summary", "german"))
        assert " ".join(row["slots"]) in shown and row["intent"]["value"] in shown


def test_of_many_rows_the_first_are_shown(folder: Path) -> None:
    (folder / "many.csv").write_text("text\n" + "fly to Paris\n" * 23)
    shown = call("predict", folder / "run", folder / "many.csv")
    assert shown.count("intent") == 20 and "3 more rows: --out FILE writes all of them" in shown


def test_each_task_is_scored_on_the_rows_that_have_it(folder: Path) -> None:
    found = json.loads((folder / "run" / "metrics.json").read_text())
    assert set(found["validation"]) == set(TASKS)
    assert "table" not in TASKS and set(found["by_table"]) == {"requests", "packages", "names"}
