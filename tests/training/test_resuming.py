"""A run that was interrupted and goes on is the run that was not, to the bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from safetensors.torch import save_file

from training.small_runs import config, fit, log, traces, write_small_world
from training.test_training import assert_unfinished, interrupt_at
from trunkline import MultiTaskModel, RunError, load, modalities, tasks
from trunkline import fit as fit_model
from trunkline.balancers import UPGrad
from trunkline.data import read_table, write_rows
from trunkline.run import fitting
from trunkline.training import LAST
from trunkline.training import checkpoint as checkpoints
from trunkline.training.signals import StopSignal

STEPS = 12  # of two epochs and a half
EVERYTHING = {"ema": 0.9, "accumulate": 2, "patience": 2, "validations": 6, "steps": STEPS}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return write_small_world(tmp_path_factory.mktemp("world"))


def curves(folder: Path) -> list[list[str]]:
    """`log.csv` without what a clock says."""
    rows = [line.split(",") for line in (folder / "log.csv").read_text().splitlines()]
    return [[row[0], *row[2:]] for row in rows if row[2] != "steps_per_second"]


@pytest.mark.parametrize(
    ("sections", "training", "stop"),
    [
        ({}, {"steps": STEPS, "validations": 4}, 7),
        ({}, {"steps": STEPS, "validations": 4, "affinity": 2}, 8),  # goes on with a look
        ({"balancer": "uncertainty"}, EVERYTHING, 5),
        ({"fusion": {"type": "late", "blending": True}}, EVERYTHING, 5),
        ({"balancer": {"type": "famo", "lr": 0.5}}, EVERYTHING, 5),
        ({"balancer": {"type": "upgrad", "level": "last"}}, {**EVERYTHING, "accumulate": 1, "workers": 1}, 10),
        ({"balancer": {"type": "upgrad", "level": "sketch"}}, {"steps": STEPS, "validations": 4}, 7),
        ({"balancer": {"type": "upgrad", "level": "trunk", "every": 3}}, {"steps": STEPS, "validations": 4}, 7),
        ({"balancer": {"type": "gradvac", "level": "last", "beta": 0.2}}, {"steps": STEPS, "validations": 4}, 7),
        ({"balancer": {"type": "gradnorm", "rate": 0.2}}, {"steps": STEPS, "validations": 4}, 7),
        ({"balancer": {"type": "gradnorm", "rate": 0.2}}, EVERYTHING, 5),
        ({"balancer": {"type": "gradvac", "beta": 0.2}}, EVERYTHING, 5),
    ],
)
def test_interrupted_and_resumed_is_not_interrupted(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sections: Any, training: Any, stop: int
) -> None:
    whole = fit(world, tmp_path / "whole", sections, **training)
    interrupt_at(monkeypatch, stop)
    with pytest.raises(KeyboardInterrupt, match=f"stopped after step {stop} of {STEPS}"):
        fit(world, tmp_path / "parts", sections, **training)
    monkeypatch.undo()
    assert_unfinished(tmp_path / "parts")
    torch.rand(7)  # whatever random numbers are drawn in between
    resumed = fit_model({**config(world, **training), **sections}, out=tmp_path / "parts", resume=True)
    assert traces(tmp_path / "parts") == traces(whole.folder)
    assert curves(tmp_path / "parts") == curves(whole.folder)
    assert (tmp_path / "parts" / "config.yaml").read_text() == (whole.folder / "config.yaml").read_text()
    for key in ("test", "validation", "steps", "best_step"):
        assert resumed.metrics[key] == whole.metrics[key]
    assert not (tmp_path / "parts" / LAST).exists()
    load(tmp_path / "parts")


def test_a_run_that_was_killed_goes_on_from_its_last_validation(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What had been written after it is written again, a line that was cut short too."""
    training = {"steps": STEPS, "validations": 3}
    whole = fit(world, tmp_path / "whole", **training)
    interrupt_at(monkeypatch, 7, MemoryError)
    with pytest.raises(MemoryError):
        fit(world, tmp_path / "parts", **training)
    monkeypatch.undo()
    assert [line["step"] for line in log(tmp_path / "parts")][-1] == 7
    with (tmp_path / "parts" / "log.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    fit_model(config(world, **training), out=tmp_path / "parts", resume=True)
    assert traces(tmp_path / "parts") == traces(whole.folder)


def test_the_time_before_an_interruption_is_told(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the training, and of all in all."""
    monkeypatch.setattr("trunkline.training.log.Log.seconds", property(lambda self: 1000.0))
    interrupt_at(monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt):
        fit(world, tmp_path / "run")
    monkeypatch.undo()
    metrics = fit_model(config(world), out=tmp_path / "run", resume=True).metrics
    assert 1000 < metrics["training_seconds"] < metrics["seconds"] < 2000


def test_a_run_that_ended_without_its_files_goes_on_to_write_them(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(world, tmp_path / "whole")
    monkeypatch.setattr(fitting, "_metrics", raise_interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit(world, tmp_path / "parts")
    monkeypatch.undo()
    assert_unfinished(tmp_path / "parts")
    resumed = fit_model(config(world), out=tmp_path / "parts", resume=True)
    assert traces(tmp_path / "parts") == traces(whole.folder)
    assert resumed.metrics["test"] == whole.metrics["test"]


def raise_interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def test_resume_begins_where_nothing_has_begun(world: Path, tmp_path: Path) -> None:
    run = fit_model(config(world), out=tmp_path / "run", resume=True)
    with pytest.raises(RunError, match="this run has finished"):
        fit_model(config(world), out=run.folder, resume=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty"):
        fit_model(config(world), out=tmp_path / "other", resume=True)
    with pytest.raises(ValueError, match="say which run"):
        fit_model(config(world), resume=True)


@pytest.fixture
def stopped(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    interrupt_at(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        fit(world, tmp_path / "run")
    monkeypatch.undo()
    return tmp_path / "run"


def test_a_run_goes_on_as_it_began(world: Path, stopped: Path) -> None:
    with pytest.raises(RunError, match=r"training\.lr was 0\.001 and now is 0\.1"):
        fit_model(config(world, lr=0.1), out=stopped, resume=True)
    with pytest.raises(RunError, match=r"trunk\.type was 'hard' and now is 'mmoe'"):
        fit_model({**config(world), "trunk": "mmoe"}, out=stopped, resume=True)
    with pytest.raises(RunError, match=r"width was 16 and now is 8"):
        fit_model({**config(world), "width": 8}, out=stopped, resume=True)


def test_a_run_does_not_go_on_with_other_rows(world: Path, stopped: Path) -> None:
    table = world / "rows.jsonl"
    before = table.read_text()
    try:
        write_rows(table, [read_table(table).row(0) | {"split": "train"}, *map(json.loads, before.splitlines())])
        with pytest.raises(RunError, match=r"rows\.jsonl changed since the run in .* began"):
            fit_model(config(world), out=stopped, resume=True)
    finally:
        table.write_text(before)


def test_a_checkpoint_that_is_none(world: Path, stopped: Path) -> None:
    for path in checkpoints.checkpoints(stopped):
        path.write_bytes(b"\x00" * 64)
    with pytest.raises(RunError, match="cannot be gone on from"):
        fit_model(config(world), out=stopped, resume=True)


def test_a_model_made_of_objects_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"x": i, "y": i % 3 == 0} for i in range(40)]
    model = MultiTaskModel({"x": modalities.Number()}, {"y": tasks.Binary()}, width=8)

    def run(folder: Path, rows: Any = rows, **more: Any) -> bytes:
        fit_model(model, rows, balancer=UPGrad(), out=folder, steps=6, threads=1, **more)
        return (folder / "model.safetensors").read_bytes()

    whole = run(tmp_path / "whole")
    interrupt_at(monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts")
    monkeypatch.undo()
    with pytest.raises(RunError, match="began with other rows"):
        run(tmp_path / "parts", rows=rows[:-4], resume=True)
    assert run(tmp_path / "parts", resume=True) == whole


def test_a_checkpoint_is_whole_or_not_there(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where writing fails, the one before stays."""
    kept: list[bytes] = []
    write = checkpoints.save_file

    def fails_later(tensors: Any, path: Path, metadata: Any) -> None:
        if kept:
            path.write_bytes(b"half")
            raise OSError("no space left")
        write(tensors, path, metadata)
        kept.append(path.read_bytes())

    monkeypatch.setattr(checkpoints, "save_file", fails_later)
    with pytest.raises(RunError, match=r"no space left.* go on with --out .*run --resume"):
        fit(world, tmp_path / "run")
    assert (tmp_path / "run" / LAST).read_bytes() == kept[0]
    assert not list((tmp_path / "run").rglob("*.unfinished"))


def test_the_second_signal_does_what_it_always_does() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), StopSignal() as stop:  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        assert stop.is_wanted
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == before


def test_sigterm_saves_and_the_command_line_says_how_to_go_on(world: Path, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(json.dumps(config(world, steps=100_000)))
    command = [sys.executable, "-m", "trunkline", "fit", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ})
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "run" / "log.jsonl").exists() or not log(tmp_path / "run"):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert b"stopped after step" in said and b"--resume" in said and b"Traceback" not in said
    assert (tmp_path / "run" / LAST).exists()
    assert_unfinished(tmp_path / "run")


def test_a_run_of_a_cpu_goes_on_where_a_gpu_is(tmp_path: Path) -> None:
    """Its checkpoint has no random state of such a device."""
    save_file({"rng.0.cpu": torch.get_rng_state()}, tmp_path / "last.safetensors")
    stepper = SimpleNamespace(fabric=SimpleNamespace(global_rank=0, device=torch.device("cuda")))
    with pytest.warns(UserWarning, match="interrupted on another kind of device: dropout is drawn anew"):
        checkpoints.load_rng(tmp_path / "last.safetensors", cast(Any, stepper))
