"""Rows go through fusion and trunk in lots: what is said, lost and learned is what it is together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from trunkline.balancers import Equal, UPGrad
from trunkline.data import Draw
from trunkline.engine import Engine
from trunkline.fusion import CATALOG as FUSION
from trunkline.model import Network, lots
from trunkline.model.lots import divide, order, within
from trunkline.schema import Preprocessing, RowBatches, Schema
from trunkline.tasks import Text as TextTask
from trunkline.trunks import CATALOG as TRUNKS
from trunkline.trunks import DSelectK, Hard
from trunkline.types import Batch, Flags, Part
from worlds import schema, world

ROWS = tuple(range(40))
TOGETHER = [name for name, kind in FUSION.items() if not kind.is_late]


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> RowBatches:
    table = world(tmp_path_factory.mktemp("world"))
    return RowBatches(Preprocessing.fit(schema(), table, range(len(table))), table)


@pytest.fixture(autouse=True)
def every_token_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lots, "WORTH", {"cpu": 4, "cuda": 4})


def build(batches: RowBatches, trunk: Any, fusion: str = "concat") -> Network:
    torch.manual_seed(0)
    return Network(batches.preprocessing, FUSION[fusion](), trunk, 16).eval()


def gradients(network: Network, batch: Batch, balancer: Any, level: Any) -> dict[str, Tensor]:
    engine = Engine(
        balancer, network.preprocessing.tasks, level=level, last_shared=network.trunk.last_shared(),
        shared=network.parameters(),
    )  # fmt: skip
    network.zero_grad()
    network.training_loss(batch, engine).backward()
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("trunk", list(TRUNKS))
@pytest.mark.parametrize("fusion", TOGETHER)
def test_what_is_said_and_lost_is_the_same(batches: RowBatches, trunk: str, fusion: str) -> None:
    network, batch = build(batches, TRUNKS[trunk](), fusion), batches[Draw(ROWS, None)]
    with torch.inference_mode():
        shared = network.share(batch)
        apart, said = network.losses(batch, shared), network.predict(batch)
        network.in_lots = False
        whole, expected = network.losses(batch, network.share(batch)), network.predict(batch)
    assert len(shared) > 2
    assert np.array_equal(np.sort(np.concatenate([lot.rows for lot in shared if lot.rows is not None])), ROWS)
    for ours, theirs in zip(apart, whole):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    for name, one in said.items():
        other = expected[name]
        assert one.rows is other.rows or torch.equal(one.rows, other.rows)
        _same(one.output, other.output)


@pytest.mark.parametrize("fusion", TOGETHER)
def test_a_text_that_is_bound_to_no_input_reads_what_each_lot_has(fusion: str, tmp_path: Path) -> None:
    """Lots have other inputs, and so other tokens for it to read."""
    table, plain = world(tmp_path), schema()
    task = replace(plain.tasks["german"], of=None, task=TextTask(vocabulary=280, max_length=6))
    states = Preprocessing.fit(Schema(plain.inputs, {"german": task}), table, range(len(table)))
    batches = RowBatches(states, table)
    network, batch = build(batches, Hard(), fusion), batches[Draw(ROWS, None)]
    with torch.inference_mode():
        shared = network.share(batch)
        apart, said = network.losses(batch, shared), network.predict(batch)["german"]
        network.in_lots = False
        whole, expected = network.losses(batch, network.share(batch)), network.predict(batch)["german"]
    assert len(shared) > 2
    for ours, theirs in zip(apart, whole):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert torch.equal(said.output, expected.output)


def _same(ours: Any, theirs: Any) -> None:
    if isinstance(ours, dict):
        for key in ours:
            _same(ours[key], theirs[key])
    elif isinstance(ours, Tensor):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    else:
        assert ours == theirs


@pytest.mark.parametrize(
    ("trunk", "balancer", "level"),
    [
        (Hard(dropout=0.0), Equal, "losses"),
        (Hard(dropout=0.0), UPGrad, "features"),
        (Hard(dropout=0.0), UPGrad, "last"),
        (Hard(dropout=0.0), UPGrad, "trunk"),
        (Hard(dropout=0.0, members=3), Equal, "losses"),
        (Hard(dropout=0.0, members=3), UPGrad, "features"),
        (TRUNKS["mmoe"](dropout=0.0), UPGrad, "features"),
        (TRUNKS["mmoe"](dropout=0.0), UPGrad, "last"),
        (DSelectK(dropout=0.0, entropy=0.1), Equal, "losses"),
        (DSelectK(dropout=0.0, entropy=0.1), UPGrad, "trunk"),
        (TRUNKS["padnet"](dropout=0.0), UPGrad, "last"),
    ],
)
def test_what_is_learned_is_the_same(batches: RowBatches, trunk: Any, balancer: Any, level: Any) -> None:
    network, batch = build(batches, trunk), batches[Draw(ROWS, None)]
    assert len(network.share(batch)) > 2
    apart = gradients(network, batch, balancer(), level)
    network.in_lots = False
    whole = gradients(network, batch, balancer(), level)
    for name in apart.keys() | whole.keys():  # one of a single lot may be none where the other is zero
        zero = torch.zeros(())
        ours, theirs = (found.get(name, zero) for found in (apart, whole))
        torch.testing.assert_close(
            ours.expand(theirs.shape) if ours is zero else ours, theirs + zero, atol=2e-5, rtol=2e-4
        )


def test_late_fusion_takes_all_rows_together(batches: RowBatches, tmp_path: Path) -> None:
    table = world(tmp_path)
    states = Preprocessing.fit(schema(("kind", "price")), table, range(len(table)))
    network = Network(states, FUSION["late"](), Hard(), 16)
    (lot,) = network.share(RowBatches(states, table)[Draw(ROWS, None)])
    assert lot.rows is None


@pytest.mark.parametrize("name", ["kind", "area", "german"])
def test_some_rows_in_any_order(batches: RowBatches, name: str) -> None:
    network, batch = build(batches, Hard()), batches[Draw(ROWS, None)]
    unit, _ = next(pair for pair in network.units() if pair[0].name == name)
    of = batches.preprocessing.schema.tasks[name].of
    there = np.arange(batch.size) if of is None else batch.inputs[of].on_host
    assert there is not None
    some = torch.from_numpy(np.random.default_rng(0).permutation(there)[:7])
    with torch.inference_mode():
        view = network.view(unit, network.share(batch), Part({}, some), batch.sources)
        network.in_lots = False
        expected = network.view(unit, network.share(batch), Part({}, some), batch.sources)
    ours, theirs = (v if isinstance(v, Tensor) else v.values for v in (view, expected))
    torch.testing.assert_close(ours, theirs)
    if not isinstance(view, Tensor) and view.source is not None:
        assert all(torch.equal(value, expected.source[key]) for key, value in view.source.items())


def test_lots_are_rows_with_the_same_inputs_as_far_as_that_spares_tokens() -> None:
    present = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 0], [0, 1, 1], [1, 0, 1]], dtype=bool)
    found = divide(present, (100, 50, 0), 10)  # the last makes no tokens worth a lot of its own
    assert found is not None and sorted(rows.tolist() for rows in found) == [[0, 2, 4], [1, 3]]
    assert divide(present, (100, 50, 0), 351) is None  # together 5 · 151 tokens, apart 3 · 101 + 2 · 51: 350 are spared
    assert divide(present, (100, 50, 0), 350) is not None
    assert divide(present[[0, 4]], (100, 50, 0), 1) is None
    assert divide(np.ones((3, 2), dtype=bool), (9, 9), 0) is None


def test_places_within_lots() -> None:
    lot = lots.Lot((), np.array([1, 4, 6]))
    assert within(lot, None) is None and within(lot, np.array([6, 4, 2, 1])) is None
    found = within(lot, np.array([6, 0, 1]))
    assert found is not None and found.tolist() == [0, 2]
    assert order([np.array([1, 4]), np.array([0, 2])], None) is not None
    places = order([np.array([1, 6]), np.array([0])], np.array([6, 0, 1]))
    assert places is not None and places.tolist() == [1, 2, 0]
    assert order([np.array([0, 1]), np.array([2])], None) is None


def test_flags_and_rows_stay_on_the_host() -> None:
    """Elsewhere, nobody has to wait for a device to learn which rows have what."""
    flags = Flags(("a",), torch.tensor([[True], [False]])).to("meta").to("meta")
    part = Part({}, torch.tensor([1])).to("meta").to("meta")
    assert flags.values.device.type == "meta" and flags.on_host.tolist() == [[True], [False]]
    assert part.rows is not None and part.rows.device.type == "meta" and part.on_host.tolist() == [1]
    assert Part({}).to("meta").on_host is None
