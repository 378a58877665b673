"""The table and the figure of growth, from made-up runs."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from benchmarks.growth import Twin, draw, panels, read_twins, tell

RUNS = [
    {"tasks": ["a"], "batch": 8, "parameters": 1e6, "steps": 10, "seconds": 2.0, "peak_mb": 512.0,
     "scores": {"a": 0.5}, "guessing": {"a": 0.1}, "best": {"a": 1.0}},
    {"tasks": ["a", "b"], "batch": 16, "parameters": 3e6, "steps": 10, "seconds": 3.0, "peak_mb": 1024.0,
     "scores": {"a": 0.6, "b": 0.25}, "guessing": {"a": 0.1, "b": 0.0}, "best": {"a": 1.0, "b": 1.0}},
]  # fmt: skip
TWINS = {"a": Twin(0.55, 0.2, 1_000_000), "b": Twin(0.2, 0.3, 3_000_000)}


def test_twins_are_read_from_a_comparison(tmp_path: Path) -> None:
    """The score that counts, its mean; the pace of the quickest seed."""
    for run, seconds in (("x-0", 4.0), ("x-1", 3.0)):
        (tmp_path / run).mkdir()
        metrics = {"training_seconds": seconds, "steps": 10, "parameters": 7}
        (tmp_path / run / "metrics.json").write_text(json.dumps(metrics))
    told = {
        "tasks": {"a": {"primary": "accuracy"}},
        "alone": {"runs": {"a": ["x-0", "x-1"]}, "scores": {"a": {"f1": {"mean": 0.1}, "accuracy": {"mean": 0.55}}}},
    }
    (tmp_path / "comparison.json").write_text(json.dumps(told))
    assert read_twins(tmp_path / "comparison.json") == {"a": Twin(0.55, 0.3, 7)}


def test_each_network_is_a_line_and_the_twins_stand_below(capsys: pytest.CaptureFixture[str]) -> None:
    tell(RUNS, ["a", "b"], TWINS)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[2] == "| 1 | 8 | 0.20 | 0.20 | 512 | 1.0 M | 1.0 M | 0.500 | |"
    assert lines[3] == "| 2 | 16 | 0.30 | 0.50 | 1024 | 3.0 M | 4.0 M | 0.600 | 0.250 |"
    assert lines[4].endswith("| 0.550 | 0.200 |")


def test_lines_stand_over_the_number_of_tasks() -> None:
    found = dict(panels(RUNS, ["a", "b"], TWINS))
    assert found["seconds a step"] == {
        "one network": [(1.0, 0.2), (2.0, 0.3)],
        "a network a task": [(1.0, 0.2), (2.0, 0.5)],
    }
    assert found["parameters, M"]["a network a task"] == [(1.0, 1.0), (2.0, 4.0)]
    assert found["memory, GB"] == {"one network": [(1.0, 0.5), (2.0, 1.0)]}
    alone = found["from guessing (0) to its twin's score (1)"]
    assert [number for point in alone["a"] for number in point] == pytest.approx([1.0, 0.4 / 0.45, 2.0, 0.5 / 0.45])
    assert [number for point in alone["b"] for number in point] == pytest.approx([2.0, 1.25])
    plain = dict(panels(RUNS, ["a", "b"], None))["from guessing (0) to perfect (1)"]
    assert plain["b"] == [(2.0, 0.25)]
    root = ET.fromstring(draw(panels(RUNS, ["a", "b"], TWINS)))
    named = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert {"seconds a step", "one network", "from guessing (0) to its twin's score (1)", "a", "b"} <= set(named)
