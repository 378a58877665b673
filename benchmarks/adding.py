"""A task added to a frozen network, against the same task trained with the others from the first, and alone.

`python -m benchmarks.adding`: handwritten digits (scikit-learn's), an old run that knows the digit and whether it is
odd; the new task is whether it is above four, with few labels and with many. Scores are ROC AUC on the same test rows,
the mean over seeds; seconds are of training, on one thread.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

from sklearn.datasets import load_digits

from trunkline import fit
from trunkline.data import write_rows

OLD: dict[str, Any] = {"digit": "category", "odd": "binary"}
NEW = {"big": "binary"}


def write_table(folder: Path, labels: int) -> Path:
    """Old labels in all rows, the new one in so many of the training rows and in all held-out ones."""
    images, digits = load_digits(return_X_y=True)
    path = folder / f"rows-{labels}.jsonl"
    rows = []
    for i, (image, digit) in enumerate(zip(images.tolist(), digits.tolist())):
        split = ("train", "train", "train", "val", "test")[i % 5]
        is_told = split != "train" or i * 3 // 5 < labels
        rows.append({
            **{f"p{j}": value for j, value in enumerate(image)},
            "digit": str(digit), "odd": digit % 2 == 1, "big": digit > 4 if is_told else None, "split": split,
        })  # fmt: skip
    write_rows(path, rows)
    return path


def main(steps: int = 400, seeds: int = 3, labels: tuple[int, ...] = (60, 1000)) -> list[str]:
    lines = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for count in labels:
            table = write_table(folder, count)
            found: dict[str, list[tuple[float, float]]] = {"added": [], "together": [], "alone": []}
            for seed in range(seeds):
                base = {
                    "data": {"table": str(table), "split": "split"},
                    "inputs": {"p*": "number"},
                    "width": 64,
                    "training": {"steps": steps, "batch_size": 64, "validations": 5, "threads": 1, "seed": seed},
                }
                old = folder / f"old-{count}-{seed}"
                fit({**base, "tasks": OLD}, out=old, report=False)
                added = {key: value for key, value in base.items() if key not in ("inputs", "width")}
                ways = {
                    "added": {**added, "start": str(old), "tasks": NEW},
                    "together": {**base, "tasks": {**OLD, **NEW}},
                    "alone": {**base, "tasks": NEW},
                }
                for way, config in ways.items():
                    metrics = fit(config, out=folder / f"{way}-{count}-{seed}", report=False).metrics
                    found[way].append((metrics["test"]["big"]["roc_auc"], metrics["training_seconds"]))
            for way, runs in found.items():
                score, seconds = (fmean(column) for column in zip(*runs))
                lines.append(f"{count:>5} labels  {way:<9} roc_auc {score:.3f}  {seconds:.1f} s")
    print("\n".join(lines))
    return lines


if __name__ == "__main__":
    main()
