"""A step in parts is the step."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.small_runs import write_small_world
from training.test_training import plan_of, train_plan, weights_of
from trunkline.balancers import (
    DWA,
    FAMO,
    GLS,
    RLW,
    STCH,
    Equal,
    FAMOLagged,
    GO4Align,
    GradNorm,
    GradVac,
    GramianBalancer,
    LogSum,
    LossBalancer,
    PCGrad,
    Uncertainty,
    UPGrad,
)
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


def gradients(balancer: Any, parts: Sequence[slice], steps: int = 1) -> tuple[list[Tensor], dict[str, Any]]:
    """Of everything that learns, after the last of these steps in these parts."""
    trunk, heads, x, y, words = problem()
    engine = Engine(balancer, ["a", "b"], rates=RATES, preferences={"a": 2.0}).double()

    def losses(rows: slice, views: Any = None) -> tuple[Tensor, Tensor]:
        views = views or dict.fromkeys("ab", trunk(x[rows]).tanh())
        sums = [(words[t][rows] * (heads[t](views[t]) - y[t][rows]).square().squeeze(1)).sum() for t in "ab"]
        return torch.stack(sums), torch.stack([words[t][rows].sum() for t in "ab"])

    def counts(rows: slice) -> list[int]:
        return [int(words[t][rows].gt(0).sum()) for t in "ab"]

    def look() -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            sums, weights = (torch.stack(each).sum(0) for each in zip(*(losses(rows) for rows in parts)))
        return sums, weights

    learned = [*trunk.parameters(), *heads["a"].parameters(), *heads["b"].parameters(), *engine.parameters()]
    optimiser = torch.optim.SGD(learned, lr=0.02)
    for _ in range(steps):
        optimiser.zero_grad()
        whole = None
        if len(parts) > 1:
            whole = Whole([sum(c) for c in zip(*map(counts, parts))], len(x), len(parts), *look())
        for rows in parts:
            present = engine.begin(counts(rows), len(x[rows]), whole)
            views = engine.split(trunk(x[rows]).tanh(), present)
            found = losses(rows, {t: views.get(t, trunk(x[rows]).tanh().detach()) for t in "ab"})
            index = ["ab".index(t) for t in present]
            engine.combine(found[0][index], found[1][index], present).backward()
        optimiser.step()
        if engine.waits_for_losses:
            engine.combine_after_step(*look())
    assert all(p.grad is not None for p in learned)
    state = {name: value.clone() for name, value in engine.state_dict().items()}
    return [p.grad for p in learned if p.grad is not None], {**engine.report(), "state": state}


@pytest.mark.parametrize("balancer", [Equal, Uncertainty, Product, LogSum, GLS, RLW, FAMO, STCH, GO4Align])
def test_gradients_of_parts_add_up(balancer: type[LossBalancer]) -> None:
    edges = np.cumsum((0, *ROWS)).tolist()
    expected, told = gradients(balancer(), [slice(0, sum(ROWS))])
    found, said = gradients(balancer(), [slice(a, b) for a, b in itertools.pairwise(edges)])
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    for key in ("losses", "weights"):  # the log tells of the step, not of its last part
        assert said[key] == pytest.approx(told[key], rel=1e-9)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FAMO(lr=0.5),
        lambda: FAMOLagged(lr=0.5),
        lambda: STCH(0.3, warmup=0, window=1),
        lambda: STCH(0.3, warmup=1, window=2),
        lambda: DWA(0.5, window=1),
        lambda: GO4Align(step_size=1.0),
        RLW,
    ],
    ids=["famo", "famo_lagged", "stch", "stch later", "dwa", "go4align", "rlw"],
)
def test_steps_in_parts_teach_what_whole_steps_do(make: Callable[[], LossBalancer]) -> None:
    edges = np.cumsum((0, *ROWS)).tolist()
    expected, told = gradients(make(), [slice(0, sum(ROWS))], steps=4)
    found, said = gradients(make(), [slice(a, b) for a, b in itertools.pairwise(edges)], steps=4)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(said["state"], told["state"], rtol=1e-9, atol=1e-12)
    assert said["weights"] == pytest.approx(told["weights"], rel=1e-9)
    assert len({round(w, 6) for w in said["weights"].values()}) == 2


def gramian_steps(balancer: GramianBalancer, parts: int, steps: int) -> list[list[float]]:
    """Weights of each part of each step, where all parts have the same rows."""
    torch.manual_seed(0)
    trunk = nn.Linear(4, 3).double()
    x, y = torch.randn(5, 4, dtype=torch.float64), torch.randn(3, 5, 3, dtype=torch.float64)
    engine = Engine(balancer, ["a", "b", "c"], level="last", last_shared=[trunk])
    optimiser = torch.optim.SGD(trunk.parameters(), lr=0.05)
    seen = []
    for _ in range(steps):
        optimiser.zero_grad()
        with torch.no_grad():
            sums = parts * torch.stack([(trunk(x) - each).square().sum() for each in y])
        whole = Whole([5 * parts] * 3, 5 * parts, parts, sums, torch.full((3,), 5.0 * parts))
        for _ in range(parts):
            present = engine.begin([5] * 3, 5, whole)
            views = engine.split(trunk(x), present)
            found = torch.stack([(views[t] - each).square().sum() for t, each in zip("abc", y, strict=True)])
            engine.combine(found, torch.full((3,), 5.0), present).backward()
            seen.append(list(engine.report()["weights"].values()))
        optimiser.step()
    return seen


@pytest.mark.parametrize(
    "make",
    [lambda: GradNorm(rate=0.2), lambda: GradVac(0.5), lambda: PCGrad(seed=4)],
    ids=["gradnorm", "gradvac", "pcgrad"],
)
def test_a_balancer_from_gradients_learns_once_a_step(make: Callable[[], GramianBalancer]) -> None:
    """Parts with the same rows are weighed as the step is, and leave what the step leaves."""
    in_parts, in_one = make(), make()
    found, expected = gramian_steps(in_parts, 3, 6), gramian_steps(in_one, 1, 6)
    np.testing.assert_allclose(found, np.repeat(expected, 3, 0), rtol=1e-9)
    assert np.ptp(expected, 0).max() > 0.05
    torch.testing.assert_close(in_parts.state_dict(), in_one.state_dict(), rtol=1e-9, atol=1e-12, equal_nan=True)


def test_gradnorm_compares_where_its_paper_does_and_says_so(tmp_path: Path) -> None:
    plan = plan_of(write_small_world(tmp_path), {"balancer": {"type": "gradnorm"}})
    assert plan.engine.level == "last"
    assert plan.reasons["balancer.level"] == "where the paper of this balancer compares gradients"


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


@pytest.mark.parametrize("balancer", [Equal, Uncertainty, UPGrad])
def test_a_part_without_any_label_changes_nothing(tmp_path: Path, balancer: Any) -> None:
    found = []
    for bare in (0, 1):
        plan = plan_of(write_small_world(tmp_path / str(bare)))
        torch.manual_seed(0)
        engine = Engine(balancer(), plan.network.preprocessing.tasks)
        stepper = Stepper(make_fabric(settings_of(plan.config.training)), plan.network.eval(), engine,
                          settings_of(plan.config.training))  # fmt: skip
        batch = plan.source(plan.splits.train)[Draw(tuple(range(8)), None)]
        none = replace(batch.labelled, values=torch.zeros_like(batch.labelled.values))
        more = replace(batch, targets={}, counts=(0,) * len(batch.counts), labelled=none)
        stepper.step([batch, more][: 1 + bare], 1.0)
        found.append(weights_of(plan))
    torch.testing.assert_close(found[0], found[1])


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
