"""Square plots: curves from 0 to 1, and predicted against true."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from trunkline.report.figures.svg import Scale, axes, element, figure, path, scale

SIZE = 252
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 24, 40


def square_figure(
    curve: Sequence[tuple[float, float]],
    *,
    label: str,
    x_label: str,
    y_label: str,
    reference: Sequence[tuple[float, float]],
    weights: Sequence[int] | None = None,
) -> Markup:
    """A curve within the unit square, with a line to compare it to.

    Args:
        curve: points.
        label: for those who cannot see it.
        x_label: under the axis.
        y_label: above the axis.
        reference: points of the dashed line.
        weights: how many rows stand behind each point: drawn as dots of that area.
    """
    x, y = Scale(0, 1, LEFT, SIZE - RIGHT), Scale(0, 1, SIZE - BOTTOM, TOP)
    parts = axes(x, y, x_label=x_label, y_label=y_label)
    parts.append(path([(x(a), y(b)) for a, b in reference], class_="level"))
    parts.append(
        path([(x(a), y(b)) for a, b in curve], class_="faint" if weights else "line", style="stroke:var(--s0)")
    )
    most = max(weights, default=1) if weights else 1
    for (a, b), weight in zip(curve, weights or ()):
        told = f"said {a:.0%}, was right {b:.0%} of {weight} times"
        radius = 2.5 + 5.5 * (weight / most) ** 0.5
        parts.append(element("circle", element("title", told), cx=x(a), cy=y(b), r=radius, class_="dot"))
    return figure(SIZE, SIZE, parts, label=label)


def curves_figure(
    curves: Sequence[tuple[str, str, Sequence[tuple[float, float]]]], *, label: str, x_label: str, y_label: str
) -> Markup:
    """Several curves within the unit square.

    Args:
        curves: of each its name, its colour and its points; the first lies on top.
        label: for those who cannot see it.
        x_label: under the axis.
        y_label: above the axis.
    """
    x, y = Scale(0, 1, LEFT, SIZE - RIGHT), Scale(0, 1, SIZE - BOTTOM, TOP)
    parts = axes(x, y, x_label=x_label, y_label=y_label)
    for name, colour, points in reversed(curves):
        drawn = path([(x(a), y(b)) for a, b in points], class_="line", style=f"stroke:{colour}")
        parts.append(element("g", element("title", name), drawn))
    return figure(SIZE, SIZE, parts, label=label)


def scatter_figure(points: Sequence[tuple[float, float]], *, label: str, x_label: str, y_label: str) -> Markup:
    """Predicted against true on equal axes; on the dashed line both are the same."""
    low, high = _range([v for point in points for v in point])
    both = scale([low, high], 0, 1)
    x = Scale(both.low, both.high, LEFT, SIZE - RIGHT)
    y = Scale(both.low, both.high, SIZE - BOTTOM, TOP)
    parts = axes(x, y, x_label=x_label, y_label=y_label, x_ticks=4)
    parts.append(path([(x(both.low), y(both.low)), (x(both.high), y(both.high))], class_="level"))
    for true, said in points:
        a, b = min(max(true, both.low), both.high), min(max(said, both.low), both.high)
        parts.append(element("circle", cx=x(a), cy=y(b), r=2.2, class_="point"))
    return figure(SIZE, SIZE, parts, label=label)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Where nearly all lie: a few wild ones are drawn at the border."""
    ranked = sorted(values)
    edge = len(ranked) // 200
    return ranked[edge], ranked[-1 - edge]
