"""Late fusion: what the inputs say each for itself, joined by the tasks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import trunkline
from trunkline import ConfigError
from trunkline.balancers import Equal, UPGrad
from trunkline.data import Draw, Table, read_table
from trunkline.engine import Engine
from trunkline.export import export_onnx
from trunkline.export.dense import DenseNetwork, dense_values
from trunkline.fusion import Late, LateModule
from trunkline.modalities import Number as NumberInput
from trunkline.modalities import Text
from trunkline.model import MultiTaskModel, Network
from trunkline.schema import Preprocessing, RowBatches
from trunkline.tasks import Binary, Category, Number
from trunkline.tasks.experts import GaussianExperts, product_of_experts
from trunkline.trunks import CATALOG as TRUNKS
from trunkline.types import Batch, Part
from worlds import inputs, tasks, world

ROWS = tuple(range(24))
JOINED = {name: task for name, task in tasks().items() if name in ("kind", "loud", "price", "weight", "marks")}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return world(tmp_path_factory.mktemp("world"), 48)


@pytest.fixture(scope="module")
def batches(table: Table) -> RowBatches:
    model = MultiTaskModel(inputs(), JOINED)
    return RowBatches(Preprocessing.fit(model.schema(), table, range(len(table))), table)


def build(batches: RowBatches, *, alone: float = 0.5, joint: bool = True, trunk: str = "hard") -> Network:
    torch.manual_seed(0)
    model = MultiTaskModel(inputs(), JOINED, fusion=Late(alone=alone, joint=joint), trunk=TRUNKS[trunk](), width=32)
    network = model.build(batches.preprocessing).eval()
    for parameter in network.heads.parameters():  # heads that have learned something
        torch.nn.init.normal_(parameter, std=0.3)
    return network


# --- the rules ---


def test_experts_that_are_independent_given_the_class_are_joined_exactly() -> None:
    """A table of probabilities: the posterior of both inputs from the posteriors of each."""
    generator = torch.Generator().manual_seed(0)
    prior = torch.rand(3, generator=generator).double()
    prior /= prior.sum()
    first, second = (torch.rand(3, 4, generator=generator).double() for _ in range(2))  # p(x | y)
    first, second = first / first.sum(1, keepdim=True), second / second.sum(1, keepdim=True)
    joint = prior[:, None, None] * first[:, :, None] * second[:, None, :]
    exact = joint / joint.sum(0)
    each = [prior[:, None] * likelihood for likelihood in (first, second)]
    posteriors = [p / p.sum(0) for p in each]
    for a in range(4):
        for b in range(4):
            said = torch.stack([posteriors[0][:, a], posteriors[1][:, b]]).log()[:, None, None]
            logs = product_of_experts(said, prior.log()[None], torch.ones(2, 1, dtype=torch.bool))
            torch.testing.assert_close(logs[0, 0].softmax(-1), exact[:, a, b])


def test_normal_experts_are_joined_exactly() -> None:
    """`y ~ N(0, 1)`, `xᵢ = y + noise`: the mean given both from the means given each; a useless one is no harm."""
    variances = torch.tensor([0.5, 2.0, 1e12], dtype=torch.float64)
    x = torch.randn(3, 5, dtype=torch.float64)
    means = x / (1 + variances[:, None])
    exact = (x[:2] / variances[:2, None]).sum(0) / (1 + (1 / variances[:2]).sum())
    experts = GaussianExperts(3, 1).double()
    with torch.no_grad():  # the precision of y given xᵢ is 1 + 1 / variance
        experts.a.copy_(torch.log(torch.expm1(1 / variances))[:, None])
        found = experts(means[..., None, None], torch.ones(3, 5, dtype=torch.bool))
    torch.testing.assert_close(found[:, 0, 0], exact)


def test_a_category_is_the_normalised_product_with_the_prior_counted_once() -> None:
    state = {"classes": ["a", "b"], "prior": [0.8, 0.2]}
    head = Category().build([state], 8)
    outputs = torch.log(torch.tensor([[[0.9, 0.1]], [[0.3, 0.7]]]))[:, None]
    both = head.combine(outputs, torch.ones(2, 1, dtype=torch.bool))
    odds = (0.9 * 0.3 / 0.8) / (0.1 * 0.7 / 0.2)
    torch.testing.assert_close(both.exp()[0, 0], torch.tensor([odds / (1 + odds), 1 / (1 + odds)]))


def test_binary_experts_that_say_the_prior_say_nothing() -> None:
    head = Binary().build([{"prior": 0.1}], 8)
    prior = math.log(0.1 / 0.9)
    outputs = torch.tensor([prior, prior, 1.3]).view(3, 1, 1, 1)
    torch.testing.assert_close(head.combine(outputs, torch.ones(3, 1, dtype=torch.bool)), outputs[2])


def test_precisions_of_numbers_are_learned() -> None:
    """One input tells the truth, the other nothing: its precision goes to the prior's."""
    head = Number().build([{"mean": 0.0, "std": 1.0}], 4)
    head.expect_experts(2)
    truth = torch.randn(64, 1)
    outputs = torch.stack([truth, torch.zeros_like(truth)]).unsqueeze(-1)
    target = {"values": truth, "flags": torch.ones_like(truth, dtype=torch.bool)}
    optimizer = torch.optim.Adam([head.experts.a], lr=0.2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = head.loss(head.combine(outputs, torch.ones(2, 64, dtype=torch.bool)), target)[0].sum()
        loss.backward()
        optimizer.step()
    assert head.experts.a[0] > 1
    assert head.experts.a[1] < -2


# --- the network ---


def said_alone(network: Network, batch: Batch, head: int) -> Tensor:
    """`[E, B, G, K]`."""
    unit, layer = list(network.units())[head]
    output = layer.predict_output(network.view(unit, network.share(batch), None, {}))
    return output.unflatten(0, (fusion_of(network).experts, -1))


def fusion_of(network: Network) -> LateModule:
    assert isinstance(network.fusion, LateModule)
    return network.fusion


def speaking(network: Network, batch: Batch) -> Tensor:
    units = network.preprocessing.encoders
    return fusion_of(network).speaking(torch.stack([batch.present.values[:, unit.columns].any(1) for unit in units]))


@pytest.mark.parametrize("joint", [False, True])
def test_a_row_with_one_input_is_that_input_alone(batches: RowBatches, joint: bool) -> None:
    rows = read_table([{"note": "small red"}, {"size": 4.0}, {"note": "a blue", "shop": "red"}])
    batch = RowBatches(batches.preprocessing, rows, with_targets=False)[Draw((0, 1, 2), None)]
    network = build(batches, joint=joint)
    with torch.inference_mode():
        said, alone = network.predict(batch)["kind"].output, said_alone(network, batch, 0)
    names = [unit.name for unit in network.preprocessing.encoders]
    for row, name in ((0, "note"), (1, "size")):
        torch.testing.assert_close(said[row].softmax(-1), alone[names.index(name), row].softmax(-1))
    assert not torch.allclose(said[2].softmax(-1), alone[names.index("note"), 2].softmax(-1))


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("alone", [0.0, 0.3, 1.0])
def test_the_training_loss_is_the_equation(batches: RowBatches, alone: float, joint: bool) -> None:
    """`(1 − a) · together + a / E · Σᵢ alone`, row by row, over what speaks."""
    network, batch = build(batches, alone=alone, joint=joint), batches[Draw(ROWS, None)]
    with torch.no_grad():
        sums, weights = network.losses(batch, network.share(batch))
        expected: list[float] = []
        counts: list[float] = []
        here, experts = speaking(network, batch), fusion_of(network).experts
        shared = network.share(batch)
        for number, (unit, head) in enumerate(network.units()):
            part = batch.targets[unit.name]
            rows = torch.arange(batch.size) if part.rows is None else part.rows
            each = said_alone(network, batch, number)
            total = torch.zeros(2, len(unit.tasks))
            for place, row in enumerate(rows.tolist()):
                target = {key: value[place : place + 1] for key, value in part.values.items()}
                joined = network.output(unit, head, shared, Part({}, torch.tensor([row])), batch.present, batch.sources)
                total += (1 - alone) * torch.stack(head.loss(joined, target))
                for expert in range(experts):
                    if here[expert, row]:
                        total += alone / experts * torch.stack(head.loss(each[expert, row : row + 1], target))
            expected += total[0].tolist()
            counts += total[1].tolist()
    torch.testing.assert_close(sums, torch.tensor(expected), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(weights, torch.tensor(counts), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("trunk", [name for name, kind in TRUNKS.items() if not kind.wants_tokens])
def test_the_dense_path_says_the_same(batches: RowBatches, trunk: str) -> None:
    network, batch = build(batches, trunk=trunk), batches[Draw(ROWS, None)]
    assert any(part.rows is not None for part in batch.inputs.values())
    dense = DenseNetwork(network, batches.preprocessing.heads)
    with torch.inference_mode():
        gathered = network.predict(batch)
        for name, output in dense(batch.present.values, dense_values(batch)).items():
            torch.testing.assert_close(output, gathered[name].output, atol=1e-4, rtol=1e-4)


def test_what_stands_in_an_absent_row_changes_no_bit(batches: RowBatches) -> None:
    network, batch = build(batches), batches[Draw(ROWS, None)]
    with torch.inference_mode():
        before = {name: said.output for name, said in network.predict(batch).items()}
        network.missing.fill_(1e3)
        after = network.predict(batch)
    assert all(torch.equal(output, after[name].output) for name, output in before.items())


def test_the_joint_expert_speaks_of_rows_with_two_inputs_or_more(batches: RowBatches) -> None:
    present = torch.tensor([[True, True, False], [True, False, True], [True, False, False]])
    units = len(batches.preprocessing.encoders)
    present = torch.cat([present, torch.zeros(units - 3, 3, dtype=torch.bool)])
    said = fusion_of(build(batches)).speaking(present)
    assert torch.equal(said, torch.cat([present, torch.tensor([[True, False, False]])]))
    assert fusion_of(build(batches, joint=False)).speaking(present) is present


def test_a_number_is_what_the_joint_expert_says_where_it_speaks() -> None:
    head = Number().build([{"mean": 0.0, "std": 1.0}], 4)
    head.expect_experts(3, joint=True)
    outputs = torch.tensor([[1.0, 2.0, 7.0], [1.0, 2.0, 7.0]]).T.reshape(3, 2, 1, 1)
    speaks = torch.tensor([[True, False], [True, True], [True, False]])
    assert head.combine(outputs, speaks).flatten().tolist() == [7.0, 2.0]


def test_only_the_joint_expert_can_tell_what_no_input_tells_alone() -> None:
    """Two texts that must be alike: each alone says nothing, and so does their product."""
    rng = np.random.default_rng(0)
    words = np.array(["red", "blue"])
    rows = [(words[a], words[b], "yes" if a == b else "no") for a, b in rng.integers(0, 2, (400, 2))]
    table = read_table([{"left": x, "right": y, "alike": z} for x, y, z in rows])
    right = {}
    for joint in (False, True):
        torch.manual_seed(0)
        model = MultiTaskModel(
            {"left": Text(), "right": Text()}, {"alike": Binary()}, fusion=Late(joint=joint), width=32
        )
        batches = RowBatches(Preprocessing.fit(model.schema(), table, range(len(table))), table)
        network = model.build(batches.preprocessing)
        engine = Engine(Equal(), ["alike"])
        optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
        for step in range(60):
            optimizer.zero_grad()
            batch = batches[Draw(tuple(range(64 * (step % 6), 64 * (step % 6) + 64)), None)]
            network.training_loss(batch, engine).backward()
            optimizer.step()
        with torch.inference_mode():
            batch = batches[Draw(tuple(range(400)), None)]
            said = network.eval().predict(batch)["alike"].output.flatten() > 0
        right[joint] = float((said == torch.tensor([z == "yes" for _, _, z in rows])).float().mean())
    assert right[True] == 1.0
    assert right[False] < 0.8


@pytest.mark.parametrize(("balancer", "level"), [(Equal, "losses"), (UPGrad, "features"), (UPGrad, "last")])
def test_balancers(batches: RowBatches, balancer: Any, level: Any) -> None:
    """At every level the shared gradient is that of the tasks' losses with the weights in the report."""
    network, batch = build(batches), batches[Draw(ROWS, None)]
    names = network.preprocessing.tasks
    engine = Engine(balancer(), names, level=level, last_shared=network.trunk.last_shared())
    network.training_loss(batch, engine).backward()
    found = network.trunk.last_shared()[0].weight.grad
    assert found is not None
    weights = engine.report()["weights"]
    sums, counts = network.losses(batch, network.share(batch))
    total = sum(w * s / c for w, s, c in zip((weights[n] for n in names), sums, counts))
    (expected,) = torch.autograd.grad(total, [network.trunk.last_shared()[0].weight])  # type: ignore[arg-type]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_tasks_that_cannot_join_are_named(table: Table) -> None:
    model = MultiTaskModel(inputs(), tasks(), fusion=Late(), trunk=TRUNKS["transformer"]())
    states = Preprocessing.fit(model.schema(), table, range(len(table)))
    with pytest.raises(ConfigError) as caught:
        model.build(states)
    assert "'area' (mask), 'height' (dense), 'slots' (tags), 'german' (text) cannot be joined" in str(caught.value)
    assert "trunk: transformer mixes the tokens of all inputs" in str(caught.value)


def test_options(batches: RowBatches) -> None:
    with pytest.raises(ConfigError, match=r"fusion\.alone: 1\.5 is no share"):
        build(batches, alone=1.5)


def test_a_run_is_saved_and_loaded(tmp_path: Path) -> None:
    rows = [
        {"note": ("red", "blue")[n % 2], "size": n % 7 if n % 3 else None, "kind": "ab"[n % 2], "price": 2.0 * (n % 7)}
        for n in range(60)
    ]
    bound: dict[str, Any] = {"note": Text(), "size": NumberInput()}
    aims: dict[str, Any] = {"kind": Category(), "price": Number()}
    model = MultiTaskModel(bound, aims, fusion=Late(), width=16)
    run = trunkline.fit(model, rows, steps=3, threads=1, accelerator="cpu", out=tmp_path / "run")
    assert trunkline.load(tmp_path / "run").predict(rows[:4]) == run.predictor.predict(rows[:4])


def test_one_onnx_file_holds_it_all(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    rows = [
        {"note": note, "size": size, "kind": "ab"[n % 2], "price": n}
        for n, (note, size) in enumerate([("red", 1), ("blue big", None), (None, 3), ("red", 4)] * 3)
    ]
    bound: dict[str, Any] = {"note": Text(), "size": NumberInput()}
    aims: dict[str, Any] = {"kind": Category(), "price": Number()}
    model = MultiTaskModel(bound, aims, fusion=Late(), width=16)
    table = read_table(rows)
    trained = trunkline.Predictor(model.build(Preprocessing.fit(model.schema(), table, range(len(rows)))))
    written = export_onnx(trained, table, tmp_path / "model.onnx")
    assert max(written.differences.values()) < 1e-4
