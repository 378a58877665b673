"""What is no number takes no part in its step, is counted, and ends a run that has nothing else any more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from training.small_runs import config, fit, log, read_rows, traces, write_small_world
from training.test_training import assert_unfinished, interrupt_at, plan_of
from trunkline import RunError
from trunkline import fit as fit_model
from trunkline.data import Draw
from trunkline.model import HeadWatch, Watch
from trunkline.plan import Plan
from trunkline.run.wiring import settings_of
from trunkline.schema import RowBatches
from trunkline.tasks.number import NumberHead
from trunkline.training.faults import LIMIT, Faults
from trunkline.training.loop import make_fabric
from trunkline.training.stepper import Stepper

torch.set_num_threads(1)
PRICE = 0  # its place among the two numbers, which are a stack
ROWS = tuple(range(12))
BALANCERS = ("equal", "uncertainty", {"type": "upgrad", "level": "features"}, {"type": "upgrad", "level": "last"},
             {"type": "upgrad", "level": "trunk"})  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_world(tmp_path_factory.mktemp("world"))


def break_prices(monkeypatch: pytest.MonkeyPatch, above: float, how: str = "loss") -> None:
    """Labels above this, scaled, have an infinite loss; or a finite one whose gradient is none (`0 · √0′`)."""
    before = NumberHead.loss

    def loss(self: NumberHead, output: Tensor, target: Any) -> tuple[Tensor, Tensor]:
        total, weight = before(self, output, target)
        bad = (target["flags"] & (target["values"] > above))[:, PRICE]
        if not bool(bad.any()):
            return total, weight
        said = output[:, PRICE, 0][bad]
        extra = (said.square() * math.inf if how == "loss" else (said * 0).abs().sqrt()).sum()
        return torch.cat([total[:1] + extra, total[1:]]), weight

    monkeypatch.setattr(NumberHead, "loss", loss)


Stepped = tuple[dict[str, Tensor], Faults, dict[str, Tensor]]


def stepped(plan: Plan, *, unpriced: Sequence[int] = (), waits: bool = True) -> Stepped:
    """Weights after one step of a network without dropout, what was counted, and the gradients."""
    settings = settings_of(plan.config.training)
    stepper = Stepper(make_fabric(settings), plan.network.eval(), plan.engine, settings)
    stepper.waits = waits
    source = plan.source(plan.splits.train)
    table = source.table.without({"price": unpriced})
    stepper.step([RowBatches(source.preprocessing, table)[Draw(ROWS, None)]], 1.0)
    gradients = {name: p.grad for name, p in plan.network.named_parameters() if p.grad is not None}
    return plan.network.state_dict(), stepper.faults, gradients


@pytest.mark.parametrize("balancer", BALANCERS)
def test_a_task_without_a_finite_loss_is_as_one_without_labels(
    world: Path, monkeypatch: pytest.MonkeyPatch, balancer: Any
) -> None:
    """To whatever it shares and to all heads, also to the one in whose stack it is."""
    sections = {"balancer": balancer}
    _, _, expected = stepped(plan_of(world, sections, clip="off"), unpriced=ROWS)
    break_prices(monkeypatch, -math.inf)
    plan = plan_of(world, sections, clip="off")
    weights, faults, gradients = stepped(plan)
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert dict(zip(faults.tasks, faults.total.tolist())) == {"kind": 0, "loud": 0, "price": 1, "weight": 0}
    assert faults.total[-1] == 0
    flat = [torch.cat([found[name].flatten() for name in expected]) for found in (gradients, expected)]
    torch.testing.assert_close(flat[0], flat[1], rtol=1e-3, atol=1e-5)
    assert flat[1].norm() > 0


@pytest.mark.parametrize("balancer", BALANCERS)
def test_a_gradient_that_is_none_stays_where_it_is(world: Path, monkeypatch: pytest.MonkeyPatch, balancer: Any) -> None:
    """The loss is finite, what comes back is not: rows in which it is send nothing, all others what they would."""
    sections = {"balancer": balancer, "fusion": "concat"}  # in which a label weighs 1
    plan = plan_of(world, sections, clip="off")
    prices = [row["price"] for row in read_rows(world)[:12] if row.get("price") is not None]
    state = plan.network.preprocessing.states["tasks"]["price"]
    break_prices(monkeypatch, (sorted(prices)[-2] - state["mean"]) / state["std"] + 1e-4, "gradient")
    before = {name: value.clone() for name, value in plan.network.state_dict().items()}
    weights, faults, gradients = stepped(plan)
    assert all(torch.isfinite(value).all() for value in [*weights.values(), *gradients.values()])
    assert faults.total.tolist()[2] == 1 and faults.total[-1] == 0
    assert any(not torch.equal(weights[name], before[name]) for name in before if name.startswith("encoders"))
    if balancer == "equal":  # the others of `n` prices count as much in their mean as if that one had said nothing
        table = plan.source(plan.splits.train).table
        bad = [i for i in ROWS if table.cell(i, "price") == max(prices)]
        monkeypatch.undo()
        (_, _, none), (_, _, rest) = (
            stepped(plan_of(world, sections, clip="off"), unpriced=rows) for rows in (ROWS, bad)
        )
        share = 1 - 1 / len(prices)
        for name in [name for name in none if not name.startswith("heads")]:
            expected = none[name] + share * (rest[name] - none[name])
            torch.testing.assert_close(gradients[name], expected, rtol=1e-3, atol=1e-5)


def test_no_step_is_taken_where_everything_is_lost(world: Path) -> None:
    plan = plan_of(world)
    parameter = next(plan.network.encoders[0].parameters())
    parameter.register_hook(lambda gradient: gradient * math.inf)
    before = {name: value.clone() for name, value in plan.network.state_dict().items()}
    weights, faults, _ = stepped(plan)
    assert all(torch.equal(weights[name], before[name]) for name in before)
    assert faults.total.tolist() == [0, 0, 0, 0, 1]


def test_what_a_head_makes_infinite_in_its_own_weights_is_told(world: Path) -> None:
    plan = plan_of(world)
    loud = next(place for place, unit in enumerate(plan.network.preprocessing.heads) if unit.name == "loud")
    next(plan.network.heads[loud].parameters()).register_hook(lambda gradient: gradient * math.nan)
    _, faults, _ = stepped(plan)
    assert dict(zip(faults.tasks, faults.total.tolist())) == {"kind": 0, "loud": 1, "price": 0, "weight": 0}
    assert faults.total[-1] == 0


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_device_that_nobody_waits_for_does_the_same(world: Path, is_lost: bool) -> None:
    """It takes the step, or does not, by a flag that it has itself; here a CPU does so."""
    found = []
    for waits in (True, False):
        plan = plan_of(world)
        if is_lost:
            parameter = next(plan.network.encoders[0].parameters())
            parameter.register_hook(lambda gradient: gradient * math.inf)
        weights, faults, _ = stepped(plan, waits=waits)
        found.append((weights, faults.total.tolist()))
    assert found[0][1] == found[1][1] == [0, 0, 0, 0, int(is_lost)]
    assert all(torch.equal(found[0][0][name], found[1][0][name]) for name in found[0][0])


def test_a_scaler_sees_all_that_is_infinite_but_of_a_lost_loss() -> None:
    """Two tasks of a stack: the first lost its loss, the gradient of the second is the scaler's business."""
    watch = Watch(2, torch.device("cpu"), mends=False)
    head = HeadWatch(watch, (0, 1))
    said = torch.ones(3, 2, 1, requires_grad=True)
    output = head.output(said)
    head.losses(torch.stack([output[:, 0].sum() * math.inf, output[:, 1].sum()]), torch.ones(2))
    output.backward(torch.tensor([math.nan, math.inf]).view(1, 2, 1).expand(3, 2, 1))
    assert said.grad is not None
    assert said.grad[:, 0].eq(0).all() and said.grad[:, 1].isinf().all()


