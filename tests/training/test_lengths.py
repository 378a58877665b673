"""Rows of one length: asked for, drawn so, and what is padding is written down."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

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


def test_parts_of_a_step_have_rows_of_one_length_and_the_step_is_drawn_at_random(tmp_path: Path) -> None:
    """The rows of each step are those it has without; of its parts, each is of longer rows than the one before."""
    size, drawn = {"batch_size": 32, "accumulate": 4}, {}
    for asked in (True, False):
        plan = plan_of(tmp_path, by_length=asked, **size)
        training = rows_of(plan, plan.splits.train).labelled()
        steps = training_batches(training, settings_of(plan.config.training, plan.config.data))
        drawn[asked] = [next(steps) for _ in range(6)]
    for parts, plain in zip(drawn[True], drawn[False]):
        lengths = [part.inputs["note"].values["mask"].sum(1) for part in parts]
        assert len(parts) == 4
        assert all(one.max() <= other.min() for one, other in pairwise(lengths))
        whole = [part.inputs["note"].values["mask"].sum(1) for part in plain]
        assert sorted(torch.cat(lengths).tolist()) == sorted(torch.cat(whole).tolist())
    sorted_padding, plain_padding = (np.mean([padding(parts)["note"] for parts in drawn[a]]) for a in (True, False))
    assert sorted_padding < plain_padding / 2


def test_a_run_says_how_much_is_padding(tmp_path: Path) -> None:
    fit(config(tmp_path), out=tmp_path / "run", show_progress=False)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    shares = [line["padding"]["note"] for line in lines if "losses" in line]
    assert shares and all(0 < share < 1 for share in shares)
    assert np.mean(shares) == pytest.approx(padded(plan_of(tmp_path)), abs=1e-6)


def test_padding_of_graphs_counts_where_it_is_worked_out(tmp_path: Path) -> None:
    asked = config(tmp_path)
    graphs = [{"nodes": [["a"]] * (1 + i % 4), "edges": []} for i in range(120)]
    rows = [{**json.loads(line), "net": graph} for line, graph in zip((tmp_path / "rows.jsonl").open(), graphs)]
    write_rows(tmp_path / "rows.jsonl", rows)
    asked["inputs"]["net"] = "graph"
    plan = make_plan(read := load_config(asked, columns=columns_of), read_splits(read))
    (batch,) = next(iter(training_batches(rows_of(plan, plan.splits.train), settings_of(plan.config.training))))
    assert set(padding([batch])) == {"note", "net"}
    for device, left in (("cpu", {"note"}), ("meta", {"note", "net"})):
        without = plan.network.encoders_without_padding(torch.device(device))
        assert set(padding([batch], without)) == left
