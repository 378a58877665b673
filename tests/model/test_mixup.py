"""Mixed rows: what is seen and what is learned are mixed by one share; what has no label says nothing on its side."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from trunkline import ConfigError
from trunkline.balancers import Equal, UPGrad
from trunkline.data import Draw, Table
from trunkline.engine import Engine
from trunkline.fusion import CATALOG as FUSION
from trunkline.modalities import Image, Number
from trunkline.model import MultiTaskModel, Network
from trunkline.schema import Preprocessing, RowBatches, Schema
from trunkline.trunks import CATALOG as TRUNKS
from trunkline.types import Batch, Mix
from worlds import schema, tasks, world

NAMES = ("kind", "loud", "price", "weight", "marks", "area")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return world(tmp_path_factory.mktemp("world"), 60)


def source(table: Table, mixup: float) -> RowBatches:
    bound = Schema({"photo": Image(size=16, mixup=mixup)}, schema(NAMES).tasks)
    rows = np.flatnonzero(table.present("photo"))
    return RowBatches(Preprocessing.fit(bound, table, rows), table, rows=rows)


def draw(table: Table, seed: int = 5) -> Draw:
    return Draw(tuple(np.flatnonzero(table.present("photo"))[:16].tolist()), seed)


def mixed_batch(table: Table, mixup: float = 1.0, seed: int = 5) -> tuple[RowBatches, Batch, Mix]:
    batches = source(table, mixup)
    batch = batches[draw(table, seed)]
    assert batch.mix is not None
    return batches, batch, batch.mix


def network(batches: RowBatches) -> Network:
    torch.manual_seed(0)
    chosen = {name: tasks()[name] for name in NAMES}
    inputs = {"photo": Image(size=16)}
    model = MultiTaskModel(inputs, chosen, fusion=FUSION["concat"](), trunk=TRUNKS["hard"](), width=32)
    return model.build(batches.preprocessing).eval()


def gradients(built: Network, batch: Batch, balancer: Any, level: Any) -> list[torch.Tensor]:
    built.zero_grad(set_to_none=True)
    built.training_loss(batch, Engine(balancer, built.preprocessing.tasks, level=level)).backward()
    return [torch.zeros(()) if p.grad is None else p.grad for p in built.parameters()]


def test_pictures_are_mixed_in_pairs(table: Table) -> None:
    _, batch, mix = mixed_batch(table)
    plain = source(table, 0.0)[draw(table)]
    assert plain.mix is None and 0 < mix.share < 1
    assert plain.context == batch.context, "the same windows as without"
    own, seen = plain.inputs["photo"].values["pixels"], batch.inputs["photo"].values["pixels"]
    rest = (seen - mix.share * own) / (1 - mix.share)
    distances = torch.cdist(rest.flatten(1), own.flatten(1))
    assert float(distances.amin(1).max()) < 1e-2 and len(set(distances.argmin(1).tolist())) == len(own)


def test_partners_bring_their_labels_and_no_others(table: Table) -> None:
    """Of each task as many are labelled on both sides, so that what the host knows of a step holds."""
    _, batch, mix = mixed_batch(table)
    assert torch.equal(mix.labelled.sum(0), batch.labelled.values.sum(0))
    assert tuple(mix.labelled.sum(0).tolist()) == batch.counts
    assert bool((mix.labelled != batch.labelled.values).any()), "rows differ in what is labelled"
    assert mix.targets.keys() == batch.targets.keys()
    rows = mix.targets["area"].rows
    assert rows is not None
    assert torch.equal(rows, mix.labelled[:, batch.labelled.names.index("area")].nonzero().flatten())


def test_labels_are_those_of_the_pictures_that_are_seen(table: Table) -> None:
    """Whose picture shines through says whose labels come with it."""
    _, batch, mix = mixed_batch(table)
    plain = source(table, 0.0)[draw(table)]
    own, seen = plain.inputs["photo"].values["pixels"], batch.inputs["photo"].values["pixels"]
    rest = (seen - mix.share * own) / (1 - mix.share)
    partner = torch.cdist(rest.flatten(1), own.flatten(1)).argmin(1)
    assert partner[partner].tolist() != list(range(len(partner))), "not the same the other way round"
    assert torch.equal(mix.labelled, plain.labelled.values[partner])
    for head, part in mix.targets.items():
        rows = torch.arange(batch.size) if part.rows is None else part.rows
        theirs = plain.targets[head]
        places = {row: at for at, row in enumerate(range(batch.size) if theirs.rows is None else theirs.rows.tolist())}
        for at, row in enumerate(rows.tolist()):
            for name, value in part.values.items():
                assert torch.equal(value[at], theirs.values[name][places[int(partner[row])]]), head


def test_losses_are_mixed_as_pictures_are(table: Table) -> None:
    batches, batch, mix = mixed_batch(table)
    built = network(batches)
    taps = built.share(batch)
    both = built.losses(batch, taps)
    own = built.losses(replace(batch, mix=None), taps)
    others = built.losses(replace(batch, mix=None, targets=mix.targets), taps)
    for whole, first, second in zip(both, own, others):
        torch.testing.assert_close(whole, mix.share * first + (1 - mix.share) * second)
    assert not torch.equal(own[0], others[0])


def test_a_share_of_one_is_no_mixing_bit_for_bit(table: Table) -> None:
    batches, batch, mix = mixed_batch(table)
    plain = source(table, 0.0)[draw(table)]
    order = torch.arange(batch.size).flip(0)
    part = plain.inputs["photo"]
    values = Image(mixup=1).mix(part.values, order, 1.0)
    assert torch.equal(values["pixels"], part.values["pixels"])
    alone = replace(plain, inputs={"photo": replace(part, values=values)}, mix=replace(mix, share=1.0))
    built = network(batches)
    pairs = zip(gradients(built, alone, Equal(), "losses"), gradients(built, plain, Equal(), "losses"))
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("level", ["features", "trunk"])
def test_gradients_are_weighed_over_both_sides(table: Table, level: str) -> None:
    """A task's rows at the boundary are those of either side: with one task UPGrad's update is the plain one."""
    batches, batch, mix = mixed_batch(table)
    built = network(batches)
    place = batch.labelled.names.index("area")
    only = tuple(count if k == place else 0 for k, count in enumerate(batch.counts))
    flags = torch.arange(len(only)) == place
    alone = replace(
        batch,
        counts=only,
        targets={"area": batch.targets["area"]},
        labelled=replace(batch.labelled, values=batch.labelled.values & flags),
        mix=Mix(mix.share, {"area": mix.targets["area"]}, mix.labelled & flags),
    )
    pairs = zip(gradients(built, alone, UPGrad(), level), gradients(built, alone, Equal(), "losses"))
    for ours, plain in pairs:
        torch.testing.assert_close(ours, plain, atol=1e-6, rtol=1e-4)


def test_other_inputs_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"inputs.photo.mixup: it mixes rows that have no other input; leave it out"):
        Schema({"photo": Image(mixup=0.2), "size": Number()}, {"kind": tasks()["kind"]})
    with pytest.raises(ConfigError, match="mixup: -1"):
        Image(mixup=-1).fit([])


def test_it_moves_to_a_device(table: Table) -> None:
    _, batch, _ = mixed_batch(table)
    moved = batch.to("meta")
    assert moved.mix is not None and moved.mix.labelled.device.type == "meta"
    assert all(v.device.type == "meta" for part in moved.mix.targets.values() for v in part.values.values())
