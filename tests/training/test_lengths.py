"""Rows of one length: asked for, drawn so, and what is padding is written down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trunkline import fit
from trunkline.config import load_config
from trunkline.data import write_rows
from trunkline.plan import Plan, make_plan
from trunkline.run.wiring import rows_of, settings_of
from trunkline.sources import columns_of, read_splits
from trunkline.training.loaders import training_batches
from trunkline.training.loop import padding


def config(folder: Path, **training: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 40, 120).tolist()
    rows = [{"note": "ab " * n, "kind": "xy"[i % 2], "tags": "O " * n} for i, n in enumerate(counts)]
    write_rows(folder / "rows.jsonl", rows)
    return {
        "data": {"train": str(folder / "rows.jsonl"), "validation": 0.1},
        "inputs": {"note": {"type": "text", "encoder": "scratch", "layers": 1}},
        "tasks": {"kind": "category"},
        "width": 8,
        "training": {"steps": 12, "batch_size": 8, "validations": 1, "threads": 1, "accelerator": "cpu", **training},
    }


def plan_of(folder: Path, *, tasks: dict[str, Any] | None = None, **training: Any) -> Plan:
    asked = config(folder, **training)
    read = load_config(asked if tasks is None else asked | {"tasks": tasks}, columns=columns_of)
    return make_plan(read, read_splits(read))


def padded(plan: Plan) -> float:
    training = rows_of(plan, plan.splits.train).labelled()
    steps = training_batches(training, settings_of(plan.config.training, plan.config.data))
    return float(np.mean([padding(next(steps))["note"] for _ in range(12)]))


def test_what_is_asked_for_is_drawn(tmp_path: Path) -> None:
    plans = {by_length: plan_of(tmp_path, by_length=by_length) for by_length in (True, False)}
    assert padded(plans[True]) < padded(plans[False]) / 2
    assert plan_of(tmp_path).config.training.by_length is False, "nothing is written, no word is read"
    assert plan_of(tmp_path, tasks={"tags": {"type": "tags", "of": "note"}}).config.training.by_length is True


def test_a_run_says_how_much_is_padding(tmp_path: Path) -> None:
    fit(config(tmp_path), out=tmp_path / "run", show_progress=False)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    shares = [line["padding"]["note"] for line in lines if "losses" in line]
    assert shares and all(0 < share < 1 for share in shares)
    assert np.mean(shares) == pytest.approx(padded(plan_of(tmp_path)), abs=1e-6)
