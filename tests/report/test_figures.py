from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from trunkline.report.figures import (
    Line,
    histogram_figure,
    interval_figure,
    line_figure,
    network_figure,
    scatter_figure,
    sparkline_figure,
    square_figure,
)
from trunkline.report.figures.svg import Scale, ticks

EVIL = '<script>alert("&")</script>'
PART = {"name": EVIL, "members": [EVIL], "more": 2, "type": EVIL, "parameters": 10}
MODEL = {"total": 40, "encoders": [PART] * 30, "heads": [PART], "fusion": PART, "trunk": PART}

FIGURES = {
    "lines": lambda: line_figure([Line(EVIL, [(1, 2.0), (2, 3.0)])], label=EVIL, mark=(1, EVIL), level=(0.0, EVIL)),
    "squares": lambda: square_figure(
        [(0, 0.1), (1, 1)], label=EVIL, x_label=EVIL, y_label=EVIL, reference=[(0, 0), (1, 1)], weights=[1, 5]
    ),
    "scatter": lambda: scatter_figure([(0, 1), (5, 4)], label=EVIL, x_label=EVIL, y_label=EVIL),
    "histogram": lambda: histogram_figure([0, 1, 2], [3, 4], label=EVIL, unit=EVIL),
    "sparkline": lambda: sparkline_figure([(0, 1), (1, 1)], label=EVIL),
    "interval": lambda: interval_figure(0.7, majority=0.5, best=1.0, low=0.6, high=0.8, twin=0.65),
    "network": lambda: network_figure(MODEL),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_whole_and_escapes_what_it_is_told(name: str) -> None:
    svg = str(FIGURES[name]())
    root = ElementTree.fromstring(svg)
    assert root.tag == "svg"
    assert root.get("aria-label")
    assert "<script" not in svg
    assert "nan" not in svg


@pytest.mark.parametrize("name", FIGURES)
def test_every_mark_lies_on_the_paper(name: str) -> None:
    root = ElementTree.fromstring(str(FIGURES[name]()))
    width, height = (float(v) for v in root.get("viewBox", "").split()[2:])
    for shape in root.iter():
        for key, limit in (("x", width), ("cx", width), ("x1", width), ("x2", width), ("y", height), ("cy", height)):
            if (value := shape.get(key)) is not None:
                assert -1 <= float(value) <= limit + 1, (shape.tag, key, value)


def test_a_line_goes_through_its_points() -> None:
    """Higher is further up, later is further right."""
    svg = str(line_figure([Line("a", [(0, 0.0), (1, 5.0), (2, 1.0)])], label="a"))
    points = re.search(r'points="([^"]+)"', svg)
    assert points is not None
    (x0, y0), (x1, y1), (x2, y2) = (map(float, pair.split(",")) for pair in points[1].split())
    assert x0 < x1 < x2
    assert y1 < y2 < y0


@pytest.mark.parametrize("values", [[1.0], [3.0, 3.0], [0.0, 0.0], [-1e-9, 1e9]])
def test_constant_and_extreme_values_can_be_drawn(values: list[float]) -> None:
    svg = str(line_figure([Line("a", list(enumerate(values)))], label="a"))
    ElementTree.fromstring(svg)
    assert "nan" not in svg
    assert "inf" not in svg


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-5, 12), (1e-7, 3e-7), (0, 1e9), (2, 2)])
def test_ticks_are_few_and_within(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 1 <= len(found) <= 7
    assert all(low - 1e-9 * abs(low) <= t <= high * (1 + 1e-9) for t in found)


def test_a_scale_turns_over_where_less_is_better() -> None:
    assert Scale(10, 0, 0, 100)(10) == 0
    assert Scale(10, 0, 0, 100)(2.5) == 75


def test_what_a_mark_says_stays_clear_of_the_label_of_the_axis() -> None:
    for step in range(1, 101, 9):
        drawn = line_figure([Line("a", [(1, 0.1), (100, 0.9)])], label="a", y_label="long " * 12, mark=(step, "kept"))
        texts = {t.text: float(t.get("y", 0)) for t in ElementTree.fromstring(drawn).iter() if t.tag.endswith("text")}
        assert texts["kept"] - texts["long " * 12] > 11


def test_bars_around_whole_numbers_are_labelled_by_them() -> None:
    def said(edges: list[float]) -> list[str | None]:
        drawn = histogram_figure(edges, [3, 1, 4], label="a")
        return [t.text for t in ElementTree.fromstring(drawn).iter() if t.tag.endswith(("text", "title"))]

    assert said([0.5, 1.5, 2.5, 3.5])[-5:] == ["1: 3", "2: 1", "3: 4", "1", "3"]
    assert said([0.5, 2.5, 4.5, 6.5])[-2:] == ["0.5", "6.5"]
