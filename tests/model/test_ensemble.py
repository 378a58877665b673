"""An ensemble that shares its weights: members' rows, their mean, their loss."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trunkline.balancers import Equal
from trunkline.data import Draw
from trunkline.engine import Engine
from trunkline.errors import ConfigError
from trunkline.fusion import Concat, Late
from trunkline.model import Network
from trunkline.model.ensemble import averaged, members_loss, rows_of_members
from trunkline.schema import Preprocessing, RowBatches
from trunkline.trunks import Hard
from worlds import schema, world

ROWS_ONLY = ("kind", "loud", "price", "weight", "marks")


def build(folder: Path, trunk: Hard, only: tuple[str, ...] | None = None) -> tuple[Network, RowBatches]:
    table = world(folder)
    states = Preprocessing.fit(schema(only), table, range(len(table)))
    torch.manual_seed(0)
    return Network(states, Concat(), trunk, 16).eval(), RowBatches(states, table)


def test_rows_lie_member_by_member_and_are_averaged_back():
    values = torch.arange(2 * 3 * 4.0).view(2, 3, 4)  # 2 rows, 3 members
    rows = rows_of_members(values)
    torch.testing.assert_close(rows, torch.cat([values[:, m] for m in range(3)]))
    torch.testing.assert_close(averaged(rows, 3), values.mean(1))


def test_what_is_said_is_the_mean_of_what_each_member_says(tmp_path: Path) -> None:
    network, batches = build(tmp_path, Hard(members=3, dropout=0.0), ROWS_ONLY)
    batch = batches[Draw(tuple(range(12)), None)]
    said = network.predict(batch)
    (lot,) = network.share(batch)
    for unit, head in network.units():
        members = [lot.taps[0].values[:, m].unsqueeze(0) for m in range(3)]
        mean = torch.stack([head.predict_output(view) for view in members]).mean(0)
        torch.testing.assert_close(said[unit.name].output, mean)
        assert not torch.allclose(head.predict_output(members[0]), head.predict_output(members[1]))


def test_the_loss_is_the_mean_of_each_members_own(tmp_path: Path) -> None:
    network, batches = build(tmp_path, Hard(members=3, dropout=0.0), ROWS_ONLY)
    batch = batches[Draw(tuple(range(12)), None)]
    shared = network.share(batch)
    for unit, head in network.units():
        part = batch.targets[unit.name]
        view = network.view(unit, shared, part, batch.sources)
        total, weight = members_loss(head, view, part.values, 3)
        each = [head.loss(head.predict_output(view.unflatten(1, (3, -1))[:, m]), part.values) for m in range(3)]
        torch.testing.assert_close(total, torch.stack([t for t, _ in each]).mean(0))
        torch.testing.assert_close(weight, each[0][1])


def test_tasks_that_read_tokens_find_theirs(tmp_path: Path) -> None:
    """Every kind of task trains beside an ensemble, and row tokens take nobody's place."""
    network, batches = build(tmp_path, Hard(members=4))
    batch = batches[Draw(tuple(range(24)), 1)]
    engine = Engine(Equal(), network.preprocessing.tasks)
    network.training_loss(batch, engine).backward()
    assert network.trunk.entries.grad.abs().sum() > 0
    network.in_lots = False
    ((tap,),) = (lot.taps for lot in network.share(batch))
    assert [s.input for s in tap.spans[:4]] == [None] * 4
    assert tap.of("photo").values.shape[1] == tap.spans[-1].stop - 4 - tap.of("note").values.shape[1]


def test_inputs_that_speak_alone_are_an_ensemble_already(tmp_path: Path) -> None:
    table = world(tmp_path)
    states = Preprocessing.fit(schema(ROWS_ONLY), table, range(len(table)))
    with pytest.raises(ConfigError, match=r"leave `trunk.members` at 1"):
        Network(states, Late(), Hard(members=2), 16)


def test_nobody_cannot_answer() -> None:
    with pytest.raises(ConfigError, match=r"trunk.members: 0"):
        Hard(members=0).build(["a"], 8)
