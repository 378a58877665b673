"""Small figures that stand beside words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup

from trunkline.report.figures.svg import Scale, element, figure, path, scale, short


def histogram_figure(
    edges: Sequence[float], counts: Sequence[int], *, label: str, unit: str = "", width: float = 250, height: float = 84
) -> Markup:
    """Upright bars over their range, with both ends written below; of bars around whole numbers, these numbers."""
    is_whole = all(right - left == 1 and left % 1 == 0.5 for left, right in pairwise(edges))
    inset = 0.5 if is_whole else 0.0
    x, y = Scale(edges[0], edges[-1], 1, width - 1), Scale(0, max(counts) or 1, height - 17, 4)
    parts = []
    for left, right, count in zip(edges, edges[1:], counts):
        told = f"{short(left + inset)}: {count}" if is_whole else f"{short(left)} to {short(right)}: {count}"
        bar = element(
            "rect",
            element("title", told),
            x=x(left) + 0.4,
            y=y(count),
            width=max(x(right) - x(left) - 0.8, 0.6),
            height=y.start - y(count),
            class_="bar",
        )
        parts.append(bar)
    parts.append(element("line", x1=0, x2=width, y1=y.start, y2=y.start, class_="grid"))
    parts.append(element("text", short(edges[0] + inset), x=1, y=height - 3, class_="tick"))
    parts.append(element("text", short(edges[-1] - inset), x=width - 1, y=height - 3, class_="tick end"))
    if unit:
        parts.append(element("text", unit, x=width / 2, y=height - 3, class_="tick middle"))
    return figure(width, height, parts, label=label)


def sparkline_figure(points: Sequence[tuple[float, float]], *, label: str, series: int = 0) -> Markup:
    """A curve without axes."""
    x = scale([a for a, _ in points], 1, 119, margin=0)
    y = scale([b for _, b in points], 25, 3, margin=0.02)
    drawn = path([(x(a), y(b)) for a, b in points], class_="line", style=f"stroke:var(--s{series % 8})")
    return figure(120, 28, [element("title", label), drawn], label=label)
