"""A step in parts is the step."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.small_runs import write_small_world
from training.test_training import plan_of, train_plan, weights_of
from trunkline.balancers import FAMO, GLS, RLW, STCH, Equal, GO4Align, LogSum, LossBalancer, Uncertainty, UPGrad
from trunkline.data import Draw
from trunkline.engine import Engine, Whole
from trunkline.model import MultiTaskModel
from trunkline.run.wiring import settings_of
from trunkline.schema import Preprocessing, RowBatches
from trunkline.training.loaders import split_draw
from trunkline.training.loop import make_fabric
from trunkline.training.stepper import Stepper
from trunkline.types import Batch
from worlds import schema, world

ROWS = (5, 1, 8, 2)  # of the parts: uneven, so that a mean of means is wrong
RATES = {"b": 0.3}


class Product(LossBalancer):
    """Of the losses: as far from a sum as a balancer can be."""

    def weigh(self, losses: Tensor, tasks: Sequence[str]) -> tuple[Tensor, Tensor]:
        product = losses.prod()
        return torch.cat([product[None], losses.new_zeros(len(losses) - 1)]), (product / losses).detach()


def problem() -> tuple[nn.Linear, dict[str, nn.Linear], Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """A trunk, two heads, 16 rows; `b` is labelled in a few of them, and in none of the second part."""
    torch.manual_seed(0)
    trunk, heads = nn.Linear(4, 3).double(), {t: nn.Linear(3, 1).double() for t in "ab"}
    x = torch.randn(sum(ROWS), 4, dtype=torch.float64)
    y = {t: torch.randn(sum(ROWS), 1, dtype=torch.float64) for t in "ab"}
    words = {"a": torch.randint(1, 9, (16,)).double(), "b": torch.arange(16).eq(7).double() + (torch.arange(16) < 4)}
    return trunk, heads, x, y, words


def gradients(balancer: Any, parts: Sequence[slice]) -> tuple[list[Tensor], dict[str, Any]]:
    """Of everything that learns, after a step in these parts."""
    trunk, heads, x, y, words = problem()
    engine = Engine(balancer, ["a", "b"], rates=RATES, preferences={"a": 2.0}).double()

    def losses(rows: slice, views: Any = None) -> tuple[Tensor, Tensor]:
        views = views or dict.fromkeys("ab", trunk(x[rows]).tanh())
        sums = [(words[t][rows] * (heads[t](views[t]) - y[t][rows]).square().squeeze(1)).sum() for t in "ab"]
        return torch.stack(sums), torch.stack([words[t][rows].sum() for t in "ab"])

    def counts(rows: slice) -> list[int]:
        return [int(words[t][rows].gt(0).sum()) for t in "ab"]

    with torch.no_grad():
        sums, weights = (torch.stack(each).sum(0) for each in zip(*(losses(rows) for rows in parts)))
    whole = None
    if len(parts) > 1:
        whole = Whole([sum(c) for c in zip(*map(counts, parts))], len(x), len(parts), sums, weights)
    for rows in parts:
        present = engine.begin(counts(rows), len(x[rows]), whole)
        views = engine.split(trunk(x[rows]).tanh(), present)
        found = losses(rows, {t: views.get(t, trunk(x[rows]).tanh().detach()) for t in "ab"})
        index = ["ab".index(t) for t in present]
        engine.combine(found[0][index], found[1][index], present).backward()
    learned = [*trunk.parameters(), *heads["a"].parameters(), *heads["b"].parameters(), *engine.parameters()]
    assert all(p.grad is not None for p in learned)
    return [p.grad for p in learned if p.grad is not None], engine.report()


@pytest.mark.parametrize("balancer", [Equal, Uncertainty, Product, LogSum, GLS, RLW, FAMO, STCH, GO4Align])
def test_gradients_of_parts_add_up(balancer: type[LossBalancer]) -> None:
    edges = np.cumsum((0, *ROWS)).tolist()
    expected, told = gradients(balancer(), [slice(0, sum(ROWS))])
    found, said = gradients(balancer(), [slice(a, b) for a, b in itertools.pairwise(edges)])
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    for key in ("losses", "weights"):  # the log tells of the step, not of its last part
        assert said[key] == pytest.approx(told[key], rel=1e-9)


def stepped(folder: Path, balancer: Any, parts: int, batches: RowBatches) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Weights and gradients after one clipped step of a network without dropout on rows of every kind."""
    torch.manual_seed(0)
    model = MultiTaskModel(batches.preprocessing.schema.inputs, batches.preprocessing.schema.tasks, width=16)
    network = model.build(batches.preprocessing).eval()
    engine = Engine(balancer, batches.preprocessing.tasks)
    settings = settings_of(plan_of(folder, clip=0.5).config.training)
    stepper = Stepper(make_fabric(settings), network, engine, settings)
    draws = split_draw(Draw(tuple(range(20)), None), parts)
    made: list[Batch] = [batches[draw] for draw in draws]
    stepper.step(made, 1.0)
    return network.state_dict(), [p.grad for p in network.parameters() if p.grad is not None]


