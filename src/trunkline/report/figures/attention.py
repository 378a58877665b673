"""What was read for each word that was written: a map of words by words, and one of a picture."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from trunkline.report.figures.svg import element, figure, number

CELL, GAP, LETTER = 18.0, 8.0, 6.3
LEFT, ABOVE, BELOW = 8.0, 6.0, 22.0
LONGEST = 16  # letters of a word
RUNS = ("word", "time")  # what is told part by part
LEAST = 0.02  # of the largest weight: what is less is left blank


def attention_figure(sources: Sequence[Mapping[str, Any]], words: Sequence[str], weights: Sequence[Sequence[float]],
                     *, label: str) -> Markup:  # fmt: skip
    """Rows are words that were written, columns what was read; the stronger, the more.

    Args:
        sources: `{input, kind, word}` of each column.
        words: of the rows.
        weights: shares, one list a row.
        label: for those who cannot see it.
    """
    heads = [_short(source["word"] or _name(source)) for source in sources]
    left = LEFT + LETTER * max(len(_short(word)) for word in words) + 6
    places = _columns(sources, left)
    top = ABOVE + LETTER * max(map(len, heads)) * 0.87 + 10
    bottom, right = top + CELL * len(words), places[-1] + CELL
    parts = [element("text", _short(word), x=left - 6, y=top + CELL * i + 13, class_="end")
             for i, word in enumerate(words)]  # fmt: skip
    for head, source, x in zip(heads, sources, places):
        turned = f"translate({number(x + 12)} {number(top - 5)}) rotate(-60)"
        parts.append(element("text", head, transform=turned, class_="label" if source["kind"] not in RUNS else None))
    parts += _brackets(sources, places, bottom)
    parts += _cells(sources, words, weights, places, top)
    tilt = LETTER * len(heads[-1]) * 0.5
    return _sized(max(right + tilt, right + 12), bottom + BELOW, parts, label)


def map_figure(shares: Sequence[Sequence[float]], *, label: str) -> Markup:
    """How much was read of each part of a picture."""
    most = max(max(row) for row in shares) or 1.0
    side = min(CELL, 144 / len(shares[0]))
    parts = [
        element("rect", element("title", f"{share:.1%}"), x=side * x, y=side * y, width=side, height=side,
                class_="weight", fill_opacity=share / most)
        for y, row in enumerate(shares) for x, share in enumerate(row)
    ]  # fmt: skip
    return _sized(side * len(shares[0]), side * len(shares), parts, label)


def _sized(width: float, height: float, parts: Sequence[Markup], label: str) -> Markup:
    """As large as it is drawn: cells of two figures are alike."""
    return element("div", figure(width, height, parts, label=label), style=f"width:{number(width)}px")


def _columns(sources: Sequence[Mapping[str, Any]], left: float) -> list[float]:
    """Where each column begins: a gap between inputs, and before what is no word."""
    places, x = [], left
    for before, source in itertools.pairwise([None, *sources]):
        assert source is not None
        if before is not None and _family(before) != _family(source):
            x += GAP
        places.append(x)
        x += CELL
    return places


def _family(source: Mapping[str, Any]) -> tuple[str, str | None]:
    """What stands side by side: the words of a text, the columns of a table."""
    return source["kind"], source["input"] if source["kind"] in RUNS else None


def _brackets(sources: Sequence[Mapping[str, Any]], places: Sequence[float], bottom: float) -> list[Markup]:
    """The name of each text below its words."""
    own: dict[str, list[float]] = {}
    for source, x in zip(sources, places):
        if source["kind"] in RUNS:
            own.setdefault(source["input"], []).append(x)
    parts = []
    for name, (first, *others) in own.items():
        last = (others or [first])[-1] + CELL - 2
        told = _short(name)[: max(1, int((last - first) / LETTER))]
        parts.append(element("line", x1=first, x2=last, y1=bottom + 4, y2=bottom + 4, class_="grid"))
        parts.append(element("text", element("title", name), told, x=first, y=bottom + 17, class_="tick"))
    return parts


def _cells(
    sources: Sequence[Mapping[str, Any]],
    words: Sequence[str],
    weights: Sequence[Sequence[float]],
    places: Sequence[float],
    top: float,
) -> list[Markup]:
    most = max(max(row) for row in weights) or 1.0
    parts = [element("rect", x=x, y=top, width=CELL - 2, height=CELL * len(words) - 2, class_="ground") for x in places]
    for i, (word, row) in enumerate(zip(words, weights)):
        for source, x, share in zip(sources, places, row):
            if share >= LEAST * most:
                told = element("title", f"{word} ← {source['word'] or _name(source)}: {share:.0%}")
                parts.append(element("rect", told, x=x, y=top + CELL * i, width=CELL - 2, height=CELL - 2,
                                     class_="weight", fill_opacity=share / most))  # fmt: skip
    return parts


def _name(source: Mapping[str, Any]) -> str:
    """Of what is no word."""
    names = {"row": "whole row", "marks": "other tokens", "absent": f"{source['input']} absent"}
    return names.get(source["kind"], source["input"] or source["kind"])


def _short(word: str) -> str:
    return word if len(word) <= LONGEST else f"{word[: LONGEST - 1]}…"
