"""What boosting is judged by: the rows, inputs and labels of the runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import boosting
from trunkline.data import write_rows
from trunkline.run import compare


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_comparison_is_held_against_boosting(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(240):
        x, name = rng.normal(), "abc"[i % 3]
        told = {"x": None if i % 7 == 0 else x, "name": name, "yes": "y" if x + 3 * (name == "b") > 1 else "n"}
        rows.append({**told, "rare": None if i % 5 == 0 else int(x > 1)})
    write_rows(tmp_path / "rows.csv", rows[:180])
    write_rows(tmp_path / "test.csv", rows[180:])
    (tmp_path / "config.yaml").write_text(
        "data: {train: rows.csv, validation: 0.2, test: test.csv}\ninputs: {x: number, name: category}\n"
        "tasks: {yes: {type: binary, positive: y}, rare: binary}\nwidth: 8\n"
        "training: {steps: 4, validations: 1, threads: 1}\n"
    )
    compare(tmp_path / "config.yaml", seeds=2, out=tmp_path / "out")
    said: list[str] = []
    boosting.main([str(tmp_path / "out")], said.append)
    assert [line.split(":")[0] for line in said] == ["yes", "  alone", "  equal", "rare", "  alone", "  equal"]
    auc = float(re.findall(r"boosting ([.\d]+)", said[0])[0])
    assert 0.97 < auc < 1, "it learned from labels in their order, and was judged by rows that it had not seen"
    assert all("…" in line for line in said if line.startswith("  "))
