"""Gradient boosting on the very rows and inputs of a comparison: `python -m benchmarks.boosting RUNS/COMPARISON`.

For tables of numbers and categories with `binary` tasks that `trunkline compare` has judged. Histogram gradient
boosting of scikit-learn, its defaults, learns each task of each seed from training and validation rows together (our
networks choose their weights by the latter) and is judged by the same test rows. Prints mean AUC ± standard deviation
over seeds, and the mean difference of each model to it with its 95 % interval over the seeds, which share their rows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from trunkline.analysis import interval, mean_std
from trunkline.config import Config, load_config
from trunkline.data import Split
from trunkline.schema import InputColumn, Schema, TaskColumn
from trunkline.sources import as_schema, read_usable

METRIC = "roc_auc"


def features(config: Config, schema: Schema, parts: Sequence[Split]) -> tuple[list[np.ndarray], list[bool]]:
    """Of each part `[rows, inputs]`, not a number where a cell is absent, and which columns are categories."""
    names, is_category = list(config.inputs), [one.type == "category" for one in config.inputs.values()]
    cells = [[_cells(schema.inputs[name], part) for name in names] for part in parts]
    for place in np.flatnonzero(is_category):
        known = {value for part in cells for value in part[place] if value is not None}
        codes = {value: number for number, value in enumerate(sorted(known))}
        for part in cells:
            part[place] = [None if value is None else codes[value] for value in part[place]]
    return [_numbers(part).T for part in cells], is_category


def labels(column: TaskColumn, part: Split) -> np.ndarray:
    """1, 0, or not a number where the label is absent."""
    cells = (part.table.cell(row, column.column) for row in part.rows.tolist())
    return _numbers([None if cell is None else column.task.read(cell) for cell in cells])


def _cells(column: InputColumn, part: Split) -> list[Any]:
    cells = (part.table.cell(row, column.column) for row in part.rows.tolist())
    return [None if cell is None else column.modality.read(cell) for cell in cells]


def _numbers(values: Sequence[Any]) -> np.ndarray:
    return np.array(values, dtype=float)  # `None` is not a number


def boosted(folder: Path) -> dict[str, float]:
    """AUC of each task, on the test rows of one run."""
    config = load_config(folder / "config.yaml", columns=None)
    splits, schema = read_usable(config), as_schema(config)
    assert splits.test is not None and splits.validation is not None
    parts = [splits.train, splits.validation, splits.test]
    (*learned, judged), is_category = features(config, schema, parts)
    found = {}
    for name in config.tasks:
        *known, truth = (labels(schema.tasks[name], part) for part in parts)
        x, y = np.concatenate(learned), np.concatenate(known)
        here, there = ~np.isnan(y), ~np.isnan(truth)
        model = HistGradientBoostingClassifier(categorical_features=is_category, random_state=config.training.seed)
        model.fit(x[here], y[here])
        found[name] = float(roc_auc_score(truth[there], model.predict_proba(judged[there])[:, 1]))
    return found


def main(arguments: Sequence[str] | None = None, show: Callable[[str], None] = print) -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.boosting", description=__doc__)
    parser.add_argument("comparison", type=Path, help="folder that `trunkline compare` has written")
    folder = parser.parse_args(arguments).comparison
    result = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    first = next(iter(result["models"].values()))
    rivals = [boosted(folder / run) for run in first["runs"]]
    for task in result["tasks"]:
        theirs = [one[task] for one in rivals]
        show(f"{task}: boosting {_spread(theirs)}")
        scores = {"alone": result["alone"]["scores"], **{name: m["scores"] for name, m in result["models"].items()}}
        for name, own in scores.items():
            ours = own[task][METRIC]["values"]
            between = interval([a - b for a, b in zip(ours, theirs)], 0.95)
            told = "" if between is None else f" ({between[0]:+.4f} … {between[1]:+.4f})"
            show(f"  {name}: {_spread(ours)}, {np.mean(ours) - np.mean(theirs):+.4f}{told}")


def _spread(values: Sequence[float]) -> str:
    mean, std = mean_std(values)
    return f"{mean:.4f}" + ("" if std is None else f" ± {std:.4f}")


if __name__ == "__main__":
    main()