def test_steps_in_a_row_are_those_that_had_labels() -> None:
    faults, no = Faults(["a", "b"], torch.device("cpu")), torch.tensor(False)

    def count(lost: list[bool], present: list[bool]) -> list[int]:
        faults.count(torch.tensor(lost), torch.tensor(present), no)
        return faults.row.tolist()

    assert count([True, False], [True, True]) == [1, 0, 0]
    assert count([False, True], [False, True]) == [1, 1, 0]
    assert count([True, False], [True, True]) == [2, 0, 0]
    assert count([False, False], [True, False]) == [0, 0, 0]
    assert faults.total.tolist() == [2, 1, 0]
    other = Faults(["a", "b"], torch.device("cpu"))
    other.load(faults.state())
    assert other.total.tolist() == [2, 1, 0]


# --- whole runs ---


def break_largest(world: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """The training row with the largest price has an infinite loss. Returns its number in the table, from 1."""
    rows = read_rows(world)
    priced = [i for i, row in enumerate(rows) if row["split"] == "train" and row.get("price") is not None]
    *_, second, largest = sorted(priced, key=lambda i: rows[i]["price"])
    plan = plan_of(world)
    state = plan.network.preprocessing.states["tasks"]["price"]
    break_prices(monkeypatch, (rows[second]["price"] / 2 + rows[largest]["price"] / 2 - state["mean"]) / state["std"])
    return largest + 1


@pytest.mark.filterwarnings("ignore:step .* 'price' had an infinite")
def test_a_run_goes_on_without_and_counts(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row in forty: each epoch of five steps loses the price once; interrupted, it goes on counting."""
    break_largest(world, monkeypatch)
    with pytest.warns(UserWarning, match="'price' had an infinite or undefined loss or gradient in 1 step so far"):
        whole = fit(world, tmp_path / "whole", steps=15, input_dropout=0.0)
    assert log(whole.folder)[-2]["dropped"] == {"price": 3} and "skipped" not in log(whole.folder)[-2]
    assert whole.metrics["test"]["kind"] is not None and whole.metrics["test"]["price"] is not None
    interrupt_at(monkeypatch, 8)
    with pytest.raises(KeyboardInterrupt):
        fit(world, tmp_path / "parts", steps=15, input_dropout=0.0)
    monkeypatch.undo()
    break_largest(world, monkeypatch)
    fit_model(config(world, steps=15, input_dropout=0.0), out=tmp_path / "parts", resume=True)
    assert traces(tmp_path / "parts") == traces(whole.folder)


def test_a_task_that_is_lost_again_and_again_ends_the_run_and_names_its_rows(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = break_largest(world, monkeypatch)
    with pytest.raises(
        RunError,
        match=rf"at step {LIMIT} the loss or gradient of 'price' .* infinite in rows\.jsonl, row {number}\. .* are in",
    ):
        fit(world, tmp_path / "run", steps=40, validations=20, batch_size=64, input_dropout=0.0)
    assert_unfinished(tmp_path / "run")
    assert (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize("balancer", ["equal", "famo"])
def test_weights_that_have_diverged_are_told_from_bad_rows_and_not_kept(
    world: Path, tmp_path: Path, balancer: str
) -> None:
    with pytest.raises(RunError, match="in each of the 8 rows looked at: it is the weights, not the rows") as told:
        fit(world, tmp_path / "run", {"balancer": balancer}, lr=1e30, warmup=0.0, clip="off", steps=40, validations=20)
    assert "are in the run's folder" not in str(told.value)
    assert not list((tmp_path / "run" / "checkpoints").glob("*.safetensors"))
