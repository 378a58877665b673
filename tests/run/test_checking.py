"""What `check` counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trunkline.data import Draw, write_rows
from trunkline.export import example_batch
from trunkline.run.checking import check, shared_parameters


def test_an_encoder_that_is_rarely_there_is_shared(tmp_path: Path) -> None:
    """One training row of forty has a note: the first batch has none, and its encoder is shared all the same.

    So is what no row needs: the token of an absent size, and weights that pool tokens where an input has but one.
    """
    rng = np.random.default_rng(0)
    rows = [
        {"size": float(rng.normal()), "note": "a red b" if n == 37 else None, "kind": "xy"[n % 2],
         "split": "val" if n > 39 else "train"}
        for n in range(46)
    ]  # fmt: skip
    write_rows(tmp_path / "rows.jsonl", rows)
    report = check({
        "data": {"table": str(tmp_path / "rows.jsonl"), "split": "split"},
        "inputs": {"size": "number", "note": "text"},
        "tasks": {"kind": "category"},
        "width": 16,
        "training": {"batch_size": 4, "steps": 1, "threads": 1},
    })  # fmt: skip
    network = report.plan.network
    private = sum(p.numel() for p in network.heads.parameters())
    assert report.private == private
    assert report.shared == sum(p.numel() for p in network.parameters()) - private
    batches = report.plan.source(report.plan.splits.train)
    assert "note" not in batches[Draw((0, 1), None)].inputs
    assert example_batch(batches, range(40), 2).rows == (0, 1, 37)
    note = {id(p) for p in network.encoders[1].parameters()}
    assert note <= {id(p) for p in shared_parameters(network, example_batch(batches, range(40), 2))}
