"""A finite number very far from what training saw is as far as can be, in every kind of input: no answer is NaN."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trunkline import MultiTaskModel, Predictor, fit
from trunkline.arrays.scaling import FARTHEST, standardised
from trunkline.data import read_table, write_rows
from trunkline.modalities import Graph, Number, Text, Vector
from trunkline.schema import Preprocessing
from trunkline.tasks import Category

FAR = (1e15, 1e25, 1e39, 1e300, -1e308)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    rows = [
        {"size": i, "parts": [i, 2 * i], "bonds": _graph(1.0 * i), "note": "ab", "kind": "xy"[i % 2]} for i in range(20)
    ]
    inputs = {"size": Number(), "parts": Vector(), "bonds": Graph(layers=1), "note": Text()}
    model, table = MultiTaskModel(inputs, {"kind": Category()}, width=16), read_table(rows)
    return Predictor(model.build(Preprocessing.fit(model.schema(), table, range(20))))


def _graph(value: float) -> dict[str, Any]:
    return {"nodes": [[value], [2]], "edges": [[0, 1]]}


@pytest.mark.parametrize("value", FAR)
def test_answers_are_numbers(predictor: Predictor, value: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        said = predictor.predict([{"size": value}, {"parts": [value, 0]}, {"bonds": _graph(value)}])
    for row in said:
        assert row["kind"]["value"] in ("x", "y")
        assert sum(row["kind"]["probabilities"].values()) == pytest.approx(1.0, abs=1e-4)


def test_what_is_near_is_not_moved() -> None:
    values = np.array([-3.0, 0.0, 1e9])
    np.testing.assert_array_equal(standardised(values, {"mean": 1.0, "std": 2.0}), ((values - 1) / 2).astype("f4"))
    assert standardised([1e308], {"mean": -1e308, "std": 1e-3}).tolist() == [np.float32(FARTHEST)]


def test_a_run_with_one_far_number_learns(tmp_path: Path) -> None:
    """Mean and deviation are those of the middle of a column; what lies outside must not spoil the weights."""
    rows = [{"size": 1e300 if i == 50 else i % 7, "kind": "ab"[i % 7 > 3]} for i in range(200)]
    write_rows(tmp_path / "rows.jsonl", rows)
    config = {
        "data": {"train": str(tmp_path / "rows.jsonl"), "validation": 0.2},
        "inputs": {"size": "number"},
        "tasks": {"kind": "category"},
        "training": {"steps": 30, "batch_size": 32, "accelerator": "cpu"},
        "width": 16,
    }
    run = fit(config, out=tmp_path / "run", report=False)
    assert run.predictor.predict([{"size": 1}])[0]["kind"]["value"] in ("a", "b")
