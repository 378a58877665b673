"""Minutes become steps, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import trunkline
from training.small_runs import config, traces, write_small_world
from training.test_training import plan_of, same, weights_of
from trunkline import ConfigError
from trunkline.config import load_config
from trunkline.data import write_rows
from trunkline.plan import Plan, make_plan
from trunkline.run import budget, check
from trunkline.run.budget import LOOK, afford, fix_steps
from trunkline.run.wiring import rows_of, settings_of, validation_of
from trunkline.sources import columns_of, read_splits
from trunkline.training import Pace, Rows, measure_pace, timing
from trunkline.training.stepper import Stepper
from trunkline.types import Batch

UPGRAD = {"balancer": {"type": "upgrad", "level": "last"}}
SLOW = Pace(step=0.5, reading=0.0, row=1e-4)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return write_small_world(tmp_path_factory.mktemp("world"))


def open_plan(world: Path, **training: Any) -> Plan:
    return plan_of(world, steps=None, validations=None, **training)


@pytest.fixture
def paced(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda pace: monkeypatch.setattr(budget, "measure_pace", lambda *_: pace)


def test_what_is_wanted_is_taken_where_there_is_time() -> None:
    can = afford(Pace(0.01, 0.0, 1e-4), 1200, wanted=3000, per_epoch=50, validations=20, rows=100)
    assert (can.steps, can.validations, can.rows) == (3000, 20, 100)
    assert can.allowed == pytest.approx(1200 * 0.95 / 0.01, rel=0.01)


@pytest.mark.parametrize("pace", [Pace(0.1, 0.3, 1e-3), Pace(2.0, 0.0, 0.05), Pace(0.01, 0.0, 0.1), Pace(30.0, 5.0, 0)])
def test_all_of_it_fits_the_minutes(pace: Pace) -> None:
    can = afford(pace, 600, wanted=10_000, per_epoch=200, validations=20, rows=2000)
    reading = pace.reading * min(can.steps, 200)
    looking = can.validations * can.rows * pace.row
    assert can.steps * pace.step + reading + looking <= 600
    assert looking <= LOOK * 600 or (can.validations, can.rows) == (budget.FEWEST_LOOKS, budget.FEWEST_ROWS)
    assert (can.steps < 10_000) == (can.allowed < 10_000)
    assert can.steps == 10_000 or can.steps * pace.step > 300


def test_validation_has_its_share_of_a_short_run_too() -> None:
    can = afford(Pace(0.01, 0.0, 0.01), 1200, wanted=500, per_epoch=50, validations=20, rows=1000)
    assert can.steps == 500
    assert can.rows == budget.FEWEST_ROWS
    assert can.validations == budget.FEWEST_LOOKS


def test_the_resolved_config_says_steps_and_why(world: Path, paced: Any) -> None:
    paced(SLOW)
    plan = open_plan(world, minutes=1)
    wanted = plan.config.training.steps
    assert wanted is not None and plan.config.training.minutes == 1
    with pytest.warns(UserWarning, match=rf"^1 minutes allow 1\d\d steps here, where {wanted} are wanted: give"):
        fixed, pace = fix_steps(plan)
    assert pace == SLOW
    training = fixed.config.training
    assert training.minutes is None
    assert training.steps is not None and 100 < training.steps < 115
    why = fixed.reasons["training.steps"]
    said = f"500 ms a step here: 1 minutes allow {training.steps}; {wanted} were wanted: "
    assert why == said + plan.reasons["training.steps"]
    assert "at least" not in why  # fewer are taken
    assert "training.minutes" not in fixed.reasons


def test_looks_of_blending_have_their_share(world: Path, paced: Any) -> None:
    """Three passes in place of one: what is looked at is worked out with three times the cost of a row."""
    paced(Pace(step=0.5, reading=0.0, row=0.2))
    late = {"type": "late", "joint": True}
    plain, blending = (
        fix_steps(plan_of(world, {"fusion": {**late, "blending": on}}, steps=None, validations=None, minutes=1.0))[0]
        for on in (False, True)
    )
    assert blending.config.training.steps is not None and plain.config.training.steps is not None
    assert blending.config.training.steps < plain.config.training.steps


def test_without_a_limit_what_is_wanted_is_taken(world: Path, paced: Any) -> None:
    paced(SLOW)
    plan = open_plan(world, minutes="off")
    fixed, _ = fix_steps(plan)
    assert fixed.config.training.steps == plan.config.training.steps
    assert fixed.config.training.minutes is None


def test_twenty_minutes_by_default_on_a_cpu(world: Path) -> None:
    assert open_plan(world).config.training.minutes == 20
    assert plan_of(world, minutes=3).config.training.minutes is None  # it says steps


def test_where_steps_are_given_nothing_is_measured(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "measure_pace", lambda *_: pytest.fail("measured"))
    plan = plan_of(world)
    assert fix_steps(plan) == (plan, None)


def test_what_is_read_once_is_timed_apart(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second pass has the rows of the first and no others: what is worked out once a row is worked out by then."""
    taken: list[list[torch.Tensor]] = []

    class Watched(Stepper):
        def step(self, parts: list[Batch], rate: float) -> None:
            taken.append([part.labelled.values.clone() for part in parts])
            super().step(parts, rate)

    monkeypatch.setattr(timing, "Stepper", Watched)
    monkeypatch.setattr(timing, "SECONDS", 0.0)
    plan = plan_of(world, {})
    measure_pace(plan.network, plan.engine, rows_of(plan, plan.splits.train), None, settings_of(plan.config.training))
    assert len(taken) == 2 * timing.FEWEST
    for first, again in zip(taken, taken[timing.FEWEST :]):
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("sections", [{}, UPGRAD, {"balancer": "uncertainty"}])
def test_measuring_leaves_no_trace(world: Path, sections: dict[str, Any]) -> None:
    """Weights, what the balancer learns, random numbers; and the engine works on."""
    plan = plan_of(world, sections, ema=0.9)
    before, engine, rng = (
        weights_of(plan),
        {k: v.clone() for k, v in plan.engine.state_dict().items()},
        torch.get_rng_state(),
    )
    train = rows_of(plan, plan.splits.train)
    pace = measure_pace(plan.network, plan.engine, train, validation_of(plan), settings_of(plan.config.training))
    assert pace.step > 0 and pace.row > 0 and pace.reading >= 0
    assert same(weights_of(plan), before)
    assert same(plan.engine.state_dict(), engine)
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(p.grad is None for p in plan.network.parameters())
    assert plan.engine.report() == {}


