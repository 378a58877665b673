"""`share: other` on a task: one decoder and one vocabulary for several tasks, each with a beginning of its own."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trunkline import fit
from trunkline.balancers import Equal, UPGrad
from trunkline.config import load_config, to_yaml
from trunkline.data import Draw, read_table
from trunkline.engine import Engine
from trunkline.errors import ConfigError, DataError
from trunkline.loading import load
from trunkline.modalities import Number
from trunkline.model import MultiTaskModel, Network
from trunkline.run.many import alone
from trunkline.schema import Preprocessing, RowBatches, TaskColumn
from trunkline.tasks import Category, Text
from trunkline.training.optimiser import make_optimiser

OPTIONS: dict[str, Any] = {"max_length": 4, "vocabulary": 280, "layers": 1, "heads": 2, "dropout": 0.0}


def model(**options: Any) -> MultiTaskModel:
    own = {**OPTIONS, **options}
    return MultiTaskModel(
        inputs={"x": Number()},
        tasks={
            "french": TaskColumn(Text(**own), "french", share="german"),  # before the one it shares with
            "german": Text(**own),
        },
        width=16,
    )


def rows_of(number: int) -> list[dict[str, Any]]:
    rng = random.Random(0)
    rows = [{"x": rng.choice([-1.0, 1.0])} for _ in range(number)]
    return [{**r, "german": "ja" if r["x"] > 0 else "nein", "french": "oui" if r["x"] > 0 else "non"} for r in rows]


def built(rows: list[dict[str, Any]], **options: Any) -> tuple[Network, RowBatches]:
    table = read_table(rows)
    preprocessing = Preprocessing.fit(model(**options).schema(), table, range(len(rows)))
    torch.manual_seed(0)
    return model(**options).build(preprocessing).eval(), RowBatches(preprocessing, table)


def heads_of(network: Network) -> dict[str, Any]:
    return {unit.name: head for unit, head in network.units()}


def test_one_decoder_one_vocabulary_and_a_beginning_each() -> None:
    network, batches = built(rows_of(12))
    heads, states = heads_of(network), batches.preprocessing.states["tasks"]
    german, french = states["german"], states["french"]
    assert heads["german"].decoder is heads["french"].decoder and heads["german"].memory is heads["french"].memory
    assert german["tokenizer"] == french["tokenizer"]
    assert german["frequent"] in ("ja", "nein") and french["frequent"] in ("oui", "non")
    assert {german["begin"], french["begin"]} == {german["size"] - 2, german["size"] - 1}
    assert heads["german"].decoder.lm_head.weight.shape[0] == german["size"] == french["size"]
    json.dumps(states)


def test_only_the_beginning_tells_tasks_apart() -> None:
    network, batches = built(rows_of(12))
    heads = heads_of(network.eval())
    batch = batches[Draw(tuple(range(12)), None)]
    shared = network.share(batch)
    part = batch.targets["german"]
    units = {unit.name: unit for unit, _ in network.units()}
    view = network.view(units["german"], shared, part, batch.sources)
    said = [heads[name].train_output(view, part.values) for name in ("german", "french")]
    assert not torch.allclose(*said)
    with torch.no_grad():
        table = heads["german"].decoder.get_input_embeddings().weight
        table[heads["german"].state["begin"]] = table[heads["french"].state["begin"]]
    torch.testing.assert_close(*(heads[name].train_output(view, part.values) for name in ("german", "french")))


@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("level", ["losses", "features", "last", "sketch", "trunk", "trunk-lean"])
def test_what_is_shared_gets_the_sum_of_its_tasks_gradients(level: Any, tie: bool) -> None:
    """At every level the decoder's gradient is that of plain autograd on the sum of the losses."""
    rows = rows_of(24)
    for row in rows[:8]:
        row["french"] = None
    network, batches = built(rows, tie=tie)
    batch = batches[Draw(tuple(range(24)), None)]
    plain = copy.deepcopy(network)
    sums, weights = plain.losses(batch, plain.share(batch))
    (sums / weights).sum().backward()
    balancer = Equal() if level == "losses" else UPGrad()
    options: dict[str, Any] = {"last_shared": network.trunk.last_shared()} if level == "last" else {}
    engine = Engine(balancer, batches.preprocessing.tasks, level=level, **options)
    network.training_loss(batch, engine).backward()
    for name, p in network.heads.named_parameters():
        wanted = dict(plain.heads.named_parameters())[name].grad
        assert wanted is not None and p.grad is not None, name
        torch.testing.assert_close(p.grad, wanted, atol=1e-6, rtol=1e-4)
    one, two = copy.deepcopy(network), copy.deepcopy(network)
    apart = []
    for k, own in enumerate((one, two)):
        own.zero_grad()
        sums, weights = own.losses(batch, own.share(batch))
        (sums / weights)[k].backward()
        apart.append(dict(own.heads.named_parameters())["0.memory.1.weight"].grad)
    assert all(bool(g.any()) for g in apart)
    torch.testing.assert_close(
        dict(network.heads.named_parameters())["0.memory.1.weight"].grad, sum(apart), atol=2e-5, rtol=1e-4
    )


