"""The benchmark of exported networks runs from a config to its tables."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.timing import Comparison

from benchmarks import exported
from trunkline.data import write_rows


def test_networks_are_compared(tmp_path: Path) -> None:
    rows = [{"size": i % 7 if i % 3 else None, "shop": None if i % 3 == 1 else "ab"[i % 2], "kind": "xy"[i % 2],
             "hit": i % 4 == 0} for i in range(80)]  # fmt: skip
    write_rows(tmp_path / "rows.jsonl", rows)
    config = {
        "data": {"train": str(tmp_path / "rows.jsonl"), "validation": 0.2},
        "inputs": {"size": "number", "shop": "category"},
        "tasks": {"kind": "category", "hit": "binary"},
        "training": {"batch_size": 8, "accelerator": "cpu"},
        "width": 8,
    }
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    settled = exported.settled(tmp_path / "config.yaml", [], 2)
    only = {"hit": ["shop"]}
    sizes, *tables = exported.run(settled, tmp_path / "out", only=only, rows=[1, 3], rounds=1)
    assert isinstance(sizes, exported.Sizes)
    assert list(sizes.networks) == ["together", "kind", "hit"] and "alone in all" in sizes.table()
    assert sizes.networks["hit"].model.about["present"] == ["shop"]
    asked = exported.full_rows(sizes.networks["together"].predictor, exported.read_table(rows), 3)
    assert all(row["size"] is not None and row["shop"] is not None for row in asked), "every input is there"
    assert [table.title for table in tables if isinstance(table, Comparison)] == [
        "network, 1 row", "rows to answers, 1 row", "network, 3 rows", "rows to answers, 3 rows"]  # fmt: skip
