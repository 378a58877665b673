"""The rate over the steps, and runs that end early."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from training.small_runs import log, write_small_world
from training.test_training import plan_of, train_plan
from trunkline.training import judge
from trunkline.training.schedule import COOLDOWN, Schedule, is_due, warmup_cosine


def test_a_schedule_is_warmup_and_cosine_until_it_cools() -> None:
    schedule = Schedule(100, 0.1)
    assert schedule.last == 100
    before = [schedule.rate(step) for step in range(100)]
    assert before == [warmup_cosine(step, 100, 0.1) for step in range(100)]
    schedule.cool(40)
    after = [schedule.rate(step) for step in range(schedule.last + 1)]
    assert schedule.last == 40 + COOLDOWN * 40
    assert after[:41] == before[:41]
    assert after[-1] == pytest.approx(0.0)
    assert all(a > b for a, b in itertools.pairwise(after[40:]))
    assert after[44] == pytest.approx(before[40] / 2)


def test_cooling_never_goes_past_the_end_and_takes_a_step_at_least() -> None:
    late, early = Schedule(100, 0.1), Schedule(100, 0.1)
    late.cool(98)
    early.cool(1)
    assert (late.last, early.last) == (100, 2)


def test_a_schedule_goes_on_from_its_state() -> None:
    first, second = Schedule(100, 0.1), Schedule(100, 0.1)
    first.cool(30)
    second.load(first.state())
    assert [first.rate(step) for step in range(36)] == [second.rate(step) for step in range(36)]


@pytest.mark.parametrize(("steps", "times"), [(7, 3), (100, 20), (5, 9), (1, 1), (105, 10)])
def test_what_is_due_happens_so_often_and_at_the_end(steps: int, times: int) -> None:
    due = [step for step in range(1, steps + 1) if is_due(step, steps, times)]
    assert len(due) == min(times, steps)
    assert due[-1] == steps
    gaps = [b - a for a, b in itertools.pairwise([0, *due])]
    assert max(gaps) - min(gaps) <= 1


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs whose validations say what a test wants."""

    def use(scores: Iterator[float]) -> None:
        monkeypatch.setattr(judge, "aggregate", lambda *_: next(scores))

    return use


def test_a_plateau_cools_and_ends(tmp_path: Path, scored: Any) -> None:
    """Better until step 20, then never: two validations later the rate falls to zero, and one more look is had."""
    scored(itertools.chain([0.1, 0.5], itertools.repeat(0.2)))
    plan = plan_of(write_small_world(tmp_path / "world"), steps=100)
    fitted = train_plan(plan, tmp_path / "run", validations=10, patience=2)
    assert fitted.steps == 48
    assert fitted.best_step == 20
    assert [step for step, *_ in fitted.history] == [10, 20, 30, 40, 48]
    rates = {line["step"]: line["lr"] for line in log(tmp_path / "run") if "lr" in line}
    assert rates[48] < 0.1 * rates[40]
    assert rates[41] == pytest.approx(1e-3 * warmup_cosine(40, 100, 0.1))


def test_what_gets_better_while_it_cools_is_kept(tmp_path: Path, scored: Any) -> None:
    scored(iter([0.1, 0.5, 0.2, 0.2, 0.9]))
    plan = plan_of(write_small_world(tmp_path / "world"), steps=100)
    fitted = train_plan(plan, tmp_path / "run", validations=10, patience=2)
    assert (fitted.steps, fitted.best_step) == (48, 48)


def test_without_patience_all_steps_are_taken(tmp_path: Path, scored: Any) -> None:
    scored(itertools.repeat(0.2))
    plan = plan_of(write_small_world(tmp_path / "world"), steps=30)
    assert train_plan(plan, tmp_path / "run", validations=10).steps == 30
