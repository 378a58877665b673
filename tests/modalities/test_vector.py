"""Vectors: lists of numbers of one length, however they are written; anything else is refused with its row."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from trunkline.config import load_config
from trunkline.data import read_table
from trunkline.errors import ConfigError, DataError
from trunkline.modalities import Vector
from trunkline.plan import make_plan
from trunkline.sources import split_rows


@pytest.mark.parametrize("cell", [[1, 2.5, -3], "[1, 2.5, -3]", "1|2.5|-3", (1, "2.5", -3.0), np.float32([1, 2.5, -3])])
def test_every_way_to_write_it_is_read_alike(cell: Any) -> None:
    np.testing.assert_array_equal(Vector().read(cell), [1, 2.5, -3])


def test_another_separator() -> None:
    np.testing.assert_array_equal(Vector(separator=" ").read("1 2.5  -3"), [1, 2.5, -3])


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ([1, float("nan")], "number 2 of the vector: nan is not finite"),
        (np.array([1, np.inf]), "number 2 of the vector is inf"),
        ("1|two", "number 2 of the vector: 'two' is not a number"),
        ([1, None], "number 2 of the vector: None is not a number"),
        ("[1, 2", "starts like a JSON list but is none"),
        (3.5, "a list is wanted here"),
        ([], "the vector is empty"),
        (np.zeros((2, 2)), r"shape \[2, 2\], is no vector"),
    ],
)
def test_bad_cells_say_why(cell: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Vector().read(cell)


def test_each_place_is_standardised_by_the_training_rows() -> None:
    values = [np.array(v) for v in ([1.0, 5.0, 0.0], [3.0, 5.0, 1e9])]
    state = Vector().fit(values)
    assert json.loads(json.dumps(state)) == state
    items = torch.stack([Vector().prepare(v, state, None)[0] for v in values])
    torch.testing.assert_close(items, torch.tensor([[-1.0, 0.0, -1.0], [1.0, 0.0, 1.0]]))
    with pytest.raises(DataError, match="2 numbers; those of training had 3"):
        Vector().prepare(np.zeros(2), state, None)
    with pytest.raises(DataError, match="different lengths"):
        Vector().fit([np.zeros(2), np.zeros(3)])


def rows_of(vectors: list[Any]) -> list[dict[str, Any]]:
    return [{"point": v, "sum": float(np.sum(v))} for v in vectors]


def plan_of(rows: list[dict[str, Any]]) -> Any:
    config = load_config({"inputs": {"point": "vector"}, "tasks": {"sum": "number"}}, columns=["point", "sum"])
    return make_plan(config, split_rows(config, read_table(rows), None, None))


def test_a_length_unlike_the_others_is_an_error_with_its_row() -> None:
    rng = np.random.default_rng(0)
    rows = rows_of([rng.normal(size=3).tolist() for _ in range(20)])
    assert plan_of(rows).config.inputs["point"].options["length"] == 3
    rows[6]["point"] = [1.0, 2.0]
    with pytest.raises(DataError, match=r"row 7, column 'point': a vector of 2 numbers; this input has length=3"):
        plan_of(rows)


def test_options_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match="dropout: 1 is not a probability"):
        Vector(dropout=1).build({"mean": [0.0], "std": [1.0]}, 4)


def test_it_learns_what_is_linear_and_what_is_not() -> None:
    torch.manual_seed(0)
    x = torch.randn(512, 4)
    y = torch.stack([x.sum(1), (x[:, 0] * x[:, 1]).sign()], 1)
    encoder, head = Vector(dropout=0.0).build({"mean": [0.0] * 4, "std": [1.0] * 4}, 32), torch.nn.Linear(32, 2)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        loss = (head(encoder({"vector": x}).row()) - y).square().mean(0)
        loss.sum().backward()
        optimizer.step()
    assert loss[0] < 0.02 and loss[1] < 0.4
