"""Whoever is told of the validations: sees what the log has, and may end the run, or leave it to be gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import trunkline
from training.small_runs import config, log, traces, write_small_world
from training.test_resuming import raise_interrupt
from training.test_training import plan_of
from trunkline import load
from trunkline.run import fitting
from trunkline.run.wiring import rows_of, settings_of
from trunkline.training import Validation, train


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return write_small_world(tmp_path_factory.mktemp("world"))


def fit(world: Path, out: Path, **options: Any) -> Any:
    return trunkline.fit(config(world), out=out, report=False, **options)


def test_it_is_told_what_the_log_has(world: Path, tmp_path: Path) -> None:
    seen: list[Validation] = []
    run = fit(world, tmp_path / "run", on_validation=seen.append)
    lines = [line for line in log(run.folder) if "validation" in line]
    assert [(one.step, one.aggregate, one.scores) for one in seen] == [
        (line["step"], line["aggregate"], line["validation"]) for line in lines
    ]
    assert [one.step for one in seen] == [2, 4, 6]
    assert {one.steps for one in seen} == {6}
    assert not (run.folder / "report.html").exists()


def test_something_true_ends_it_well(world: Path, tmp_path: Path) -> None:
    run = fit(world, tmp_path / "run", on_validation=lambda seen: seen.step >= 4)
    assert run.metrics["steps"] == 4
    assert run.metrics["best_step"] in (2, 4)
    assert run.metrics["test"] is not None
    assert load(run.folder).predict([{"size": 4.0}])


def test_ended_by_it_and_killed_before_its_files_it_trains_no_further(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(world, tmp_path / "whole", on_validation=lambda seen: seen.step == 2)
    monkeypatch.setattr(fitting, "_metrics", raise_interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit(world, tmp_path / "parts", on_validation=lambda seen: seen.step == 2)
    monkeypatch.undo()
    seen: list[Validation] = []
    resumed = fit(world, tmp_path / "parts", resume=True, on_validation=seen.append)
    assert resumed.metrics["steps"] == whole.metrics["steps"] == 2 and not seen
    assert traces(resumed.folder) == traces(whole.folder)


class EnoughError(Exception):
    """Raised by a searcher."""


def test_what_it_raises_leaves_a_run_to_go_on_with(world: Path, tmp_path: Path) -> None:
    def prune(seen: Validation) -> None:
        if seen.step == 4:
            raise EnoughError

    with pytest.raises(EnoughError):
        fit(world, tmp_path / "run", on_validation=prune)
    assert not (tmp_path / "run" / "metrics.json").exists()
    fit(world, tmp_path / "run", resume=True)
    fit(world, tmp_path / "whole")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("run", "whole")]
    assert weights[0] == weights[1]


def test_without_validation_rows_it_says_so(world: Path, tmp_path: Path) -> None:
    plan = plan_of(world)
    rows, settings = rows_of(plan, plan.splits.train), settings_of(plan.config.training)
    with pytest.warns(UserWarning, match="on_validation: there are no validation rows"):
        fitted = train(plan.network, plan.engine, rows, None, settings, tmp_path, on_validation=lambda seen: True)
    assert fitted.steps == settings.steps
