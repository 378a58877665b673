"""Classes that only held-out rows name: counted as missed, told once, the same in training's validation and after."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trunkline import MultiTaskModel, TaskColumn, evaluate, fit, load
from trunkline.data import read_table
from trunkline.modalities import Number, Text
from trunkline.schema import Preprocessing, Schema, unseen_labels
from trunkline.tasks import Category, Labels, Tags

WORDS = ["red", "green", "blue"]


def table(rows: int, *, seed: int, unseen: int = 0) -> list[dict[str, Any]]:
    """A sentence and a number; in the first rows every task has a name that no other table has."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(rows):
        words = [str(w) for w in rng.choice(WORDS, 3)]
        new = i < unseen
        made.append({
            "note": " ".join(words), "size": float(rng.normal()),
            "first": f"new-{i % 2}" if new else words[0],
            "marks": ["new"] if new else sorted(set(words)),
            "slots": [f"B-{'new' if new else w}" for w in words],
        })  # fmt: skip
    return made


def model() -> MultiTaskModel:
    return MultiTaskModel(
        {"note": Text(), "size": Number()},
        {"first": Category(), "marks": Labels(), "slots": TaskColumn(Tags(), "slots", of="note")},
        width=16,
    )


def told(caught: list[warnings.WarningMessage]) -> list[str]:
    return sorted(str(w.message) for w in caught if "never saw" in str(w.message))


SAID = [
    "4 of 40 labels of 'first' name 2 classes that training never saw: 'new-0', 'new-1'; they count as wrong",
    "labels of 'marks' name a class that training never saw: 'new'; they are left out of its scores",
    "12 of 120 labels of 'slots' name a class that training never saw: 'B-new'; they count as wrong",
]


def test_a_run_counts_and_tells_them(tmp_path: Path) -> None:
    """From `fit` to `evaluate`, with unseen names in the validation and in the test table."""
    held = table(40, seed=1, unseen=4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = fit(model(), table(60, seed=0), validation=read_table(held), test=read_table(held), steps=4, out=tmp_path)
    assert len(told(caught)) == 6, "one sentence a task and split"
    for split in ("validation", "test"):
        mine = [line for line in told(caught) if line.startswith(f"{split}: ")]
        assert len(mine) == 3 and all(any(said in line for line in mine) for said in SAID)
    predictions = load(run.folder).predict(held)
    right = [p["first"]["value"] == row["first"] for p, row in zip(predictions, held)]
    assert run.metrics["test"]["first"]["accuracy"] == pytest.approx(np.mean(right))
    assert sum(right[:4]) == 0
    last = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    logged = {json.dumps(line["validation"], sort_keys=True) for line in last if "validation" in line}
    assert json.dumps(run.metrics["validation"], sort_keys=True) in logged, "training validates by the same metric"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        again = evaluate(tmp_path, read_table(held))
    assert again["scores"] == run.metrics["test"]
    assert len(told(caught)) == 3


def test_a_slip_of_the_pen_is_named() -> None:
    rows = [{"x": 1, "y": "cat"}, {"x": 1, "y": "parrot"}, {"x": 1, "y": "parot"}, {"x": 1, "y": None}]
    states = Preprocessing.fit(Schema({"x": Number()}, {"y": Category()}), read_table(rows), [0, 1])
    (unseen,) = unseen_labels(states, read_table(rows), range(4)).values()
    assert unseen.tell("test", "y") == (
        "test: 1 of 3 labels of 'y' name a class that training never saw: 'parot'; they count as wrong"
        " (is the first one 'parrot'?)"
    )
    assert unseen_labels(states, read_table(rows), [0, 1, 3]) == {}


def test_many_are_counted_and_few_are_named() -> None:
    rows = [{"x": 1, "y": name} for name in ("a", "b", *[f"new {i}" for i in range(8)], "new 3")]
    states = Preprocessing.fit(Schema({"x": Number()}, {"y": Category()}), read_table(rows), [0, 1])
    (unseen,) = unseen_labels(states, read_table(rows), range(11)).values()
    line = unseen.tell("rows.csv", "y")
    assert "rows.csv: 9 of 11 labels of 'y' name 8 classes" in line and "'new 3', 'new 0'" in line
    assert "and 3 more;" in line
