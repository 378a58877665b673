"""Inputs that share an encoder: one set of weights, one state, each input with its own place in the fusion."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trunkline.balancers import Equal
from trunkline.config import load_config, to_yaml
from trunkline.data import Draw, read_table
from trunkline.engine import Engine
from trunkline.errors import ConfigError
from trunkline.loading import load
from trunkline.modalities import Number, Text, Vector
from trunkline.model import MultiTaskModel, Network
from trunkline.run import fit
from trunkline.schema import InputColumn, Preprocessing, RowBatches
from trunkline.tasks import Number as NumberTask

WORDS = ("red", "green", "blue", "big", "small")


def rows_of(count: int, *, holes: float = 0.3) -> list[dict[str, Any]]:
    """How many words two notes have in common; one of the two may be absent."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for _ in range(count):
        notes = [" ".join(rng.choice(WORDS, 3)) for _ in range(2)]
        common = len(set(notes[0].split()) & set(notes[1].split()))
        rows.append({"first": notes[0], "second": notes[1], "common": common})
        if rng.random() < holes:
            rows[-1][("first", "second")[int(rng.integers(2))]] = None
    return rows


def model() -> MultiTaskModel:
    options: Any = {"layers": 1, "heads": 2, "word_dropout": 0.0, "dropout": 0.0}
    return MultiTaskModel(
        inputs={
            "second": InputColumn(Text(**options), "second", share="first"),  # named before the one it shares with
            "first": Text(**options),
        },
        tasks={"common": NumberTask()},
        width=16,
    )


def built(rows: list[dict[str, Any]]) -> tuple[Network, RowBatches]:
    table = read_table(rows)
    preprocessing = Preprocessing.fit(model().schema(), table, range(len(rows)))
    torch.manual_seed(0)
    return model().build(preprocessing).eval(), RowBatches(preprocessing, table)


def test_one_module_one_state_from_both_columns() -> None:
    rows = [{"first": "red red", "second": "blue blue", "common": 0}] * 4
    network, batches = built(rows)
    assert network.encoders[0] is network.encoders[1]
    states = batches.preprocessing.states["inputs"]
    assert states["first"] == states["second"] and set(states["first"]["ids"]) == {"red", "blue"}
    assert len(network.missing) == 2
    assert sum(n.startswith("encoders") and n.endswith("embedding.weight") for n, _ in network.named_parameters()) == 1


def test_its_gradient_is_the_sum_of_what_two_would_have() -> None:
    network, batches = built(rows_of(24))
    apart = copy.deepcopy(network)
    apart.encoders[1] = copy.deepcopy(apart.encoders[0])
    batch = batches[Draw(tuple(range(24)), None)]
    for which in (network, apart):
        which.training_loss(batch, Engine(Equal(), ["common"])).backward()
    one, two = apart.encoders
    for p, a, b in zip(network.encoders[0].parameters(), one.parameters(), two.parameters()):
        assert p.grad is not None and a.grad is not None and b.grad is not None
        torch.testing.assert_close(p.grad, a.grad + b.grad)
        assert p.ndim < 2 or (bool(a.grad.any()) and bool(b.grad.any()))


def test_it_is_trained_saved_loaded_and_predicts_with_one_absent(tmp_path: Path) -> None:
    rows = rows_of(40)
    run = fit(model(), rows, steps=3, batch_size=8, out=tmp_path / "run")
    asked = [{"first": "red big small"}, {"second": "red big small"}, {"first": "big", "second": "big"}]
    loaded = load(tmp_path / "run")
    assert loaded.network.encoders[0] is loaded.network.encoders[1]
    assert loaded.predict(asked) == run.predictor.predict(asked)
    assert len({str(p) for p in loaded.predict(asked)}) == 3
    assert run.metrics["parameters"] == sum(p.numel() for p in loaded.network.parameters())


def config_of(inputs: dict[str, Any]) -> Any:
    columns = ["first", "second", "third", "common"]
    return load_config({"inputs": inputs, "tasks": {"common": "number"}}, columns=columns)


def test_a_config_takes_over_type_and_options() -> None:
    config = config_of({"second": {"type": "text", "share": "first"}, "first": {"type": "text", "layers": 3}})
    assert config.inputs["second"].options == {"layers": 3}
    assert "share: first" in to_yaml(config)
    again = config_of(
        {"second": {"type": "text", "share": "first", "layers": 3}, "first": {"type": "text", "layers": 3}}
    )
    assert again.inputs == config.inputs


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"type": "text", "share": "frist"}, r"inputs.second.share: 'frist' is not an input. Did you mean 'first'\?"),
        ({"type": "image", "share": "first"}, "'first' is of type text, this input of type image"),
        ({"type": "text", "share": "first", "layers": 9}, "the option 'layers' differs from that of 'first'"),
        ({"type": "text", "share": "third"}, "'third' has no encoder of its own: it shares that of 'first'"),
        ({"type": "text", "share": "second"}, "'second' has no encoder of its own"),
        ({"type": "text", "shares": "first"}, "Did you mean 'share'"),
    ],
)
def test_what_cannot_be_shared_is_refused(second: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of({"first": "text", "second": second, "third": {"type": "text", "share": "first"}})


def test_tables_and_unlike_objects_share_nothing() -> None:
    with pytest.raises(ConfigError, match="encoded together in one table block"):
        config_of({"first": "number", "second": {"type": "number", "share": "first"}})
    for first, second, message in [
        (Number(), Number(), "encoded in a table block"),
        (Text(), Vector(), "of another kind"),
        (Text(), Text(layers=7), "has other options"),
    ]:
        shared = {"a": first, "b": InputColumn(second, "b", share="a")}
        with pytest.raises(ConfigError, match=message):
            MultiTaskModel(inputs=shared, tasks={"common": NumberTask()}).schema()
