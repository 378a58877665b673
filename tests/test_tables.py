"""What a terminal shows of numbers and answers."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from trunkline.data import write_rows
from trunkline.tables import answers_shown, scores_table


def shown(*parts: Any) -> str:
    text = io.StringIO()
    for part in parts:
        Console(file=text, width=100).print(part, highlight=False)
    return text.getvalue()


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.8349, "0.835"), (0.0, "0.000"), (0.00042, "0.00042"), (-0.00995, "-0.010"), (123456.7, "123,457"),
     (1e20, "1e+20"), (None, "–"),
     (float("inf"), "inf"), (float("nan"), "nan")],
)  # fmt: skip
def test_scores_keep_their_digits(value: float | None, told: str) -> None:
    assert f" {told} " in shown(scores_table("rows", {"size": {"mae": value}}, {}))


def test_answers_say_how_sure_they_are() -> None:
    said = {
        "no": {"value": False, "probability": 0.2},
        "yes": {"value": True, "probability": 0.7},
        "kind": {"value": "a", "probabilities": {"a": 0.6, "b": 0.4}},
        "level": {"value": 3, "probabilities": {"1": 0.1, "3": 0.5, "5": 0.4}, "expected": 3.4},
        "new": {"value": "?", "probabilities": {"a": 0.6, "b": 0.4}},
        "names": {"value": ["a", "b"], "probabilities": {"a": 0.9, "b": 0.8}},
        "price": 12345.6,
        "small": 0.01234567,
        "far": float("inf"),
        "text": "a b",
        "copied": "a\x1b]0;title\x07 \x9b2Jb",
    }
    lines = [line.split() for line in shown(*answers_shown([said])).splitlines()]
    assert lines[1:] == [
        ["no", "False", "80%"], ["yes", "True", "70%"], ["kind", "a", "60%"], ["level", "3", "50%"],
        ["new", "?"], ["names", "a", "b"], ["price", "12,346"],
        ["small", "0.01235"], ["far", "inf"], ["text", "a", "b"],
        ["copied", r"a\x1b]0;title\x07", r"\x9b2Jb"],
    ]  # fmt: skip


def test_without_a_terminal_each_look_at_the_validation_rows_is_a_line(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", [{"x": n, "y": n % 2} for n in range(40)])
    (tmp_path / "config.yaml").write_text(
        "data: {table: rows.csv, validation: 0.25}\ninputs: {x: number}\ntasks: {y: binary}\nwidth: 8\n"
        "training: {steps: 4, validations: 2, accelerator: cpu}\n"
    )
    command = [sys.executable, "-m", "trunkline", "fit", "config.yaml", "--out", "run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    said = [line for line in done.stderr.splitlines() if line.startswith("step ")]
    assert [line.split(",")[0] for line in said] == ["step 2 of 4", "step 4 of 4"]
    assert all("(0 guessing, 1 perfect)" in line for line in said)
    assert "Run folder: run" in done.stdout
