"""The network as a picture: inputs → encoders → fusion → trunk → heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from trunkline.report.figures.svg import element, figure

BOX, GAP, HEAD = 44, 12, 30  # heights
COLUMNS = ((0, 170), (212, 190), (446, 130), (618, 130), (790, 190))  # x and width of the five columns
WIDTH = 980
SHOWN = 10  # boxes in a column


def network_figure(model: Mapping[str, Any]) -> Markup:
    """Boxes with what they are and how many parameters they have; the darker, the larger their share."""
    encoders, heads = _shortened(model["encoders"]), _shortened(model["heads"])
    tallest = max(len(encoders), len(heads))
    height = HEAD + tallest * BOX + (tallest - 1) * GAP + 8
    middle = HEAD + (height - HEAD - 8) / 2
    total = max(model["total"], 1)
    parts = [
        element("text", title, x=x + width / 2, y=14, class_="label middle")
        for (x, width), title in zip(COLUMNS, ("inputs", "encoders", "fusion", "trunk", "heads"))
    ]
    ins, outs = _places(len(encoders), middle), _places(len(heads), middle)
    for y in ins:
        parts += [_flow(0, 1, y, y), _flow(1, 2, y, middle)]
    parts.append(_flow(2, 3, middle, middle))
    parts += [_flow(3, 4, middle, y) for y in outs]
    for part, y in zip(encoders, ins):
        many = len(part["members"]) + part["more"]
        parts.append(_box(0, y, _members(part), f"{many} inputs" if many > 1 else "", None))
        told = f"{_parameters(part['parameters'])} · {_share(part, total)}"
        parts.append(_box(1, y, part["type"], told, part["parameters"] / total))
    for column, part in ((2, model["fusion"]), (3, model["trunk"])):
        title = f"{part['type']}"
        parts.append(
            _box(
                column,
                middle,
                title,
                f"{_parameters(part['parameters'])} · {_share(part, total)}",
                part["parameters"] / total,
                tall=True,
            )
        )
    for part, y in zip(heads, outs):
        told = f"{part['type']} · {_parameters(part['parameters'])}"
        parts.append(_box(4, y, _members(part), told, part["parameters"] / total))
    return figure(WIDTH, height, parts, label="The network, from inputs to heads", class_="network")


def _shortened(parts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    if len(parts) <= SHOWN:
        return list(parts)
    rest = parts[SHOWN - 1 :]
    kinds = ", ".join(dict.fromkeys(part["type"] for part in rest))
    merged = {
        "members": [f"{len(rest)} more"],
        "more": 0,
        "type": kinds,
        "parameters": sum(part["parameters"] for part in rest),
    }
    return [*parts[: SHOWN - 1], merged]


def _places(count: int, middle: float) -> list[float]:
    first = middle - (count - 1) * (BOX + GAP) / 2
    return [first + number * (BOX + GAP) for number in range(count)]


def _members(part: Mapping[str, Any]) -> str:
    more = part["more"] + max(0, len(part["members"]) - 2)
    names = ", ".join(part["members"][:2])
    return f"{names} + {more}" if more else names


def _share(part: Mapping[str, Any], total: int) -> str:
    return f"{part['parameters'] / total:.1%}" if part["parameters"] else "no parameters"


def _parameters(count: int) -> str:
    return f"{count / 1e6:.2f}M" if count >= 1e6 else f"{count / 1e3:.1f}k" if count >= 1e3 else str(count)


def _box(column: int, middle: float, title: str, text: str, share: float | None, *, tall: bool = False) -> Markup:
    x, width = COLUMNS[column]
    height = BOX + 16 if tall else BOX
    fits = max(4, int(width / 7.4))
    shade = None if share is None else f"--v:{min(1.0, share):.3f}"
    return element(
        "g",
        element("title", f"{title}: {text}"),
        element(
            "rect",
            x=x + 1,
            y=middle - height / 2,
            width=width - 2,
            height=height,
            rx=9,
            class_="box" if share is None else "box layers",
            style=shade,
        ),
        element("text", _cut(title, fits), x=x + width / 2, y=middle - 3 if text else middle + 4, class_="name middle"),
        element("text", _cut(text, fits + 5), x=x + width / 2, y=middle + 13, class_="tick middle"),
    )


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _flow(start: int, stop: int, y_start: float, y_stop: float) -> Markup:
    x, until = sum(COLUMNS[start]), COLUMNS[stop][0]
    half = (x + until) / 2
    curve = f"M{x:.1f} {y_start:.1f} C{half:.1f} {y_start:.1f} {half:.1f} {y_stop:.1f} {until:.1f} {y_stop:.1f}"
    return element("path", d=curve, class_="flow")
