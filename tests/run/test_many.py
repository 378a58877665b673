"""Several runs at once: what they warn of reaches whoever began them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import pytest

from trunkline import RunError
from trunkline.config import load_config
from trunkline.data import write_rows
from trunkline.run import single_task_twins
from trunkline.run.fitting import Metrics
from trunkline.sources import columns_of

CONFIG = """\
data: {table: rows.csv, split: split}
inputs: {words: {type: text, max_length: 2, layers: 0}}
tasks: {long: binary, number: number}
width: 8
trunk: {type: hard, layers: 1, members: 1}
training: {steps: 1, accelerator: cpu}
"""


@contextmanager
def begun(folder: Path, config: str = CONFIG, steps: int = 1) -> Iterator[dict[str, Future[Metrics]]]:
    """Two runs, each of which warns of texts that are too long; what this process warns of before them is not heard."""
    splits = ("train", "train", "val", "test")
    rows = [{"split": splits[i % 4], "words": "a b c d", "long": i // 4 % 2, "number": i} for i in range(48)]
    write_rows(folder / "rows.csv", rows)
    (folder / "config.yaml").write_text(config)
    entering = single_task_twins(load_config(folder / "config.yaml", columns=columns_of), steps, folder / "twins")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twins = entering.__enter__()
    try:
        yield twins
    finally:
        entering.__exit__(None, None, None)


def test_what_two_runs_warn_of_is_said_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with begun(tmp_path) as twins, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        assert {task: metrics.result()["steps"] for task, metrics in twins.items()} == {"long": 1, "number": 1}
    cut = [w for w in told if "24 of 24 texts have more than max_length=2" in str(w.message)]
    assert len(cut) == 1 and cut[0].filename.endswith("preprocessing.py"), [str(w.message) for w in told]
    assert "max_length" not in capfd.readouterr().err


def test_a_warning_that_is_an_error_fails_its_run(tmp_path: Path) -> None:
    with begun(tmp_path) as twins, warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="max_length=2"):
            twins["long"].result(timeout=300)


def test_a_run_that_fails_has_warned_all_the_same(tmp_path: Path) -> None:
    config = CONFIG.replace("steps: 1,", "steps: 1, lr: 1.0e+38, clip: off,")
    with begun(tmp_path, config, steps=8) as twins, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        with pytest.raises(RunError, match="diverged"):
            twins["number"].result(timeout=300)
    assert any("max_length=2" in str(w.message) for w in told)


def test_nobody_waits_for_ever_where_warnings_cannot_be_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("the terminal is gone")

    with begun(tmp_path) as twins, warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", refuse)
        with pytest.raises(OSError, match="the terminal is gone"):
            twins["long"].result(timeout=300)


ORPHANS = """
import multiprocessing, sys, time
from pathlib import Path
from run.test_many import CONFIG, begun
if __name__ == "__main__":
    with begun(Path(sys.argv[1]), CONFIG, steps=1_000_000):
        while not multiprocessing.active_children():
            time.sleep(0.05)
        print(*[child.pid for child in multiprocessing.active_children()], flush=True)
        time.sleep(600)
"""


def test_processes_end_with_the_one_that_began_them(tmp_path: Path) -> None:
    """Killed without a chance to tell them."""
    script = tmp_path / "begin.py"
    script.write_text(ORPHANS)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path)], stdout=subprocess.PIPE, text=True, env=env)
    assert parent.stdout is not None
    children = [int(pid) for pid in parent.stdout.readline().split()]
    assert children
    while not list(tmp_path.glob("twins/*/log.jsonl")):  # they have begun to train
        assert parent.poll() is None
        time.sleep(0.1)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 30
    while any(map(is_there, children)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in children if is_there(pid)]


def is_there(pid: int) -> bool:
    """Whether a process works on; one that has ended and that nobody has asked about is gone, too."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")
