"""Columns prepared piece by piece are what they are when they are prepared at once."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from trunkline import DataError, InputColumn, TaskColumn
from trunkline.config import load_config
from trunkline.contexts import WordsContext
from trunkline.data import Draw, Split, Splits, read_table, table
from trunkline.modalities import Category, Number
from trunkline.plan import Plan, make_plan
from trunkline.run.fitting import train_plan
from trunkline.schema import Preprocessing, RowBatches, Schema, find_faults, stored
from trunkline.schema.keeping import Kept
from trunkline.tasks import Category as CategoryTask
from trunkline.tasks import Labels
from trunkline.tasks import Number as NumberTask

ROWS = [
    {
        "x": None if n % 5 == 0 else n / 3,
        "c": None if n % 4 == 1 and n % 5 else "abc"[n % 3],
        "kind": "uv"[n % 2] if n % 3 else None,
        "size": n * 1.5 if n % 7 else None,
        "things": ["p", "q"][: n % 3] if n >= 20 else None,  # whole pieces have no label, the first among them
        "never": None,
    }
    for n in range(1, 40)
]
SCHEMA = Schema(
    {"x": InputColumn(Number(), "x"), "c": InputColumn(Category(), "c")},
    {
        "kind": TaskColumn(CategoryTask(), "kind"),
        "size": TaskColumn(NumberTask(), "size"),
        "things": TaskColumn(Labels(), "things"),
    },
)


def everything(batches: RowBatches) -> dict[str, torch.Tensor]:
    batch = batches[Draw(tuple(range(len(ROWS))), None)]
    parts = {**batch.inputs, **{f"target {n}": part for n, part in batch.targets.items()}}
    found = {f"{name} {key}": value for name, part in parts.items() for key, value in part.values.items()}
    return found | {"present": batch.present.values, "labelled": batch.labelled.values}


@pytest.mark.parametrize("piece", [1, 7, 38, 39, 1000])
@pytest.mark.parametrize("in_memory", [0, 2**30])
def test_pieces_make_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int, in_memory: int) -> None:
    monkeypatch.setenv("TRUNKLINE_CACHE", str(tmp_path))
    whole = read_table(ROWS)
    states = Preprocessing.fit(SCHEMA, whole, range(len(ROWS)))
    at_once = everything(RowBatches(states, whole))
    monkeypatch.setattr(table, "PIECE", piece)
    monkeypatch.setattr(stored, "IN_MEMORY", in_memory)
    again = Preprocessing.fit(SCHEMA, whole, range(len(ROWS)))
    assert again.states == states.states
    in_pieces = everything(RowBatches(states, whole))
    assert at_once.keys() == in_pieces.keys()
    for name, value in at_once.items():
        assert value.dtype == in_pieces[name].dtype and torch.equal(value, in_pieces[name]), name
    assert list((tmp_path / "values").glob("*") if (tmp_path / "values").exists() else []) == []


def test_a_table_without_any_label_of_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_table(ROWS)
    states = Preprocessing.fit(SCHEMA, whole, range(len(ROWS)))
    monkeypatch.setattr(table, "PIECE", 7)
    others = read_table([{**row, "things": None} for row in ROWS])
    batch = RowBatches(states, others)[Draw(tuple(range(len(ROWS))), None)]
    assert "things" not in batch.targets
    assert batch.labelled["things"].sum() == 0


def test_no_room_for_large_columns_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "IN_MEMORY", 0)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRUNKLINE_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(table, "PIECE", 7)
    whole = read_table(ROWS)
    states = Preprocessing.fit(SCHEMA, whole, range(len(ROWS)))
    with pytest.raises(DataError, match=r"file.values has no room.*TRUNKLINE_CACHE"):
        RowBatches(states, whole)


def test_a_bad_cell_of_a_later_piece_is_named_by_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "PIECE", 7)
    good = read_table(ROWS)
    states = Preprocessing.fit(SCHEMA, good, range(len(ROWS)))
    bad = read_table([{**row, "x": "much" if n == 30 else row["x"]} for n, row in enumerate(ROWS)])
    with pytest.raises(DataError, match=r"row 31, column 'x': 'much' is not a number"):
        RowBatches(states, bad)


def test_faults_of_all_pieces_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "PIECE", 7)
    bad = read_table([{**row, "x": "much" if n in (2, 30) else row["x"]} for n, row in enumerate(ROWS)])
    assert [(fault.row, fault.column) for fault in find_faults(SCHEMA, bad)] == [(2, "x"), (30, "x")]


def test_what_is_kept_of_a_text_is_counted_with_its_words() -> None:
    words = tuple(f"word{n}" for n in range(50))
    context = WordsContext(words, tuple((n, n + 1) for n in range(50)))
    kept = Kept(sum(map(len, words)) + 50 * 2 * 4)
    kept.get(("plain", "text", 0), lambda: (torch.zeros(2), context))
    assert kept.values == {}, "its words and spans alone take more than there is room for"


@pytest.mark.parametrize("words", [(), ("",), ("a",), ("a", "", "b c"), ("a\nb", "c"), ("\n",)])
def test_a_context_has_the_words_and_spans_that_it_was_made_of(words: tuple[str, ...]) -> None:
    spans = tuple((n, n + 2) for n in range(len(words)))
    for context in (made := WordsContext(words, spans, 3, True), pickle.loads(pickle.dumps(made))):
        assert (context.words, context.spans, context.cut, context.is_cut) == (words, spans, 3, True)
        assert context == made and hash(context) == hash(made) and context != WordsContext(words, spans, 3)


ONCE = [{"said": f"good {n}", "x": n, "y": n % 2} for n in range(8)]
TEXTS = {"inputs": {"said": "text"}, "tasks": {"y": "binary"}}


def once(rows: list[dict[str, Any]] = ONCE, *, steps: int = 3, **more: Any) -> Plan:
    """What trains on six rows of eight, two a step."""
    table = read_table(rows)
    training = {"batch_size": 2, "steps": steps, "input_dropout": 0.0}
    asked = load_config({**TEXTS, "training": training, **more}, columns=table)
    return make_plan(asked, Splits(Split(table, np.arange(6)), Split(table, np.array([6, 7]))))


def kept(plan: Plan, processes: int = 1) -> set[int]:
    """Rows of which something is kept after a look at each, as it is drawn."""
    plan.keep_no_row_that_comes_once(processes)
    source = plan.source(plan.splits.train)
    for draw in (Draw((0, 1, 2, 3, 4, 5), 7), Draw((6, 7), None)):
        source[draw]
    return {row for _, _, row in source._kept.values}


def test_of_rows_that_are_drawn_once_nothing_is_kept() -> None:
    every = set(range(8))
    assert kept(once()) == {6, 7}, "held-out rows come again with every validation"
    assert kept(once(steps=4)) == every, "some training rows come twice"
    assert kept(once(), processes=2) == every, "each process has half of the rows"
    late = {"fusion": {"type": "late", "blending": True}, "inputs": {"said": "text", "x": "number"}}
    assert kept(once(**late)) == every, "blending looks at them again"


@pytest.mark.filterwarnings("ignore:mosaic")
def test_rows_that_other_rows_show_are_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for n in range(8):
        Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(tmp_path / f"{n}.png")
    rows = [{"picture": str(tmp_path / f"{n}.png"), "y": n % 2} for n in range(8)]
    seen = {}
    for mosaic in (0.0, 0.5):
        plan = once(rows, inputs={"picture": {"type": "image", "size": 16, "mosaic": mosaic}})
        plan.keep_no_row_that_comes_once(1)
        seen[mosaic] = plan.source(plan.splits.train)._kept.passing
    assert seen[0.0] is not None and seen[0.0].tolist() == [True] * 6 + [False] * 2
    assert seen[0.5] is None, "a picture is put together from four rows' pictures"


def test_rows_that_are_looked_through_for_faults_first_are_kept() -> None:
    plan = once(data={"table": "rows.jsonl", "on_bad_row": "skip"})
    assert kept(plan) == set(range(8)), "found whole, and read again in training"


def test_a_run_keeps_no_row_that_comes_once(tmp_path: Path) -> None:
    for steps, rows in ((3, {6, 7}), (4, set(range(8)))):
        plan = once(steps=steps)
        run = train_plan(plan, tmp_path / str(steps), show_progress=False, report=False)
        assert run.metrics["steps"] == steps
        assert {row for _, _, row in plan.source(plan.splits.train)._kept.values} == rows
