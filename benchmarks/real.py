"""Balancers on two real sets, one of them with missing labels: `python -m benchmarks.real --tables DIR --out RUNS`.

Every run takes the same number of optimiser steps from the recipe's own settings; only the balancer, its level and the
seed differ. Seeds draw the split, the network and the order of rows. What is in RUNS already is not run again, so that
it can be interrupted. Prints a table with mean ± standard deviation over seeds, and the median seconds of a run, on the
wall and of the CPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from trunkline.run import fit

RECIPES = Path(__file__).parent.parent / "recipes"

Scores = Mapping[str, Mapping[str, float | None]]

BALANCERS: dict[str, tuple[str, ...]] = {
    "equal": ("balancer.type=equal",),
    "log-sum": ("balancer.type=log_sum",),
    "uncertainty": ("balancer.type=uncertainty",),
    "FAMO": ("balancer.type=famo",),
    "STCH": ("balancer.type=stch",),
    "Nash-MTL": ("balancer.type=nash_mtl",),
    "IMTL-G": ("balancer.type=imtl_g",),
    "UPGrad": ("balancer.type=upgrad",),
    **{
        f"UPGrad, {level}": ("balancer.type=upgrad", f"balancer.level={level}") for level in ("last", "sketch", "trunk")
    },
}
STEPS = {"census": 600, "tox21": 400}
TABLES = {"census": "census.csv", "tox21": "tox21.jsonl"}


def census(test: Scores) -> dict[str, float | None]:
    """Both tasks by area under the curve and accuracy."""
    return {f"{task} {metric}": test[task][metric] for task in test for metric in ("roc_auc", "accuracy")}


def tox21(test: Scores) -> dict[str, float | None]:
    """Twelve targets, averaged, and the worst of them."""
    curves = [score for own in test.values() if (score := own["roc_auc"]) is not None]
    precisions = [score for own in test.values() if (score := own["average_precision"]) is not None]
    return {
        "mean roc_auc": statistics.fmean(curves),
        "worst roc_auc": min(curves),
        "mean average_precision": statistics.fmean(precisions),
    }


FIGURES: dict[str, Callable[[Scores], dict[str, float | None]]] = {"census": census, "tox21": tox21}


def run_one(name: str, balancer: str, seed: int, table: Path, out: Path) -> dict[str, Any]:
    """Train, or read what an earlier call has trained."""
    folder = out / f"{name}-{balancer.replace(', ', '-').lower()}-{seed}"
    told = folder / "told.json"
    if not told.exists():
        wall, cpu = time.perf_counter(), time.process_time()
        overrides = [
            f"data.train={table}",
            f"training.steps={STEPS[name]}",
            "training.patience=null",
            f"training.seed={seed}",
        ]
        found = fit(RECIPES / f"{name}.yaml", overrides=[*overrides, *BALANCERS[balancer]], out=folder)
        seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        told.write_text(
            json.dumps({"test": found.metrics["test"], "steps": found.metrics["steps"], "seconds": seconds})
        )
    return json.loads(told.read_text())  # type: ignore[no-any-return]


def table_of(name: str, results: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """One row a balancer, in Markdown."""
    rows = {b: [FIGURES[name](one["test"]) for one in runs] for b, runs in results.items() if runs}
    columns = list(next(iter(rows.values()))[0])
    lines = [f"| {name} | {' | '.join(columns)} | wall s | CPU s |", "|---" * (len(columns) + 3) + "|"]
    for balancer, own in rows.items():
        cells = [spread([float(one[c] or float("nan")) for one in own]) for c in columns]
        times = [statistics.median(one["seconds"][k] for one in results[balancer]) for k in ("wall", "cpu")]
        lines.append(f"| {balancer} | {' | '.join(cells)} | {times[0]:.0f} | {times[1]:.0f} |")
    return "\n".join(lines)


def differences(name: str, results: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """What each balancer gains over equal weights with the same seed: split, network and order of rows are the same."""
    figures = {b: [FIGURES[name](one["test"]) for one in runs] for b, runs in results.items() if runs}
    base = figures["equal"]
    lines = [f"| {name}, less `equal` | {' | '.join(base[0])} |", "|---" * (len(base[0]) + 1) + "|"]
    for balancer, own in figures.items():
        if balancer != "equal":
            gains = [[(a[c] or 0.0) - (b[c] or 0.0) for a, b in zip(own, base)] for c in base[0]]
            lines.append(f"| {balancer} | {' | '.join(spread(values, '+') for values in gains)} |")
    return "\n".join(lines)


def spread(values: Sequence[float], sign: str = "") -> str:
    """Mean ± standard deviation over seeds."""
    deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):{sign}.4f}{deviation}".replace("0.", ".")


def main(arguments: Sequence[str] | None = None, show: Callable[[str], None] = print) -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real", description=__doc__)
    parser.add_argument("--tables", type=Path, required=True, help="folder of census.csv and tox21.jsonl, as prepared")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--sets", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for name in options.sets:
        table = (options.tables / TABLES[name]).absolute()
        results: dict[str, list[dict[str, Any]]] = {balancer: [] for balancer in BALANCERS}
        for seed in options.seeds:
            for balancer, own in results.items():
                own.append(run_one(name, balancer, seed, table, options.out))
        show(table_of(name, results) + "\n\n" + differences(name, results) + "\n")


if __name__ == "__main__":
    main()
