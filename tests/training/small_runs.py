"""A small table with holes, two inputs that are random in training, and runs on it that a fresh process can repeat."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import trunkline
from trunkline.data import write_rows
from trunkline.run import Run
from worlds import write_world

INPUTS = ("photo", "note", "size")
STEPS = 6
TRAINING = {
    "steps": STEPS, "batch_size": 8, "lr": 1e-3, "warmup": 0.1, "weight_decay": 0.05, "clip": 1.0, "input_dropout": 0.1,
    "validations": 3, "ema": "off", "patience": "off", "accelerator": "cpu", "threads": 1,
}  # fmt: skip


def write_small_world(folder: Path, rows: int = 60) -> Path:
    """`rows.jsonl` with a column `split`: two in three train, the others validate or test."""
    write_world(folder, rows, holes=0.25)
    table = [row for row in read_rows(folder) if any(row.get(name) is not None for name in INPUTS)]
    for number, row in enumerate(table):
        row["split"] = ("train", "train", "train", "train", "val", "test")[number % 6]
    write_rows(folder / "rows.jsonl", table)
    return folder


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The table as dicts."""
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


def config(folder: Path, **training: Any) -> dict[str, Any]:
    """Pictures are cropped and dropout is on, so that every seed matters."""
    return {
        "data": {"table": str(folder / "rows.jsonl"), "split": "split"},
        "inputs": {"photo": {"type": "image", "size": 16, "stem": 4, "depth": 1}, "note": "text", "size": "number"},
        "tasks": {"kind": "category", "loud": "binary", "price": "number", "weight": "number"},
        "width": 16,
        "training": {**TRAINING, **training},
    }


def fit(folder: Path, out: Path, sections: dict[str, Any] | None = None, **training: Any) -> Run:
    """A run; `sections` of the config besides."""
    return trunkline.fit({**config(folder, **training), **(sections or {})}, out=out)


def traces(folder: Path) -> tuple[bytes, bytes]:
    """Weights and log of a run, to the bit."""
    return (folder / "model.safetensors").read_bytes(), (folder / "log.jsonl").read_bytes()


def log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().split("\n") if line]


if __name__ == "__main__":
    fit(Path(sys.argv[1]), Path(sys.argv[2]))
