"""Tasks added to a trained network: what was there stays to the bit, for every trunk and fusion."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from trunkline import ConfigError, RunError
from trunkline.balancers import Equal
from trunkline.data import Draw, Table, read_table
from trunkline.engine import Engine
from trunkline.fusion import CATALOG as FUSION
from trunkline.fusion import Concat, Late
from trunkline.modalities import Category, Number, Text
from trunkline.model import MultiTaskModel, Network, join
from trunkline.schema import Preprocessing, RowBatches, TaskColumn
from trunkline.tasks import Binary, Tags
from trunkline.tasks import Number as NumberTask
from trunkline.trunks import CATALOG as TRUNKS
from trunkline.trunks import PLE, Hard, Trunk

ROWS = 12
CLOSED = {"cross_stitch", "padnet", "ple"}


@pytest.fixture(scope="module")
def table() -> Table:
    torch.set_num_threads(1)
    return read_table([
        {"x": float(i % 5), "shop": "ab"[i % 2], "note": f"w{i % 3} of", "slots": ["B-w", "O"], "big": i % 5 > 2,
         "odd": i % 2 == 1, "sum": float(i), "new": i % 3 == 0}
        for i in range(ROWS)
    ])  # fmt: skip


def model(tasks: dict[str, Any], trunk: Trunk, fusion: Any = None) -> MultiTaskModel:
    inputs = {"x": Number(), "shop": Category(), "note": Text()}
    return MultiTaskModel(inputs, tasks, fusion=fusion or Concat(), trunk=trunk, width=12)


OLD = {"big": Binary(), "odd": Binary(), "sum": NumberTask()}
NEW = {"new": TaskColumn(Binary(), "new", added=1)}


def trained(table: Table, trunk: Trunk, fusion: Any = None) -> Network:
    """As if: nothing is where it began."""
    network = model(OLD, trunk, fusion)
    torch.manual_seed(0)
    built = network.build(Preprocessing.fit(network.schema(), table, range(ROWS))).eval()
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return built


def extended(table: Table, old: Network, trunk: Trunk, fusion: Any = None, new: Any = None) -> Network:
    whole = model({**OLD, **(NEW if new is None else new)}, trunk, fusion)
    torch.manual_seed(1)
    states = Preprocessing.fit(whole.schema(), table, range(ROWS), old.preprocessing.states)
    network = whole.build(states)
    join(network, old.state_dict())
    return network


def said(network: Network, table: Table) -> dict[str, torch.Tensor]:
    batch = RowBatches(network.preprocessing, table)[Draw(tuple(range(ROWS)), None)]
    with torch.inference_mode():
        outputs = network.eval().predict(batch)
    return {name: one.output for name, one in outputs.items() if torch.is_tensor(one.output)}


def learn(network: Network, table: Table, steps: int = 2) -> None:
    """A few steps of the new task, with dropout and decay."""
    batches = RowBatches(network.preprocessing, table).teaching(("new",))
    engine = Engine(Equal(), network.preprocessing.tasks, level="losses")
    network.train()
    optimiser = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    for step in range(steps):
        optimiser.zero_grad()
        network.training_loss(batches[Draw(tuple(range(ROWS)), step)], engine).backward()
        optimiser.step()


def assert_joined(table: Table, trunk: Trunk, fusion: Any = None) -> None:
    old = trained(table, trunk, fusion)
    before = {name: value.clone() for name, value in old.state_dict().items()}
    network = extended(table, old, trunk, fusion)
    fresh = {name: p.detach().clone() for name, p in network.named_parameters() if p.requires_grad}
    learn(network, table)
    after = network.state_dict()
    for name, value in before.items():
        ours = after[name][..., : value.shape[-2], :] if name.startswith("blending.") else after[name]
        assert torch.equal(ours.nan_to_num(-9.0), value.nan_to_num(-9.0)), name
    assert set(fresh).isdisjoint(before)
    assert all(not torch.equal(after[name], value) for name, value in fresh.items())
    one, other = said(old, table), said(network, table)
    assert one.keys() < other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("name", sorted(set(TRUNKS) - CLOSED))
def test_every_trunk(table: Table, name: str) -> None:
    assert_joined(table, TRUNKS[name]())


@pytest.mark.parametrize("name", sorted(CLOSED))
def test_trunks_that_cannot(table: Table, name: str) -> None:
    old = trained(table, TRUNKS[name]())
    with pytest.raises(ConfigError, match=r"no task can be added to the run: its trunk .*(other|task's)"):
        extended(table, old, TRUNKS[name]())


def test_one_level_of_extraction(table: Table) -> None:
    assert_joined(table, PLE(levels=1))


@pytest.mark.parametrize("name", FUSION)
def test_every_fusion(table: Table, name: str) -> None:
    assert_joined(table, Hard(dropout=0.3), FUSION[name]())


def test_blending(table: Table) -> None:
    assert_joined(table, Hard(), Late(blending=True))


def test_what_stays_is_in_evaluation_mode(table: Table) -> None:
    network = extended(table, trained(table, TRUNKS["mmoe"]()), TRUNKS["mmoe"]()).train()
    (head,) = [head for unit, head in network.units() if unit.tasks == ("new",)]
    own = {id(m) for part in (head, *network.trunk.private("new")) for m in part.modules()}
    assert all(module.training == (id(module) in own) for module in network.modules())


def test_a_task_of_the_same_kind_has_a_head_of_its_own(table: Table) -> None:
    network = extended(table, trained(table, Hard()), Hard())
    assert [unit.tasks for unit in network.preprocessing.heads] == [("big", "odd"), ("sum",), ("new",)]


def test_a_task_that_would_change_what_others_read(table: Table) -> None:
    slots = {"slots": TaskColumn(Tags(), "slots", of="note", added=1)}
    with pytest.raises(ConfigError, match=r"tasks\.slots: reads the tokens of 'note', and the run's network keeps"):
        extended(table, trained(table, Hard()), Hard(), new=slots)
    keeps = TRUNKS["transformer"]()
    extended(table, trained(table, keeps), keeps, new=slots)


def test_weights_of_another_network(table: Table) -> None:
    with pytest.raises(RunError, match="do not fit its network"):
        extended(table, trained(table, Hard(layers=1)), Hard(layers=2))


def test_a_trunk_that_does_not_say_what_is_private(table: Table) -> None:
    class SilentModule(TRUNKS["mmoe"]().build(("a",), 12).__class__):  # type: ignore[misc]
        def private(self, task: str) -> Any:
            return ()

    class Silent(Hard):
        def build(self, tasks: Any, width: int) -> Any:
            return SilentModule(tasks, width, 2, 1.0, 0.0)

    with pytest.raises(RunError, match=r"TrunkModule\.private"):
        extended(table, trained(table, Silent()), Silent())
