"""Killed at any moment and more than once, a run that is gone on with is the run that was not killed."""

from __future__ import annotations

import json
import multiprocessing
import random
import re
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from training.small_runs import config, traces, write_small_world
from trunkline import fit

pytestmark = pytest.mark.slow
MOMENTS = 20
TRAINING: dict[str, Any] = {"steps": 120, "validations": 12, "ema": 0.9, "accumulate": 2}
KINDS: list[dict[str, Any]] = [
    {},
    {"balancer": {"type": "gradnorm", "rate": 0.2}},
    {"fusion": {"type": "late", "blending": True}},
    {"balancer": {"type": "famo", "lr": 0.5}},
]


def train(world: Path, out: Path, sections: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    fit({**config(world, **TRAINING), **sections}, out=out, resume=True, show_progress=False)


def begin(*args: Any) -> Any:
    """In a process of its own, which has imported everything before it is born."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training.small_runs", "slow.test_killed"])
    process = context.Process(target=train, args=args)
    process.start()
    return process


def until_done(*args: Any) -> float:
    start = time.monotonic()
    process = begin(*args)
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - start


def last_step(folder: Path) -> int:
    """Of the log, in which a killed process may have left half a line."""
    path = folder / "log.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    found = [int(step[1]) for line in lines if (step := re.match(r'\{"step": (\d+),', line))]
    return found[-1] if found else 0


def wait_for(folder: Path, step: int, process: Any) -> None:
    while last_step(folder) < step and process.is_alive():
        time.sleep(0.002)


def scores(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "metrics.json").read_text())
    return {key: found[key] for key in ("test", "validation", "steps", "best_step", "aggregate")}


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_killed_at_random_moments(tmp_path: Path, kind: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Of each kind of run a part of the moments; every third of them is killed again while it goes on."""
    rng, sections = random.Random(kind), KINDS[kind]
    world = write_small_world(tmp_path)
    until_done(world, tmp_path / "warm", sections)
    seconds = until_done(world, tmp_path / "whole", sections)
    told = []
    for number in range(kind, MOMENTS, len(KINDS)):
        folder = tmp_path / f"killed-{number}"
        for _ in range(2 if number % 3 == 0 else 1):
            process = begin(world, folder, sections)
            if number % 5 == 0:  # at any time, also before the first step and after the last
                time.sleep(rng.uniform(0.02, 1.0) * seconds)
            else:
                wait_for(folder, rng.randrange(TRAINING["steps"]), process)
                time.sleep(rng.uniform(0, 0.05))
            process.kill()
            process.join()
            told.append(last_step(folder))
        if not (folder / "metrics.json").exists():
            until_done(world, folder, sections)
        assert traces(folder) == traces(tmp_path / "whole"), f"killed after {told}"
        assert scores(folder) == scores(tmp_path / "whole")
        assert not list(folder.rglob(".*.unfinished"))
    with capsys.disabled():
        print(f"\nkilled {len(told)} times, last logged steps {sorted(told)} of {TRAINING['steps']}: bit for bit")
