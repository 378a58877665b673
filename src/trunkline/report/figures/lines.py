"""Curves over steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from trunkline.report.figures.svg import Scale, axes, element, figure, path, scale


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        name: in the tooltip.
        points: in order.
        series: number of its colour.
        faint: drawn thin, as background for another.
    """

    name: str
    points: Sequence[tuple[float, float]]
    series: int = 0
    faint: bool = False


def line_figure(
    lines: Sequence[Line],
    *,
    label: str,
    x_label: str = "",
    y_label: str = "",
    mark: tuple[float, str] | None = None,
    level: tuple[float, str] | None = None,
    width: float = 460,
    height: float = 210,
) -> Markup:
    """Lines on common axes.

    Args:
        lines: to draw; later ones lie on top.
        label: what the figure shows, for those who cannot see it.
        x_label: under the axis.
        y_label: above the axis.
        mark: an upright line and what it says.
        level: a line across and what it says.
        width: of the paper.
        height: of the paper.
    """
    points = [point for line in lines for point in line.points]
    heights = [y for _, y in points] + ([level[0]] if level else [])
    x = scale([x for x, _ in points], 54, width - 12, margin=0.01)
    y = scale(heights, height - 38, 26)
    parts = axes(x, y, x_label=x_label, y_label=y_label)
    if level is not None:
        parts.append(element("line", x1=x.start, x2=x.stop, y1=y(level[0]), y2=y(level[0]), class_="level"))
        is_high = y(level[0]) < y.stop + 12  # above is the label of the axis
        words = y(level[0]) + (12 if is_high else -4)
        parts.append(element("text", level[1], x=x.start + 3, y=words, class_="tick"))
    if mark is not None:
        parts += _mark(mark, x, y)
    for line in lines:
        drawn = path(
            [(x(a), y(b)) for a, b in line.points],
            class_="faint" if line.faint else "line",
            style=f"stroke:var(--s{line.series % 8})",
        )
        parts.append(element("g", element("title", line.name), drawn))
        if len(line.points) <= 15 and not line.faint:
            parts += [
                element(
                    "circle",
                    element("title", f"{line.name}: {b:.4g} at {a:g}"),
                    cx=x(a),
                    cy=y(b),
                    r=2.6,
                    style=f"fill:var(--s{line.series % 8})",
                )
                for a, b in line.points
            ]
    return figure(width, height, parts, label=label)


def _mark(mark: tuple[float, str], x: Scale, y: Scale) -> list[Markup]:
    """What it says stands low: above the plot is the label of the axis, and what is marked as best is high."""
    place = x(mark[0])
    is_late = place > (x.start + x.stop) / 2
    words = {"x": place - 4, "class_": "tick end"} if is_late else {"x": place + 4, "class_": "tick"}
    return [
        element("line", x1=place, x2=place, y1=y.start, y2=y.stop, class_="mark"),
        element("text", mark[1], y=y.start - 16, **words),
    ]
