"""Does `trunkline affinity` find groups that are known? `python -m benchmarks.affinity [--seeds 5]`.

Tasks of one group are weighed sums of the same three features, those of another group of three others. A feature is
the product of two random directions among sixteen inputs, so that every task reads everything, none of it is linear,
and only what is in between can be shared. Each seed draws inputs, features, sums and who belongs to which group, trains
once with looks and once without, and prints which groups were found, by looking ahead and by gradients alone, and what
the looks cost.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from trunkline.analysis import groupings
from trunkline.data import write_rows
from trunkline.run import affinity, fit

SIZES = (3, 3, 2)  # tasks of each group
ROWS, INPUTS, FEATURES, NOISE = 4000, 16, 3, 0.1
STEPS = 400

Groups = set[frozenset[str]]


def make_rows(seed: int) -> tuple[list[dict[str, Any]], Groups]:
    """A table and its groups of tasks."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((ROWS, INPUTS))
    names = [f"task_{k}" for k in rng.permutation(sum(SIZES)).tolist()]
    columns = {f"x{k}": x[:, k] for k in range(INPUTS)}
    groups: Groups = set()
    for size in SIZES:
        one, other = rng.standard_normal((2, INPUTS, FEATURES)) / INPUTS**0.5
        features = (x @ one) * (x @ other)
        own, names = names[:size], names[size:]
        groups.add(frozenset(own))
        for name in own:
            columns[name] = features @ rng.uniform(0.5, 1.5, FEATURES) + NOISE * rng.standard_normal(ROWS)
    return [{name: float(column[i]) for name, column in columns.items()} for i in range(ROWS)], groups


def config(table: Path, seed: int) -> dict[str, Any]:
    """All tasks in one network."""
    return {
        "data": {"train": str(table)},
        "inputs": {f"x{k}": "number" for k in range(INPUTS)},
        "tasks": {f"task_{k}": "number" for k in range(sum(SIZES))},
        "training": {"steps": STEPS, "threads": 1, "seed": seed, "patience": "off"},
    }


def best(tasks: list[str], table: list[list[dict[str, Any]]]) -> Groups:
    """The groups into as many networks as there are groups."""
    means = np.array([[np.nan if one["mean"] is None else one["mean"] for one in row] for row in table])
    return {frozenset(group) for group in groupings(tasks, means, len(SIZES))[-1].groups}


def main(seeds: int) -> None:
    """A line a seed."""
    costs, hits = [], {"ahead": 0, "slope": 0}
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            rows, groups = make_rows(seed)
            write_rows(table := Path(folder) / "rows.csv", rows)
            asked = config(table, seed)
            plain = fit(asked, out=Path(folder) / "plain", show_progress=False)
            looked = affinity(asked, out=Path(folder) / "looked", show_progress=False)
        told = looked.found
        found = {"ahead": best(told["tasks"], told["affinity"]), "slope": best(told["tasks"], told["slope"])}
        costs.append(looked.run.metrics["training_seconds"] / plain.metrics["training_seconds"])
        for kind, own in found.items():
            hits[kind] += own == groups
        shown = " | ".join(" ".join(sorted(group)) for group in sorted(found["ahead"], key=sorted))
        verdict = "as planted" if found["ahead"] == groups else "wrong"
        print(
            f"seed {seed}: {shown}: {verdict}; slope agrees {told['agreement']:.3f}, cost {costs[-1]:.2f}", flush=True
        )
    print(f"as planted: {hits['ahead']} of {seeds} ahead, {hits['slope']} of {seeds} by slope")
    print(f"a run with a look every 10 steps takes {statistics.median(costs):.2f} times one without (median)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    main(parser.parse_args().seeds)
