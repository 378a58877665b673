"""Trunks with private layers learn in a fit, whatever the balancer compares, and come back from their runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trunkline import MultiTaskModel, UPGrad, fit, load, modalities, tasks
from trunkline.balancers import Equal
from trunkline.trunks import CATALOG

CASES: dict[str, tuple[Any, Any]] = {
    "ple": (UPGrad, "last"),
    "cross_stitch": (UPGrad, "features"),
    "dselect_k": (Equal, "losses"),
    "film": (UPGrad, None),
    "adapters": (UPGrad, "trunk"),
    "padnet": (UPGrad, "features"),
    "lora": (UPGrad, "last"),
}
ROWS = 160


def rows() -> list[dict[str, Any]]:
    """Two numbers and a name; a fifth of the labels are missing."""
    rng = np.random.default_rng(0)
    table: list[dict[str, Any]] = []
    for _ in range(ROWS):
        x, y, town = rng.normal(), rng.normal(), str(rng.choice(["north", "south"]))
        row = {"x": x, "y": y, "town": town, "sum": x + y, "less": x - y, "both": int((x > 0) == (town == "north"))}
        table.append({name: None if name in ("sum", "less") and rng.random() < 0.2 else v for name, v in row.items()})
    return table


@pytest.mark.parametrize("name", CASES)
def test_it_learns(name: str, tmp_path: Path) -> None:
    model = MultiTaskModel(
        inputs={"x": modalities.Number(), "y": modalities.Number(), "town": modalities.Category()},
        tasks={"sum": tasks.Number(), "less": tasks.Number(), "both": tasks.Binary()},
        trunk=CATALOG[name](),
        width=32,
    )
    table, (balancer, level) = rows(), CASES[name]
    run = fit(
        model, table[32:], validation=table[:32], balancer=balancer(), level=level, steps=80, lr=0.01,
        threads=1, accelerator="cpu", out=tmp_path / "run",
    )  # fmt: skip
    if level is None:
        assert run.config.balancer.level == "last"
        assert "tasks meet in the layers" in run.reasons["balancer.level"]
    scores = run.metrics["validation"]
    assert scores["sum"]["r2"] > 0.8 and scores["less"]["r2"] > 0.8 and scores["both"]["roc_auc"] > 0.7, scores
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    told = [line["experts"] for line in lines if "experts" in line]
    assert bool(told) == (name in ("ple", "dselect_k"))
    assert all(set(experts) == {"sum", "less", "both"} for experts in told)
    (said,) = load(tmp_path / "run").predict([{"x": 1.0, "y": 1.0, "town": "north"}])
    assert 1 < said["sum"]["value"] < 3, said
