"""A task answers where it has something to go by: an input that was there when it was learned."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from trunkline import RunError, fit, load
from trunkline.data import read_table, write_rows
from trunkline.export import Model
from trunkline.loading import write_digests
from trunkline.modalities import Number as NumberInput
from trunkline.modalities import Text
from trunkline.run import evaluate, export
from trunkline.schema import InputColumn, Preprocessing, Schema, TaskColumn
from trunkline.schema.learned import LEARNED_FROM, learned_from
from trunkline.tasks import Binary, Category, Tags

CONFIG = """\
data:
  tables: {boats: {train: boats.csv, validation: 0.2}, notes: {train: notes.csv, validation: 0.2}}
inputs: {length: number, note: text, year: number}
tasks: {fast: binary, kind: category, german: {type: text, of: note}}
training: {steps: 4, batch_size: 8, threads: 1, validations: 1}
width: 8
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Boats have a length and are fast or not; notes are of a kind, and German; both have a year."""
    folder = tmp_path_factory.mktemp("boats")
    write_rows(folder / "boats.csv", [{"length": i, "year": 1900 + i, "fast": i % 2} for i in range(30)])
    years = [1900 + i if i % 3 else None for i in range(30)]
    notes = [{"note": "red cat", "year": year, "kind": "ab"[i % 2], "german": "rot"} for i, year in enumerate(years)]
    write_rows(folder / "notes.csv", notes)
    (folder / "c.yaml").write_text(CONFIG)
    return fit(folder / "c.yaml", out=folder / "run", show_progress=False, report=False).folder


def test_what_was_there_beside_a_label(tmp_path: Path) -> None:
    rows = [
        {"a": 1, "b": None, "note": None, "y": 1, "z": None, "slots": None},
        {"a": None, "b": 2, "note": "red", "y": None, "z": "k", "slots": "O"},
        {"a": 1, "b": 2, "note": None, "y": None, "z": "l", "slots": "O"},  # no note to tag: teaches nothing
    ]
    numbers = {name: InputColumn(NumberInput(), name) for name in "ab"}
    inputs = {**numbers, "note": InputColumn(Text(), "note")}
    tasks = {
        "y": TaskColumn(Binary(), "y"),
        "z": TaskColumn(Category(), "z"),
        "slots": TaskColumn(Tags(), "slots", of="note"),
    }
    found = learned_from(Schema(inputs, tasks), read_table(rows), np.arange(3), ["y", "z", "slots"])
    assert found == {"y": ["a"], "slots": ["b", "note"]}  # `z` from all of them


def test_rows_without_it_have_no_answer(run: Path) -> None:
    trained = load(run)
    states = json.loads((run / "preprocessing.json").read_text())
    assert states[LEARNED_FROM] == {"fast": ["length", "year"], "kind": ["note", "year"], "german": ["note", "year"]}
    boat, note, year, both = trained.predict(
        [{"length": 3}, {"note": "red cat"}, {"year": 1910}, {"length": 3, "note": "red cat"}]
    )
    assert [name for name, said in boat.items() if said is not None] == ["fast"]
    assert [name for name, said in note.items() if said is not None] == ["kind", "german"]
    assert [name for name, said in year.items() if said is not None] == ["fast", "kind"]
    assert all(said is not None for said in both.values())
    (alone,) = trained.predict([{"length": 3}], tasks=["kind"])
    assert alone["kind"] is None


def test_an_exported_network_says_the_same(run: Path) -> None:
    export(run)
    rows = [{"length": 3}, {"note": "red cat"}, {"year": 1910}, {"length": 3, "note": "red cat"}]
    ours, theirs = load(run).predict(rows), Model(run / "model.onnx").predict(rows)
    for one, other in zip(ours, theirs):
        assert {task for task, said in one.items() if said is None} == {t for t, said in other.items() if said is None}
        for task in ("fast", "kind"):
            if one[task] is not None:
                assert other[task]["value"] == one[task]["value"]


def test_labels_beside_nothing_it_was_learned_from_are_not_scored(run: Path, tmp_path: Path) -> None:
    """Else a score would be of answers that nobody gets."""
    rows = [{"length": i, "fast": i % 2, "kind": "a"} for i in range(6)] + [
        {"note": "red", "kind": "ab"[i % 2]} for i in range(4)
    ]
    write_rows(tmp_path / "more.csv", rows)
    with pytest.warns(UserWarning, match=r"more.csv: 6 labels of 'kind' lie in rows without .* \('note', 'year'\)"):
        told = evaluate(run, tmp_path / "more.csv")
    write_rows(tmp_path / "fewer.csv", [{**row, "kind": row["kind"] if "note" in row else None} for row in rows])
    assert told["scores"] == evaluate(run, tmp_path / "fewer.csv")["scores"]
    assert "all_right" not in told  # no row has an answer to both


def test_what_a_trained_network_was_learned_from_stays(tmp_path: Path) -> None:
    write_rows(
        tmp_path / "old.csv", [{"a": 1, "b": None, "y": 0}, {"a": 2, "b": None, "y": 1}, {"a": 1, "b": 2, "y": None}]
    )
    columns = {name: InputColumn(NumberInput(), name) for name in "ab"}
    old = Preprocessing.fit(
        Schema(columns, {"y": TaskColumn(Binary(), "y")}), read_table(tmp_path / "old.csv"), range(3)
    )
    assert old.states[LEARNED_FROM] == {"y": ["a"]}
    both = Schema(columns, {"y": TaskColumn(Binary(), "y"), "z": TaskColumn(Binary(), "z")})
    rows = [{"a": None, "b": 1, "y": 0, "z": 0}, {"a": None, "b": 2, "y": 1, "z": 1}]
    assert Preprocessing.fit(both, read_table(rows), range(2), old.states).states[LEARNED_FROM] == {
        "y": ["a"],
        "z": ["b"],
    }


@pytest.mark.parametrize("told", [["note"], {"fast": ["sail"]}, {"slow": ["note"]}, {"fast": []}, {"fast": "note"}])
def test_what_a_file_says_is_checked(run: Path, told: object) -> None:
    path = run / "preprocessing.json"
    before = path.read_text()
    try:
        path.write_text(json.dumps({**json.loads(before), LEARNED_FROM: told}))
        write_digests(run)
        with pytest.raises(RunError, match=LEARNED_FROM):
            load(run)
    finally:
        path.write_text(before)
        write_digests(run)
