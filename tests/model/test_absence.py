"""Absence is a state, not a value: nothing that stands in its place is ever read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from trunkline import DataError
from trunkline.balancers import Equal, UPGrad
from trunkline.data import Draw, Table, read_table
from trunkline.engine import Engine
from trunkline.export.dense import dense_values
from trunkline.fusion import CATALOG as FUSION
from trunkline.model import MultiTaskModel, Network
from trunkline.schema import Preprocessing, RowBatches
from trunkline.trunks import CATALOG as TRUNKS
from trunkline.types import Batch, Part
from worlds import inputs, schema, tasks, world

ROWS = tuple(range(24))
TOGETHER = [name for name, kind in FUSION.items() if not kind.is_late]  # tests/model/test_late.py has the other


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return world(tmp_path_factory.mktemp("world"), 48)


@pytest.fixture(scope="module")
def batches(table: Table) -> RowBatches:
    return RowBatches(Preprocessing.fit(schema(), table, range(len(table))), table)


def build(batches: RowBatches, trunk: str = "hard", fusion: str = "concat") -> Network:
    torch.manual_seed(0)
    model = MultiTaskModel(inputs(), tasks(), fusion=FUSION[fusion](), trunk=TRUNKS[trunk](), width=32)
    return model.build(batches.preprocessing).eval()


def gradients(network: Network, batch: Batch, balancer: Any = None, level: Any = "losses") -> dict[str, Tensor | None]:
    network.zero_grad(set_to_none=True)
    last = network.trunk.last_shared()
    engine = Engine(balancer or Equal(), network.preprocessing.tasks, level=level, last_shared=last)
    network.training_loss(batch, engine).backward()
    return {name: p.grad for name, p in network.named_parameters()}


def same(a: dict[str, Tensor | None], b: dict[str, Tensor | None]) -> bool:
    return all((x is None and y is None) or (x is not None and y is not None and torch.equal(x, y))
               for x, y in zip(a.values(), b.values()))  # fmt: skip


def with_garbage(batch: Batch, garbage: float) -> Batch:
    """Garbage behind every `False`: in the table block, and in every stack of row targets."""

    def spoil(value: Tensor, flags: Tensor) -> Tensor:
        spoilt = value.clone()
        spoilt[~flags] = garbage if value.is_floating_point() else 10**6
        return spoilt

    block = batch.inputs["size"]
    assert block.flags is not None
    assert not block.flags.all()
    flags = {"numbers": block.flags[:, :1], "categories": block.flags[:, 1:]}
    values = {key: spoil(value, flags[key]) for key, value in block.values.items()}
    targets = {}
    for name, part in batch.targets.items():
        own = dict(part.values)
        if "flags" in own and own["flags"].shape == own["values"].shape:
            own["values"] = spoil(own["values"], own["flags"])
        targets[name] = replace(part, values=own)
    return replace(batch, inputs={**batch.inputs, "size": replace(block, values=values)}, targets=targets)


@pytest.mark.parametrize("garbage", [1e30, float("nan"), float("inf")])
def test_garbage_behind_a_false_flag_changes_nothing(batches: RowBatches, garbage: float) -> None:
    network, batch = build(batches), batches[Draw(ROWS, None)]
    stack = batch.targets["price"].values["flags"]
    assert stack.shape[1] == 2
    assert not stack.all()
    assert same(gradients(network, batch), gradients(network, with_garbage(batch, garbage)))


@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize("fusion", TOGETHER)
def test_garbage_on_the_dense_path_changes_nothing(batches: RowBatches, trunk: str, fusion: str) -> None:
    network, batch = build(batches, trunk, fusion), batches[Draw(ROWS, None)]
    clean = dense_values(batch)
    spoilt = {}
    for name, values in clean.items():
        here = batch.present[name]
        spoilt[name] = {key: value if name == "size" else _spoil_rows(value, ~here) for key, value in values.items()}
    with torch.inference_mode():
        first, second = network.share_dense(clean, batch.present), network.share_dense(spoilt, batch.present)
    pairs = zip(first[0].taps, second[0].taps)
    assert all(torch.equal(a.values, b.values) and torch.equal(a.mask, b.mask) for a, b in pairs)


def _spoil_rows(value: Tensor, rows: Tensor) -> Tensor:
    spoilt = value.clone()
    if value.is_floating_point():
        spoilt[rows] = float("nan")
    elif value.dtype == torch.bool:
        spoilt[rows] = True
    else:
        spoilt[rows] = 1
    return spoilt


@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize("fusion", TOGETHER)
def test_dense_and_gathered_paths_agree(batches: RowBatches, trunk: str, fusion: str) -> None:
    network, batch = build(batches, trunk, fusion), batches[Draw(ROWS, None)]
    network.in_lots = False
    assert any(part.rows is not None for part in batch.inputs.values())
    with torch.inference_mode():
        (gathered,) = network.share(batch)
        (dense,) = network.share_dense(dense_values(batch), batch.present)
    for ours, theirs in zip(gathered.taps, dense.taps):
        assert torch.equal(ours.mask, theirs.mask)
        torch.testing.assert_close(ours.values, theirs.values, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("task", tasks())
def test_an_unlabelled_task_leaves_its_head_without_gradient(table: Table, batches: RowBatches, task: str) -> None:
    unit = next(u for u in batches.preprocessing.heads if task in u.tasks)
    flags = batches.labelled[:, unit.columns].any(1)
    without = tuple(i for i in range(len(table)) if not flags[i] and batches.labelled[i].any())
    network = build(batches, "mmoe")
    batch = batches[Draw(without, None)]
    found = gradients(network, batch)
    number = batches.preprocessing.heads.index(unit)
    places = [batches.preprocessing.tasks.index(t) for t in unit.tasks]
    private = [n for n in found if n.startswith((f"heads.{number}.", *(f"trunk.gates.{p}." for p in places)))]
    assert len(private) > 1
    assert all(found[name] is None for name in private)
    assert any(g is not None for g in found.values())


@pytest.mark.parametrize(("balancer", "level"), [(Equal, "losses"), (UPGrad, "features"), (UPGrad, "last")])
def test_an_absent_task_changes_nothing_for_the_others(
    table: Table, batches: RowBatches, balancer: Any, level: str
) -> None:
    """The step of a network that has the task, on rows without it = the step of one that never had it."""
    rows = tuple(i for i in range(len(table)) if not batches.labelled[i, batches.preprocessing.tasks.index("german")])
    network = build(batches)
    full = gradients(network, batches[Draw(rows, None)], balancer(), level)
    less = schema(without=("german",))
    states = {**batches.preprocessing.states}
    other = RowBatches(Preprocessing(less, states), table)
    torch.manual_seed(0)
    model = MultiTaskModel(inputs(), less.tasks, width=32)
    small = model.build(other.preprocessing).eval()
    small.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("heads.")}, strict=False)
    for unit, head in zip(small.preprocessing.heads, small.heads):
        twin = [u.name for u in network.preprocessing.heads].index(unit.name)
        head.load_state_dict(network.heads[twin].state_dict())
    learns = [name for name, p in small.named_parameters() if p.numel() and not name.startswith("heads.")]
    alone = gradients(small, other[Draw(rows, None)], balancer(), level)
    found = {name: alone[name] for name in learns}
    unread = f"fusion.pools.{[u.name for u in network.preprocessing.encoders].index('size')}.score.weight"
    assert [name for name, gradient in found.items() if gradient is None] == [unread]  # a table's tokens are averaged
    assert same(found, {name: full[name] for name in found})


def test_a_row_says_the_same_in_any_company(table: Table, batches: RowBatches) -> None:
    network = build(batches)
    with torch.inference_mode():
        together = network.predict(batches[Draw(ROWS, None)])["kind"].output
        for row in ROWS[:8]:
            alone = network.predict(batches[Draw((row,), None)])["kind"].output
            torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=1e-4)


def test_a_row_without_any_input_is_an_error(batches: RowBatches) -> None:
    rows = [{"note": "small red"}, {"note": None, "size": None}, {"size": 3}, {}]
    with pytest.raises(DataError, match=r"rows, row 2: none of the inputs .*'photo'.* is present, nor in 1 more rows"):
        RowBatches(batches.preprocessing, read_table(rows), with_targets=False)


def test_missing_columns_are_absent_inputs(batches: RowBatches) -> None:
    """A table to predict from needs no more than one input."""
    few = RowBatches(batches.preprocessing, read_table([{"note": "small red"}]), with_targets=False)
    batch = few[Draw((0,), None)]
    assert batch.present["note"].tolist() == [True]
    assert batch.present.values.sum() == 1
    with torch.inference_mode():
        outputs = build(batches).predict(batch)
    assert "area" not in outputs  # bound to the photo, which is absent
    assert torch.isfinite(outputs["kind"].output).all()


def test_batches_move_whole(batches: RowBatches) -> None:
    moved = batches[Draw(ROWS, None)].to("meta")
    parts: list[Part] = [*moved.inputs.values(), *moved.targets.values()]
    tensors = [t for p in parts for t in (*p.values.values(), p.rows, p.flags) if t is not None]
    assert all(t.device.type == "meta" for t in (*tensors, moved.present.values, moved.labelled.values))


def test_the_world_is_hard_enough(batches: RowBatches, tmp_path: Path) -> None:
    """The fixtures above prove something only if there are holes everywhere."""
    assert (batches.present.mean(0) < 0.9).all()
    assert (batches.labelled.mean(0) < 0.9).all()
    assert batches.labelled.any(1).all()