def test_a_timed_run_and_its_resolved_config_are_the_same_run(world: Path, tmp_path: Path, paced: Any) -> None:
    paced(Pace(step=2.0, reading=0.0, row=0.0))
    said = {**config(world), "training": {"minutes": 0.5, "batch_size": 8, "threads": 1, "accelerator": "cpu"}}
    first = trunkline.fit(said, out=tmp_path / "first")
    assert first.metrics["steps"] == first.config.training.steps == 14
    assert "2000 ms a step here" in (first.folder / "config.yaml").read_text()
    again = trunkline.fit(first.folder / "config.yaml", out=tmp_path / "again")
    assert traces(again.folder) == traces(first.folder)
    assert load_config(first.folder / "config.yaml", columns=None) == load_config(
        again.folder / "config.yaml", columns=None
    )


def test_check_says_how_many_steps_there_will_be(world: Path, tmp_path: Path, paced: Any) -> None:
    paced(SLOW)
    path = tmp_path / "open.yaml"
    path.write_text(
        yaml.safe_dump({**config(world), "training": {"minutes": 1, "batch_size": 8, "accelerator": "cpu"}})
    )
    report = check(path)
    assert report.plan.config.training.steps is not None and 100 < report.plan.config.training.steps < 120
    assert 48 < sum(report.seconds) <= 60 and min(report.seconds) > 0


@pytest.mark.parametrize(
    ("option", "value", "fault"),
    [
        ("minutes", 0, "must be greater than 0"),
        ("patience", 0, "must be at least 1"),
        ("ema", 1, "must be at least 0 and less than 1"),
        ("accumulate", 0, "must be at least 1"),
        ("validations", 0, "must be at least 1"),
        ("validation_rows", 0, "must be at least 1"),
    ],
)
def test_what_cannot_be(world: Path, option: str, value: int, fault: str) -> None:
    with pytest.raises(ConfigError, match=rf"training\.{option}: {fault}, not {value}"):
        plan_of(world, **{option: value})


def test_a_share_of_the_validation_rows_is_looked_at(world: Path) -> None:
    plan = plan_of(world)
    rows = validation_of(plan)
    assert rows is not None
    few = rows.at_most(3, seed=4)
    assert len(few.rows) == 3 and set(few.rows) < set(rows.rows) and list(few.rows) == sorted(few.rows)
    assert list(few.rows) == list(rows.at_most(3, seed=4).rows)
    assert rows.at_most(10_000, seed=4) is rows


@pytest.mark.parametrize("seed", range(6))
def test_a_look_judges_tasks_that_few_rows_are_labelled_for(tmp_path: Path, seed: int) -> None:
    """Those of a small table beside a large one; among rows that have all labels the draw is a plain one."""
    write_rows(tmp_path / "large.csv", [{"x": i, "y": i % 7} for i in range(9_000)])
    write_rows(tmp_path / "small.csv", [{"x": i, "z": i % 5} for i in range(60)])
    (tmp_path / "c.yaml").write_text(
        "data:\n  tables:\n    large: {train: large.csv, validation: 0.5}\n"
        "    small: {train: small.csv, validation: 0.5}\ninputs: {x: number}\ntasks: {y: number, z: number}\n"
    )
    loaded = load_config(tmp_path / "c.yaml", columns=columns_of)
    rows = validation_of(make_plan(loaded, read_splits(loaded)))
    assert rows is not None and len(rows.rows) == 4_530
    few = rows.at_most(100, seed)
    assert few.batches.labelled[few.rows].sum(0).tolist() == pytest.approx([74, 26], abs=1)
    assert rows.at_most(20, seed).batches.labelled[rows.at_most(20, seed).rows].sum(0).min() >= 5
    alike = Rows(rows.batches, rows.rows[rows.batches.labelled[rows.rows, 0]])
    plain = np.random.default_rng(seed).permutation(len(alike.rows))[:100]
    assert alike.at_most(100, seed).rows.tolist() == alike.rows[np.sort(plain)].tolist()
