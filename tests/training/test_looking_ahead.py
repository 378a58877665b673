"""Looks ahead: the steps are the optimiser's, what they do is what they do, and the run never notices."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from training.small_runs import STEPS, fit, log, write_small_world
from training.test_training import plan_of
from trunkline.balancers import Equal
from trunkline.data import Draw
from trunkline.engine import Engine
from trunkline.errors import ConfigError
from trunkline.model import MultiTaskModel
from trunkline.run.wiring import settings_of
from trunkline.schema import Preprocessing, RowBatches
from trunkline.training.loaders import split_draw
from trunkline.training.looking_ahead import LookAhead
from trunkline.training.loop import make_fabric
from trunkline.training.stepper import Stepper
from trunkline.types import Batch
from worlds import schema, world

torch.set_num_threads(1)
RATES = {"loud": 0.25}


def make(folder: Path, *, parts: int = 1, clip: float | str = 0.05, **model: Any) -> tuple[Stepper, list[Batch]]:
    """A network that has taken three steps, clipped, and the parts of the one that comes."""
    table = world(folder / "all", 24)
    preprocessing = Preprocessing.fit(schema(without=("german",)), table, range(24))
    batches = RowBatches(preprocessing, table)
    torch.manual_seed(0)
    network = MultiTaskModel(preprocessing.schema.inputs, preprocessing.schema.tasks, width=16, **model).build(
        preprocessing
    )
    assert any(isinstance(m, torch.nn.Dropout) and m.p > 0 for m in network.modules())
    engine = Engine(Equal(), preprocessing.tasks, rates=RATES, preferences={"price": 3.0})
    settings = settings_of(plan_of(write_small_world(folder / "small"), clip=clip).config.training)
    stepper = Stepper(make_fabric(settings), network.train(), engine, settings)
    step = [batches[draw] for draw in split_draw(Draw(tuple(range(20)), None), parts)]
    stepper.optimiser.param_groups[0]["lr_factor"] = 0.2  # as if others had trained it
    for _ in range(3):
        stepper.step(step, 0.5)
    stepper.set_rate(0.4)
    return stepper, step


def flat(values: list[Tensor]) -> Tensor:
    return torch.cat([value.detach().flatten() for value in values])


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("clip", [0.05, "off"])
def test_the_tasks_parts_of_a_step_add_up_to_it(tmp_path: Path, parts: int, clip: float | str) -> None:
    stepper, step = make(tmp_path, parts=parts, clip=clip)
    ahead, before = LookAhead(stepper), {}
    for group in stepper.optimiser.param_groups:
        for p in group["params"]:
            state = copy.deepcopy(stepper.optimiser.state.get(p))
            before[p] = (p.detach().clone(), group["weight_decay"], group["lr"], state)
    gradients, _ = ahead.gradients(step)
    wanted = ahead.steps(gradients, step).sum(0)
    stepper.step(step, 0.4)
    sizes = [p.numel() for p in ahead.parameters]
    for p, part in zip(ahead.parameters, wanted.split(sizes), strict=True):
        old, decay, lr, state = before[p]
        if not state:
            continue
        now = stepper.optimiser.state[p]
        mean = (now["exp_avg_sq"] / (1 - 0.999 ** now["step"])).sqrt() + 1e-8
        momentum = lr * 0.9 * state["exp_avg"] / (1 - 0.9 ** now["step"]) / mean
        taken = old - p.detach() - lr * decay * old
        known = mean > 1e-6  # a bias of attention's keys has no gradient but what is rounded
        assert torch.allclose((part.view_as(p) + momentum)[known], taken[known], atol=2e-3 * lr, rtol=2e-3)


@pytest.mark.parametrize("parts", [1, 3])
def test_what_is_measured_is_what_the_step_does(tmp_path: Path, parts: int) -> None:
    """Beside a copy of the network that is moved by hand; dropout is the same in all passes."""
    stepper, step = make(tmp_path, parts=parts)
    ahead = LookAhead(stepper)
    gradients, _ = ahead.gradients(step)
    steps, found = ahead.steps(gradients, step), ahead.measure(step)
    sums, weights = stepper.losses(step)
    losses, kept = sums / weights, flat(ahead.parameters)
    for i, one in enumerate(ahead.tasks):
        torch.nn.utils.vector_to_parameters(kept - steps[i], ahead.parameters)
        sums, weights = stepper.losses(step)
        torch.nn.utils.vector_to_parameters(kept, ahead.parameters)
        for j, other in enumerate(ahead.tasks):
            fall, slope = (losses[j] - sums[j] / weights[j]), steps[i] @ gradients[j]
            assert found["ahead"][one][other] == pytest.approx(float(fall / losses[j].abs()), abs=1e-6)
            assert found["slope"][one][other] == pytest.approx(float(slope / losses[j].abs()), rel=1e-3, abs=1e-6)


def test_small_steps_do_what_the_gradients_say(tmp_path: Path) -> None:
    stepper, step = make(tmp_path)
    for group in stepper.optimiser.param_groups:
        group["lr"] *= 0.1
    found = LookAhead(stepper).measure(step)
    for one, row in found["ahead"].items():
        assert row[one] > 0, "a step on a task helps it"
        for other, value in row.items():
            assert value == pytest.approx(found["slope"][one][other], rel=0.1, abs=2e-5)


def test_nothing_is_moved_by_a_look(tmp_path: Path) -> None:
    stepper, step = make(tmp_path)
    state = copy.deepcopy((stepper.network.state_dict(), stepper.optimiser.state_dict()))
    numbers = torch.get_rng_state()
    gradients = [None if p.grad is None else p.grad.clone() for p in stepper.parameters]
    LookAhead(stepper).measure(step)
    after = stepper.network.state_dict(), stepper.optimiser.state_dict()
    assert all(torch.equal(after[0][name], value) for name, value in state[0].items())
    for number, moments in state[1]["state"].items():
        assert all(torch.equal(after[1]["state"][number][name], value) for name, value in moments.items())
    assert torch.equal(torch.get_rng_state(), numbers)
    for p, before in zip(stepper.parameters, gradients, strict=True):
        assert p.grad is before is None or torch.equal(p.grad, before)


def test_a_task_that_is_not_there_is_neither_helped_nor_helps(tmp_path: Path) -> None:
    table = world(tmp_path / "all", 24)
    stepper, _ = make(tmp_path)
    batches = RowBatches(stepper.network.preprocessing, table)
    rows = [i for i in range(24) if table.column("loud")[i] is None]
    assert rows
    found = LookAhead(stepper).measure([batches[Draw(tuple(rows), None)]])
    for kind in ("ahead", "slope"):
        for one, row in found[kind].items():
            for other, value in row.items():
                assert (value is None) == ("loud" in (one, other)), (one, other)


def test_rows_without_any_label_are_looked_at_in_vain(tmp_path: Path) -> None:
    stepper, (batch,) = make(tmp_path)
    none = replace(batch.labelled, values=torch.zeros_like(batch.labelled.values))
    bare = replace(batch, targets={}, counts=(0,) * len(batch.counts), labelled=none)
    found = LookAhead(stepper).measure([bare])
    assert {value for row in found["ahead"].values() for value in row.values()} == {None}


def test_a_look_moves_no_running_statistic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stepper, step = make(tmp_path)
    network = stepper.network
    network.norm = torch.nn.BatchNorm1d(3, affine=False)
    share = network.share

    def normalised(batch: Batch) -> object:
        network.norm(torch.randn(8, 3))
        return share(batch)

    monkeypatch.setattr(network, "share", normalised)
    before = network.norm.running_mean.clone()
    LookAhead(stepper).measure(step)
    assert torch.equal(network.norm.running_mean, before)


def test_a_run_with_looks_is_the_run_without(tmp_path: Path) -> None:
    write_small_world(tmp_path)
    plain, looked = fit(tmp_path, tmp_path / "plain"), fit(tmp_path, tmp_path / "looked", affinity=2)
    assert (plain.folder / "model.safetensors").read_bytes() == (looked.folder / "model.safetensors").read_bytes()
    lines = log(looked.folder)
    assert [line["step"] for line in lines if "affinity" in line] == [step + 1 for step in range(2, STEPS, 2)]
    assert [line for line in lines if "affinity" not in line] == log(plain.folder)
    assert "affinity" not in (looked.folder / "log.csv").read_text()


def test_several_processes_and_scaled_gradients_are_refused(tmp_path: Path) -> None:
    write_small_world(tmp_path)
    with pytest.raises(ConfigError, match=r"training\.affinity: one process measures it"):
        fit(tmp_path, tmp_path / "run", affinity=2, devices=2)
    with pytest.raises(ConfigError, match=r"training\.affinity: gradients of single tasks are not scaled"):
        fit(tmp_path, tmp_path / "other", affinity=2, precision="16-mixed")
    with pytest.raises(ConfigError, match=r"training\.affinity: must be at least 1"):
        fit(tmp_path, tmp_path / "third", affinity=0)
