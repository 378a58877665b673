"""FAMO's second look at a step in training: the same rows, the same dropout, and nothing moved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training.small_runs import write_small_world
from training.test_training import plan_of
from trunkline.balancers import FAMO
from trunkline.data import Draw
from trunkline.engine import Engine
from trunkline.model import MultiTaskModel
from trunkline.run.wiring import settings_of
from trunkline.schema import Preprocessing, RowBatches
from trunkline.training.loaders import split_draw
from trunkline.training.loop import make_fabric
from trunkline.training.stepper import Stepper
from trunkline.types import Batch
from worlds import schema, world


def make(folder: Path, parts: int) -> tuple[Stepper, FAMO, list[Batch]]:
    """A network with dropout and a batch normalisation, FAMO without decay, and a step of 20 rows."""
    table = world(folder / "all", 24)
    preprocessing = Preprocessing.fit(schema(without=("german",)), table, range(24))
    batches = RowBatches(preprocessing, table)
    torch.manual_seed(0)
    network = MultiTaskModel(preprocessing.schema.inputs, preprocessing.schema.tasks, width=16).build(preprocessing)
    assert any(isinstance(m, torch.nn.Dropout) and m.p > 0 for m in network.modules())
    network.norm = torch.nn.BatchNorm1d(3)
    balancer = FAMO(0.0)
    engine = Engine(balancer, preprocessing.tasks)
    settings = settings_of(plan_of(write_small_world(folder / "small")).config.training)
    stepper = Stepper(make_fabric(settings), network.train(), engine, settings)
    return stepper, balancer, [batches[draw] for draw in split_draw(Draw(tuple(range(20)), None), parts)]


@pytest.mark.parametrize("parts", [1, 3])
def test_where_nothing_is_learned_the_second_look_sees_no_progress(tmp_path: Path, parts: int) -> None:
    stepper, balancer, step = make(tmp_path, parts)
    for _ in range(3):
        stepper.step(step, 0.0)
    assert balancer.logits.times.values.max() == 3
    assert balancer.logits.first.values.abs().max() < 1e-6


def test_a_look_moves_no_random_number_and_no_statistic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stepper, _, step = make(tmp_path, 1)
    network, norm = stepper.network, stepper.network.norm
    share = network.share

    def normalised(batch: Batch) -> object:
        norm(torch.randn(8, 3))
        return share(batch)

    monkeypatch.setattr(network, "share", normalised)
    numbers = stepper._random_state()
    torch.rand(5)
    there = torch.get_rng_state()
    stepper._look(step, numbers)
    assert torch.equal(torch.get_rng_state(), there)
    assert norm.running_mean.tolist() == [0.0] * 3 and norm.num_batches_tracked == 0


def test_a_step_without_labels_is_taken_and_the_next_one_learns(tmp_path: Path) -> None:
    stepper, balancer, (batch,) = make(tmp_path, 1)
    nothing = replace(
        batch,
        targets={},
        labelled=replace(batch.labelled, values=torch.zeros_like(batch.labelled.values)),
        counts=(0,) * len(batch.counts),
    )
    stepper.step([nothing], 1.0)
    assert balancer.logits.times.values.max() == 0
    stepper.step([batch], 1.0)
    assert balancer.logits.times.values.max() == 1
