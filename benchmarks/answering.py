"""What a process holds that answers for all tasks: `python -m benchmarks.answering COMPARISON [--model NAME]`.

The folder of a finished `trunkline compare`. Once with the network of all tasks, once with every network of one task
(those of the first seed), each in a process of its own on one thread: the memory that it has taken after loading and,
at most, while it answers some of the rows that the comparison was judged by, beyond what the table takes; the time of
loading; the time of a row, of several tables asked for the tasks of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.shard_memory import MB, forget_peak, peak, resident
from trunkline.config import load_config
from trunkline.data import Split
from trunkline.loading import load
from trunkline.run.predictions import answers_of
from trunkline.run.verdicts import questions
from trunkline.schema import RowBatches, evenly_spaced
from trunkline.sources import read_usable

PASSES = 3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("comparison", type=Path)
    parser.add_argument("--model", help="by default the first")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.one:
        print(json.dumps(hold(said.comparison, said.one, said.rows)))
        return
    told = json.loads((said.comparison / "comparison.json").read_text(encoding="utf-8"))
    one = told["models"][said.model or next(iter(told["models"]))]["runs"][0]
    twins = [runs[0] for runs in told["alone"]["runs"].values()]
    print("| networks | loaded, MB | answering, MB at most | loading, s | ms a row |")
    print("|---|---|---|---|---|")
    for runs in ([one], twins):
        own = [sys.executable, "-m", "benchmarks.answering", str(said.comparison), f"--rows={said.rows}"]
        done = subprocess.run([*own, "--one", *runs], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        found = json.loads(done.stdout.splitlines()[-1])
        print(f"| {len(runs)} | {found['loaded'] / MB:.0f} | {found['peak'] / MB:.0f} | {found['seconds']:.1f} "
              f"| {found['ms']:.1f} |", flush=True)  # fmt: skip


def hold(folder: Path, runs: list[str], wanted: int) -> dict[str, float]:
    """Of this process: bytes, seconds to load all, milliseconds a row."""
    torch.set_num_threads(1)
    config = load_config(folder / "config.yaml", columns=None)
    splits = read_usable(config)
    part = splits.test or splits.validation or splits.train
    rows = Split(part.table, np.array(evenly_spaced(part.rows.tolist(), wanted), dtype=np.int64))
    is_joint = config.data is not None and bool(config.data.tables)
    before, start = forget_peak(), time.perf_counter()
    predictors = [load(folder / run) for run in runs]
    loaded, seconds = resident() - before, time.perf_counter() - start
    asked = [questions(one.preprocessing, rows, is_joint=is_joint) for one in predictors]
    times = []
    for _ in range(PASSES):
        start = time.perf_counter()
        for predictor, (table, tasks) in zip(predictors, asked):
            source = RowBatches(predictor.preprocessing, table, with_targets=False)
            answers_of(predictor, source, np.arange(len(table)), tasks)
        times.append(time.perf_counter() - start)
    return {"loaded": loaded, "peak": peak() - before, "seconds": seconds, "ms": 1000 * min(times) / len(rows)}


if __name__ == "__main__":
    main()
