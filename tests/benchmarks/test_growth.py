"""The table and the figure of growth, from made-up runs."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from benchmarks.growth import draw, panels, tell

RUNS = [
    {"tasks": ["a"], "batch": 8, "parameters": 1e6, "steps": 10, "seconds": 2.0, "peak_mb": 512.0,
     "scores": {"a": 0.5}},
    {"tasks": ["a", "b"], "batch": 16, "parameters": 3e6, "steps": 10, "seconds": 3.0, "peak_mb": 1024.0,
     "scores": {"a": 0.6, "b": 0.25}},
]  # fmt: skip
TWINS = {
    "steps": 10,
    "tasks": {"a": {"primary": "accuracy"}, "b": {"primary": "r2"}},
    "alone": {
        "scores": {
            "a": {"f1": {"mean": 0.1}, "accuracy": {"mean": 0.55}},
            "b": {"r2": {"mean": 0.2}},
        }
    },
    "costs": {"alone": {"training_seconds": 5.0, "parameters": 4e6}},
}


def test_each_network_is_a_line_and_the_twins_stand_below(capsys: pytest.CaptureFixture[str]) -> None:
    tell(RUNS, ["a", "b"], TWINS)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[2] == "| 1 | 8 | 0.20 | 512 | 1.0 M | 0.500 | |"
    assert lines[3] == "| 2 | 16 | 0.30 | 1024 | 3.0 M | 0.600 | 0.250 |"
    assert lines[4].endswith("| 0.550 | 0.200 |")


def test_lines_stand_over_the_number_of_tasks() -> None:
    found = dict(panels(RUNS, ["a", "b"], TWINS))
    assert found["seconds a step"] == {
        "one network": [(1.0, 0.2), (2.0, 0.3)],
        "networks apart, all together": [(1.0, 0.5), (2.0, 0.5)],
    }
    assert found["parameters, M"]["networks apart, all together"] == [(1.0, 4.0), (2.0, 4.0)]
    assert found["memory, GB"] == {"one network": [(1.0, 0.5), (2.0, 1.0)]}
    assert found["score"] == {"a": [(1.0, 0.5), (2.0, 0.6)], "b": [(2.0, 0.25)]}
    root = ET.fromstring(draw(panels(RUNS, ["a", "b"], None)))
    named = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert {"seconds a step", "one network", "score", "a", "b"} <= set(named)
