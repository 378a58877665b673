"""Elements, numbers and axes: what every figure is made of. Everything that comes from data is escaped here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Content = str | Markup


def element(name: str, *children: Content, **attributes: object) -> Markup:
    """`<name attributes>children</name>`; `class_` is `class`, `stroke_width` is `stroke-width`.

    Example:
        >>> str(element("text", "<b>", x=1.23456, class_="tick"))
        '<text x="1.23" class="tick">&lt;b&gt;</text>'
    """
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(number(v) if isinstance(v, float) else v)}"'
        for key, v in attributes.items()
        if v is not None
    )
    inner = "".join(escape(child) for child in children)
    return Markup(f"<{name}{told}>{inner}</{name}>")


def figure(width: float, height: float, parts: Iterable[Content], *, label: str, class_: str = "") -> Markup:
    """The whole picture, as wide as its place up to its own width."""
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {width:g} {height:g}",
        class_=f"figure {class_}".strip(),
        style=f"max-width:{width:g}px",
        role="img",
        aria_label=label,
    )


def number(value: float) -> str:
    """Two decimals at most: a page has thousands of coordinates."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def path(points: Sequence[tuple[float, float]], **attributes: object) -> Markup:
    """Straight lines through points."""
    steps = " ".join(f"{number(x)},{number(y)}" for x, y in points)
    return element("polyline", points=steps, fill="none", **attributes)


def short(value: float) -> str:
    """A number for an axis.

    Example:
        >>> [short(v) for v in (0, 0.05, 1500, 2500000, 1e-5)]
        ['0', '0.05', '1500', '2.5M', '1e-05']
    """
    if abs(value) >= 1e6:
        return f"{value / 1e6:.3g}M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:.3g}k"
    return f"{value:.4g}"


def ticks(low: float, high: float, *, wanted: int = 5) -> list[float]:
    """Round numbers within the range.

    Example:
        >>> ticks(0, 1), ticks(3, 97)
        ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [20.0, 40.0, 60.0, 80.0])
    """
    if not high > low:
        return [low]
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


@dataclass(frozen=True)
class Scale:
    """Numbers of the data → places on the paper.

    Attributes:
        low: least number.
        high: greatest number.
        start: place of the least.
        stop: place of the greatest.
    """

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        share = 0.5 if self.high == self.low else (value - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)


def scale(values: Iterable[float], start: float, stop: float, *, margin: float = 0.04) -> Scale:
    """One that all values fit on, with a little room."""
    known = list(values)
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    room = (high - low) * margin or abs(high) * margin or margin
    return Scale(low - room, high + room, start, stop)


def axes(
    x: Scale, y: Scale, *, x_label: str = "", y_label: str = "", x_ticks: int = 5, y_ticks: int = 5
) -> list[Markup]:
    """Faint lines across, numbers beside them, and what they count."""
    parts = []
    for value in ticks(y.low, y.high, wanted=y_ticks):
        parts.append(element("line", x1=x.start, x2=x.stop, y1=y(value), y2=y(value), class_="grid"))
        parts.append(element("text", short(value), x=x.start - 6, y=y(value) + 3.5, class_="tick end"))
    for value in ticks(x.low, x.high, wanted=x_ticks):
        parts.append(element("text", short(value), x=x(value), y=y.start + 15, class_="tick middle"))
    if x_label:
        parts.append(element("text", x_label, x=(x.start + x.stop) / 2, y=y.start + 31, class_="label middle"))
    if y_label:
        parts.append(element("text", y_label, x=x.start, y=y.stop - 8, class_="label"))
    return parts