@pytest.mark.parametrize("tie", [False, True])
def test_the_optimiser_has_no_parameter_twice(tie: bool) -> None:
    network, batches = built(rows_of(12), tie=tie)
    settings: Any = SimpleNamespace(weight_decay=0.1, lr=1e-3, precision="32-true")
    optimiser = make_optimiser(network, Engine(Equal(), batches.preprocessing.tasks), settings)
    held = [id(p) for group in optimiser.param_groups for p in group["params"]]
    assert len(held) == len(set(held)) == len(list(network.parameters()))


@pytest.mark.parametrize("tie", [False, True])
def test_it_is_trained_saved_loaded_and_tells_tasks_apart(tmp_path: Path, tie: bool) -> None:
    rows = rows_of(60)
    options = {"steps": 150, "batch_size": 16, "lr": 1e-2, "ema": 0.9, "out": tmp_path / "run"}
    run = fit(model(tie=tie), rows, **options)  # type: ignore[arg-type]
    loaded = load(tmp_path / "run")
    heads = heads_of(loaded.network)
    assert heads["german"].decoder is heads["french"].decoder
    asked = [{"x": 1.0}, {"x": -1.0}]
    assert loaded.predict(asked) == run.predictor.predict(asked)
    assert loaded.predict(asked) == [{"french": "oui", "german": "ja"}, {"french": "non", "german": "nein"}]
    assert run.metrics["parameters"] == sum(p.numel() for p in loaded.network.parameters())
    assert set(run.metrics["signatures"]) == {"french", "german"}
    assert run.metrics["signatures"]["french"]["bleu"] in (tmp_path / "run" / "report.html").read_text()


def test_what_is_shared_is_learned_alike() -> None:
    task = Text(6, vocabulary=300, label_smoothing=0.3)
    states = task.fit_shared([["ja", "nein"], ["oui", "non"]])
    first = task.build(states[:1], 16)
    second = task.build_shared(first, states[1:])
    output = torch.randn(1, 3, states[0]["size"])
    target = task.collate([[task.prepare("ja", states[0], None)]])
    output = output[:, :1].expand(-1, target["values"].shape[1], -1)
    assert torch.equal(first.loss(output, target)[0], second.loss(output, target)[0])


def test_a_task_without_a_text_is_named() -> None:
    rows = [{**row, "french": None} for row in rows_of(6)]
    with pytest.raises(DataError, match=r"(?s)french.*no row of the training split has a label"):
        Preprocessing.fit(model().schema(), read_table(rows), range(6))


def config_of(tasks: dict[str, Any]) -> Any:
    columns = ["x", "german", "french", "third"]
    return load_config({"inputs": {"x": "number"}, "tasks": tasks}, columns=columns)


@pytest.mark.parametrize("said", [{}, {"type": "text"}, {"layers": 3}])
def test_a_config_takes_over_type_and_options(said: dict[str, Any]) -> None:
    """Without a look at the column: what shares may have labels from which another type would follow, or none yet."""
    config = config_of({"french": {"share": "german", **said}, "german": {"type": "text", "layers": 3}})
    assert (config.tasks["french"].type, config.tasks["french"].options) == ("text", {"layers": 3})
    assert config.tasks["french"].component is Text
    assert "share: german" in to_yaml(config)


def test_a_twin_has_a_head_of_its_own() -> None:
    config = config_of({"french": {"type": "text", "share": "german"}, "german": {"type": "text", "layers": 3}})
    twin = alone(config, "french", config.inputs)
    assert twin.tasks["french"].share is None and twin.tasks["french"].options == {"layers": 3}
    assert (
        load_config(
            {"inputs": {"x": "number"}, "tasks": {"french": {"type": "text", "layers": 3}}}, columns=["x", "french"]
        ).tasks
        == twin.tasks
    )


@pytest.mark.parametrize(
    ("french", "message"),
    [
        ({"type": "text", "share": "germn"}, r"tasks.french.share: 'germn' is not a task. Did you mean 'german'\?"),
        ({"type": "category", "share": "german"}, "'german' is of type text, this task of type category"),
        ({"type": "text", "share": "german", "layers": 9}, "the option 'layers' differs from that of 'german'"),
        ({"share": "german", "layers": 9}, "the option 'layers' differs from that of 'german'"),
        ({"type": "text", "share": "third"}, "'third' has no head of its own: it shares that of 'german'"),
    ],
)
def test_what_cannot_be_shared_is_refused(french: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of({"german": "text", "french": french, "third": {"type": "text", "share": "german"}})


def test_other_kinds_and_unlike_objects_share_nothing() -> None:
    with pytest.raises(ConfigError, match="tasks of type category have a head each"):
        config_of({"german": "category", "french": {"type": "category", "share": "german"}})
    for first, second, message in [
        (Category(), Category(), "whose heads are not shared"),
        (Text(), Text(layers=7), "has other options"),
    ]:
        shared = {"a": first, "b": TaskColumn(second, "b", share="a")}
        with pytest.raises(ConfigError, match=message):
            MultiTaskModel(inputs={"x": Number()}, tasks=shared).schema()
