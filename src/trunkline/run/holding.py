"""Whose a run folder is: a new one or one to go on with, of one process at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from trunkline.errors import RunError
from trunkline.loading import ROWS
from trunkline.run.resuming import CONFIG, STATES, TABLES
from trunkline.training import checkpoints, is_first_process

LOCK = ".lock"


@contextmanager
def held_folder(out: str | Path | None, name: str, *, is_resumed: bool = False) -> Iterator[Path]:
    """The run folder, which nobody else may train in meanwhile; a new one is gone again where nothing came of it.

    The lock is the system's own on an open file, so that of a process that was killed holds nobody up. Of processes
    that train together the first has it.

    Args:
        out: the folder; by default the first free one under `runs/`.
        name: of that.
        is_resumed: it may hold a run that was interrupted.

    Raises:
        RunError: it holds something else, another process trains in it, or it cannot be made.
    """
    if not is_first_process():
        yield Path(out or "runs")  # the first one's is told when they meet
        return
    if out is not None and Path(out).exists() and not Path(out).is_dir():
        raise RunError(f"{out} is a file; give a folder, new or empty")
    is_new = out is None or not Path(out).exists()
    try:
        folder = _new_folder(name) if out is None else Path(out)
    except OSError as error:
        raise RunError(f"runs/: cannot be written to: {error}; give another folder") from error
    try:
        with locked(folder):
            _check(folder, is_resumed)
            _clean(folder)
            yield folder
    finally:
        if is_new and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Nobody else has this folder meanwhile. It is made where it is not there.

    The lock's file is taken away while it is held: who waits with it open finds that it is no file of the folder any
    more (`filelock` looks for that) and makes another.

    Raises:
        RunError: another process has it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, timeout=0)
        lock.acquire()
    except Timeout:
        raise RunError(f"{folder}: another process is training here; wait for its end, or give a new folder") from None
    except OSError as error:
        raise RunError(f"{folder}: cannot be written to: {error}; give another folder") from error
    try:
        yield
    finally:
        with suppress(OSError):  # a system that keeps open files keeps this one
            (folder / LOCK).unlink()
        lock.release()


def _new_folder(name: str) -> Path:
    """The first under `runs/` that nobody has made, or makes just now."""
    Path("runs").mkdir(exist_ok=True)
    for number in itertools.count(1):
        folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError):
            folder.mkdir()
            break
    return folder


def _check(folder: Path, is_resumed: bool) -> None:
    """It is new or empty, or what is to be gone on with."""
    if is_resumed and ((folder / CONFIG).exists() or _is_barely_begun(folder)):
        return
    if any(path.name != LOCK for path in folder.iterdir()):
        hint = ", or --resume to go on with the run in it" if checkpoints(folder) else ""
        raise RunError(f"{folder} is not empty: a run never writes over another; give a new folder{hint}")


def _is_barely_begun(folder: Path) -> bool:
    """A run that was killed before its config was there: all that it holds was on its way."""
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    known = {folder / STATES, folder / TABLES, folder / LOCK, folder / ROWS}
    return all(path in known or _is_unfinished(path) for path in files)


def _is_unfinished(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(".unfinished")


def _clean(folder: Path) -> None:
    """Without what a killed process had not finished writing."""
    for path in [path for path in folder.rglob(".*.unfinished") if path.is_file()]:
        path.unlink()
