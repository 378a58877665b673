"""Runs in 1, 2 and 4 processes with the same rows in each step, and how far they differ.

`python -m benchmarks.processes`: processes are real ones (gloo, CPU), started by `training.devices`. `batch_size` is
for each, so that all together take 32 rows a step. Nothing is left to chance within a step: no dropout. A task is
labelled in one row of twelve, so that in most steps some process has none of it. With `--shard` the network is divided
among them (`training.shard`), and balancers compare gradients at the features.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from trunkline.balancers import CATALOG as BALANCERS_BY_NAME
from trunkline.balancers import GramianBalancer
from trunkline.data import write_rows

STEPS, ROWS, TOGETHER = 12, 400, 32
BALANCERS = ("equal", "uncertainty", "gradnorm", "famo", "upgrad", "nash_mtl", "cagrad")
CONFIG = f"""\
data: {{train: rows.jsonl, validation: 0.2}}
inputs: {{x: number, z: number, note: {{type: text, encoder: scratch, dropout: 0.0, word_dropout: 0.0}}}}
tasks: {{kind: category, size: number, rare: binary}}
trunk: {{type: hard, dropout: 0.0}}
width: 32
training: {{steps: {STEPS}, lr: 0.003, input_dropout: 0.0, threads: 1, accelerator: cpu, validations: 3, ema: off}}
"""
WORDS = ("red", "green", "blue", "big", "small")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shard", action="store_true", help="divide the network among the processes")
    is_sharded = parser.parse_args().shard
    print("| balancer | processes | losses | weights of tasks | weights of the network | validation scores |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(folder / "rows.jsonl", rows())
        (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")
        for balancer in BALANCERS:
            alone = fit(folder, balancer, 1, is_sharded)
            for processes in (2, 4):
                together = fit(folder, balancer, processes, is_sharded)
                told = [f"{apart(alone[part], together[part]):.1e}" for part in alone]
                print(f"| {balancer} | {processes} | {' | '.join(told)} |", flush=True)


def rows() -> list[dict[str, Any]]:
    """Holes in every column."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(ROWS):
        x, z, noise = rng.normal(size=3).tolist()
        words = [WORDS[int(i)] for i in rng.integers(0, len(WORDS), 4)]
        kind = "abc"[int(x > 0) + int("red" in words)]
        row = {"x": x, "z": z, "note": " ".join(words), "kind": kind, "size": z * 2 + noise / 4 + words.count("big")}
        row = {name: cell if rng.random() > 0.2 else None for name, cell in row.items()}
        row["x"] = x if row["note"] is None else row["x"]  # a row has some input
        made.append({**row, "rare": bool(x + z > 0) if number % 12 == 0 else None})
    return made


def fit(folder: Path, balancer: str, processes: int, is_sharded: bool = False) -> dict[str, np.ndarray]:
    """A run's numbers, each kind as one vector."""
    run = folder / f"{balancer}-{processes}"
    given = [f"balancer={balancer}", f"training.devices={processes}", f"training.batch_size={TOGETHER // processes}"]
    if is_sharded and issubclass(BALANCERS_BY_NAME[balancer], GramianBalancer):
        given.append("balancer.level=features")
    if is_sharded and processes > 1:
        given.append("training.shard=true")
    command = [sys.executable, "-m", "trunkline", "fit", "config.yaml", *given, "--out", str(run)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    steps, looks = [one for one in lines if "losses" in one], [one for one in lines if "validation" in one]
    network = load_file(run / "model.safetensors")
    return {
        "losses": vector([one["losses"] for one in steps]),
        "weights": vector([one["weights"] for one in steps]),
        "network": np.concatenate([network[name].astype(np.float64).ravel() for name in sorted(network)]),
        "scores": vector([one["validation"] for one in looks]),
    }


def vector(told: Any) -> np.ndarray:
    """All numbers of nested lists and dicts, in order; what is absent is NaN."""
    if isinstance(told, dict | list):
        parts = [vector(one) for one in (told.values() if isinstance(told, dict) else told)]
        return np.concatenate(parts) if parts else np.zeros(0)
    return np.array([np.nan if told is None else float(told)])


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference, against the largest number; absent must be absent in both."""
    assert np.array_equal(np.isnan(one), np.isnan(other)), "a task is absent in one run and not in the other"
    return float(np.nanmax(np.abs(one - other)) / max(1.0, np.nanmax(np.abs(one))))


if __name__ == "__main__":
    main()
