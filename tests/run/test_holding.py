"""Whose a run folder is, and what a spoilt or full disk leaves of it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from training.small_runs import config, fit, traces, write_small_world
from training.test_resuming import raise_interrupt
from training.test_training import assert_unfinished, interrupt_at
from trunkline import DataError, RunError
from trunkline import fit as fit_model
from trunkline.run import compare
from trunkline.run.holding import LOCK, held_folder, locked
from trunkline.training import BEST_BEFORE, LAST, checkpoints, judge, loop
from trunkline.training.judge import BEST
from trunkline.training.stepper import Stepper

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_world(tmp_path_factory.mktemp("world"))


# --- one at a time


def test_two_runs_do_not_share_a_folder(world: Path, tmp_path: Path) -> None:
    with held_folder(tmp_path / "run", "x"):
        with pytest.raises(RunError, match="another process is training here"):
            fit(world, tmp_path / "run")
        with pytest.raises(RunError, match="another process is training here"):
            fit_model(config(world), out=tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists(), "nothing came of it"
    run = fit(world, tmp_path / "run")
    assert not (run.folder / LOCK).exists()


def test_a_comparison_is_of_one_process_too(world: Path, tmp_path: Path) -> None:
    """It takes away what has not begun; of runs that another process is about to train that must not be so."""
    (tmp_path / "mine").mkdir()
    with locked(tmp_path / "mine"), pytest.raises(RunError, match="another process is training here"):
        compare(config(world), out=tmp_path / "mine")


def test_a_lock_whose_process_was_killed_holds_nobody_up(world: Path, tmp_path: Path) -> None:
    code = "import sys, os, filelock\nfilelock.FileLock(sys.argv[1]).acquire()\nos._exit(9)"
    (tmp_path / "run").mkdir()
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "run" / LOCK)], check=False)
    fit_model(config(world), out=tmp_path / "run", resume=True)


def test_new_folders_are_taken_by_one_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    taken, gate = [], threading.Barrier(4)

    def take() -> None:
        with held_folder(None, "x") as folder:
            taken.append(folder.name)
            (folder / "mine").touch()
            gate.wait()

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == ["x", "x-2", "x-3", "x-4"]


def test_a_config_that_cannot_work_leaves_no_folder(world: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        fit_model({**config(world), "data": {"table": str(tmp_path / "none.csv")}}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_killed_before_its_config_was_written_begins_anew(world: Path, tmp_path: Path) -> None:
    """And what was half written is gone; a file that no run writes is not."""
    whole = fit(world, tmp_path / "whole")
    begun = tmp_path / "begun"
    (begun / "checkpoints").mkdir(parents=True)
    (begun / "checkpoints" / "tables.json").write_text("{}")
    (begun / "preprocessing.json").write_text("{")
    (begun / ".config.yaml.77.unfinished").write_text("da")
    fit_model(config(world), out=begun, resume=True)
    assert traces(begun) == traces(whole.folder)
    assert not list(begun.rglob("*.unfinished"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".notes").write_text("mine")
    with pytest.raises(RunError, match="is not empty"):
        fit_model(config(world), out=tmp_path / "other", resume=True)
    assert (tmp_path / "other" / ".notes").read_text() == "mine"


# --- a checkpoint that is spoilt


@pytest.fixture
def stopped(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """After the second of three looks, so that there are two checkpoints."""
    interrupt_at(monkeypatch, 5)
    with pytest.raises(KeyboardInterrupt):
        fit(world, tmp_path / "run")
    monkeypatch.undo()
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["last.safetensors", "before.safetensors"]
    return tmp_path / "run"


@pytest.mark.parametrize("how", ["cut short", "a bit", "a word", "empty", "gone"])
def test_the_checkpoint_before_serves_where_the_last_is_spoilt(world: Path, stopped: Path, how: str) -> None:
    last, whole = stopped / LAST, fit(world, stopped.parent / "whole")
    content = bytearray(last.read_bytes())
    if how == "cut short":
        last.write_bytes(content[: len(content) // 2])
    elif how == "a bit":
        content[-len(content) // 3] ^= 1
        last.write_bytes(content)
    elif how == "a word":  # of the header: as many steps as were not taken
        last.write_bytes(content.replace(b'\\"step\\": 5', b'\\"step\\": 4', 1))
        assert last.read_bytes() != content
    elif how == "empty":
        last.write_bytes(b"")
    else:  # killed in between
        last.unlink()
    if how == "gone":
        fit_model(config(world), out=stopped, resume=True)
    else:
        with pytest.warns(UserWarning, match=r"last\.safetensors: cannot be gone on from.* the one before, step 4"):
            fit_model(config(world), out=stopped, resume=True)
    assert traces(stopped) == traces(whole.folder)
    assert not checkpoints(stopped)


def test_without_any_that_can_be_read_the_run_does_not_begin_anew(world: Path, stopped: Path) -> None:
    for path in checkpoints(stopped):
        path.write_bytes(b"\x00" * 64)
    with pytest.raises(RunError, match="cannot be gone on from"):
        fit_model(config(world), out=stopped, resume=True)
    assert (stopped / "checkpoints" / "best.safetensors").exists()


# --- best weights that are not what the checkpoint names


@pytest.mark.parametrize("how", ["two bits", "no weights", "gone"])
def test_spoilt_best_weights_are_told_before_anything_is_trained(
    world: Path, stopped: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    best, whole = stopped / BEST, fit(world, stopped.parent / "whole")
    kept = best.read_bytes()
    if how == "two bits":
        content = bytearray(kept)
        content[-5] ^= 0x40
        content[-200] ^= 0x40
        best.write_bytes(content)
    elif how == "no weights":
        best.write_bytes(b"x" * 40)
    else:
        best.unlink()
    monkeypatch.setattr(Stepper, "step", raise_interrupt)
    with pytest.raises(RunError, match=r"best\.safetensors: the weights of step \d, .* Put the file back as it was"):
        fit_model(config(world), out=stopped, resume=True)
    monkeypatch.undo()
    best.write_bytes(kept)
    fit_model(config(world), out=stopped, resume=True)
    assert traces(stopped) == traces(whole.folder)


@pytest.fixture
def better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look is better than the one before."""
    monkeypatch.setattr(judge, "recent_mean", len)