@pytest.mark.parametrize("balancer", [Equal, Uncertainty])
def test_a_network_with_every_kind_of_input_and_task_steps_in_parts(tmp_path: Path, balancer: Any) -> None:
    table = world(tmp_path / "all", 24)
    preprocessing = Preprocessing.fit(schema(without=("german",)), table, range(24))
    batches = RowBatches(preprocessing, table)
    small = write_small_world(tmp_path / "small")
    _, whole = stepped(small, balancer(), 1, batches)
    _, parts = stepped(small, balancer(), 3, batches)
    for ours, theirs in zip(parts, whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=2e-6)


def test_a_gramian_balancer_in_parts_learns(tmp_path: Path) -> None:
    """By the Gramian of each part; without conflict that is the step as well."""
    world_of_rows = write_small_world(tmp_path / "world")
    plan = plan_of(world_of_rows, {"balancer": {"type": "upgrad", "level": "features"}}, steps=30, lr=5e-3)
    fitted = train_plan(plan, tmp_path / "run", accumulate=4)
    assert isinstance(plan.engine.balancer, UPGrad)
    assert fitted.history[-1][1] is not None and fitted.history[-1][1] > 0


def test_dropout_is_the_same_in_both_passes(tmp_path: Path) -> None:
    """Of one part, so that the first pass alone makes the difference: none."""
    plans = [plan_of(write_small_world(tmp_path / str(n))) for n in range(2)]
    for plan, looks in zip(plans, (False, True)):
        settings = settings_of(plan.config.training)
        torch.manual_seed(0)
        stepper = Stepper(make_fabric(settings), plan.network, plan.engine, settings)
        plan.network.train()
        batch = plan.source(plan.splits.train)[Draw(tuple(range(8)), 3)]
        if looks:
            before = torch.get_rng_state()
            whole = stepper._look([batch])
            assert torch.equal(torch.get_rng_state(), before)
            sums, weights = plan.network.losses(batch, plan.network.share(batch))
            torch.testing.assert_close(sums.detach(), whole.sums, rtol=0, atol=0)
            assert torch.equal(weights, whole.weights)
            torch.set_rng_state(before)
        stepper.step([batch], 1.0)
    ours, theirs = (weights_of(plan) for plan in plans)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(("rows", "parts"), [(8, 3), (3, 3), (7, 1)])
def test_parts_share_the_rows(rows: int, parts: int) -> None:
    draws = split_draw(Draw(tuple(range(rows)), 5), parts)
    assert len(draws) == parts
    assert [row for draw in draws for row in draw.rows] == list(range(rows))
    assert len({draw.seed for draw in draws}) == parts
    assert max(len(draw.rows) for draw in draws) - min(len(draw.rows) for draw in draws) <= 1
