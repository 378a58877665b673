"""Curves: the same in every file."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from training.small_runs import config, fit, log, write_small_world
from trunkline import ConfigError
from trunkline import fit as fit_model
from trunkline.training.log import PAIRED, Log, flat

UPGRAD = {"balancer": {"type": "upgrad", "level": "last"}}


def read_curves(folder: Path) -> dict[str, dict[int, float]]:
    curves: dict[str, dict[int, float]] = {}
    with (folder / "log.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            curves.setdefault(row["curve"], {})[int(row["step"])] = float(row["value"])
    return curves


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    return fit(write_small_world(folder / "world"), folder / "run", UPGRAD, tensorboard=True).folder


def test_the_table_holds_what_the_lines_hold(run: Path) -> None:
    curves = read_curves(run)
    for line in log(run):
        step = line["step"]
        for task, scores in line.get("validation", {}).items():
            for metric, value in scores.items():
                assert curves[f"validation/{task}/{metric}"][step] == value
        for task, loss in line.get("losses", {}).items():
            assert curves[f"losses/{task}"][step] == loss
            assert curves[f"weights/{task}"][step] == line["weights"][task]
        if "lr" in line:
            assert curves["lr"][step] == line["lr"]
            assert curves["cosines/kind/loud"][step] == line["cosines"]["kind"]["loud"]
            assert curves["conflicts"][step] == line["conflicts"]
            assert curves["steps_per_second"][step] > 0
    assert "cosines/loud/kind" not in curves and "cosines/kind/kind" not in curves
    assert curves["aggregate"].keys() == curves["validation/kind/accuracy"].keys()
    assert "seconds" not in (run / "log.jsonl").read_text()


def test_seconds_go_on(run: Path) -> None:
    with (run / "log.csv").open(newline="") as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    assert seconds == sorted(seconds) and seconds[-1] > 0


def test_tensorboard_shows_the_same_curves(run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    board.Reload()
    curves = read_curves(run)
    assert set(board.Tags()["scalars"]) == set(curves)
    for name, points in curves.items():
        shown = {event.step: event.value for event in board.Scalars(name)}
        assert shown == pytest.approx(points, rel=1e-6), name


def test_tensorboard_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    world = write_small_world(tmp_path / "world")
    with pytest.raises(ConfigError, match=r"training\.tensorboard: .*pip install 'trunkline\[tensorboard\]'"):
        fit_model(config(world, tensorboard=True), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert fit(world, tmp_path / "plain", steps=1).metrics["steps"] == 1


def test_numbers_by_their_path() -> None:
    line = {"step": 2, "level": "last", "weights": {"a/b": 1.0, "c": None}, "aggregate": float("nan"), "cosines": None}
    assert dict(flat(line)) == {"weights/a/b": 1.0}
    many = {str(i): {str(j): 0.5 for j in range(PAIRED + 1)} for i in range(PAIRED + 1)}
    assert dict(flat({"step": 2, "cosines": many})) == {}


def test_what_was_written_after_the_checkpoint_is_cut_off(tmp_path: Path) -> None:
    first = Log(tmp_path)
    for step in (1, 5, 9):
        first.write({"step": step, "lr": 0.1, "losses": {'a,"b"\n\u2028': 1.0}})
    again = Log(tmp_path, done=5, seconds=100.0)
    assert [line["step"] for line in log(tmp_path)] == [1, 5]
    again.write({"step": 6, "lr": 0.1, "losses": {}})
    assert list(read_curves(tmp_path)["lr"]) == [1, 5, 6]
    assert again.seconds >= 100.0


def test_a_new_log_begins_anew(tmp_path: Path) -> None:
    Log(tmp_path).write({"step": 3, "lr": 0.1})
    Log(tmp_path)
    assert log(tmp_path) == []
    assert (tmp_path / "log.csv").read_text() == "step,seconds,curve,value\n"


def test_lines_are_json(tmp_path: Path) -> None:
    Log(tmp_path).write({"step": 1, "losses": {"ä": float("inf")}})
    line: dict[str, Any] = json.loads((tmp_path / "log.jsonl").read_text(), parse_constant=lambda _: pytest.fail("NaN"))
    assert line["losses"] == {"ä": None}