@pytest.mark.parametrize("step", [4, 6])
def test_killed_between_a_better_look_and_its_checkpoint(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, better: None, step: int
) -> None:
    """Twice: the weights that the checkpoint names are there each time."""
    whole, folder, save = fit(world, tmp_path / "whole"), tmp_path / "run", loop.save_checkpoint

    def die(*args: Any) -> None:
        raise_interrupt() if args[2]["step"] == step else save(*args)

    for _ in range(2):
        monkeypatch.setattr(loop, "save_checkpoint", die)
        with pytest.raises(KeyboardInterrupt):
            fit_model(config(world), out=folder, resume=True)
        monkeypatch.setattr(loop, "save_checkpoint", save)
        assert (folder / BEST).exists() and (folder / BEST_BEFORE).exists()
    fit_model(config(world), out=folder, resume=True)
    assert traces(folder) == traces(whole.folder)
    assert not (folder / BEST_BEFORE).exists() and not (whole.folder / BEST_BEFORE).exists()


def test_the_checkpoint_before_serves_where_the_best_weights_are_spoilt(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, better: None
) -> None:
    """If it names others."""
    whole = fit(world, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit_model(config(world), out=tmp_path / "run", on_validation=lambda seen: seen.step == 4 and raise_interrupt())
    (tmp_path / "run" / BEST).write_bytes(b"x" * 40)
    with pytest.warns(UserWarning, match=r"best\.safetensors: the weights of step 4, .* the one before, step 2"):
        fit_model(config(world), out=tmp_path / "run", resume=True)
    assert traces(tmp_path / "run") == traces(whole.folder)


# --- a disk that takes no more


@pytest.mark.parametrize("where", ["after a look", "in a look", "at a line"])
def test_a_full_disk_ends_the_run_and_it_goes_on_later(world: Path, tmp_path: Path, where: str) -> None:
    """Files above a size cannot be written, as the system says it; what was there before is whole."""
    whole = fit(world, tmp_path / "whole")
    code = """
import resource, signal, sys
from pathlib import Path
import torch
from trunkline.training import checkpoint, judge
from training.small_runs import fit
torch.set_num_threads(1)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
save, where = checkpoint.save_file, sys.argv[3]
def full(size=4096):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
def limited(tensors, path, metadata):
    save(tensors, path, metadata)
    if where == "after a look":
        full()
    elif where == "at a line":
        full(64)
checkpoint.save_file = limited
see = judge.Keeper.see
def seen(*args):
    see(*args)
    if where == "in a look":
        full()
judge.Keeper.see = seen
fit(Path(sys.argv[1]), Path(sys.argv[2]))
"""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", code, str(world), str(tmp_path / "run"), where]
    ended = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert "run: cannot be written to: " in ended.stderr and "make room, and go on" in ended.stderr
    assert "RunError" in ended.stderr.splitlines()[-1]
    assert_unfinished(tmp_path / "run")
    assert not list((tmp_path / "run").rglob("*.unfinished"))
    fit_model(config(world), out=tmp_path / "run", resume=True)
    assert traces(tmp_path / "run") == traces(whole.folder)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here, where nobody may make a folder")
def test_a_folder_that_cannot_be_made(world: Path) -> None:
    with pytest.raises(RunError, match=r"/proc/run: cannot be written to: .*give another folder"):
        fit(world, Path("/proc/run"))


def test_a_file_in_its_place(world: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(RunError, match="is a file"):
        fit(world, tmp_path / "run")
