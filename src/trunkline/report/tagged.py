"""A sentence with its spans: which of them are right, missed or false."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

Span = tuple[int, int, str]  # first word, the one after the last, kind
RIGHT, MISSED, FALSE, UNKNOWN = "right", "missed", "false", ""


def verdicts(spans: Collection[Span], others: Collection[Span] | None, otherwise: str) -> dict[Span, str]:
    """`right` for each span that the other side has, too, with the same ends and kind.

    Args:
        spans: of one side.
        others: of the other; `None` where there is none to hold them against.
        otherwise: what a span is that the other side lacks.
    """
    if others is None:
        return dict.fromkeys(spans, UNKNOWN)
    return {span: RIGHT if span in others else otherwise for span in spans}


def spans_of(shown: Mapping[str, Any]) -> set[Span]:
    """The spans that the tags say; where they say none, each word that has a tag."""
    if shown.get("spans") is not None:
        return {(start, stop, kind) for start, stop, kind in shown["spans"]}
    return {(i, i + 1, tag) for i, (_, tag) in enumerate(shown["tags"]) if tag}


def sentences(
    said: Mapping[str, Any], true: Mapping[str, Any] | None, colours: Mapping[str, str]
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """What is drawn, and how many spans are right, missed and false.

    Each sentence is `{name, parts [{text, kind, verdict, colour}]}`, kind `None` for plain words. Where all is right
    they are the same, and there is one.
    """
    ours, theirs = spans_of(said), None if true is None else spans_of(true)
    judged = {"said": verdicts(ours, theirs, FALSE)}
    words = [word for word, _ in said["tags"]]
    counts = Counter(judged["said"].values())
    if theirs is not None:
        missed = verdicts(theirs, ours, MISSED)
        counts[MISSED] = sum(verdict == MISSED for verdict in missed.values())
        if counts[MISSED] or counts[FALSE]:
            judged["true"] = missed
    told = {verdict: counts[verdict] for verdict in (RIGHT, MISSED, FALSE)}
    return [{"name": name, "parts": _parts(words, spans, colours)} for name, spans in judged.items()], told


def _parts(words: Sequence[str], spans: Mapping[Span, str], colours: Mapping[str, str]) -> list[dict[str, Any]]:
    """The words in order: those of a span together, those between two spans together."""
    parts, place = [], 0
    for span in sorted(spans):
        start, stop, kind = span
        if place < start:
            parts.append(_part(words[place:start]))
        colour = colours.get(kind, "var(--quiet)")
        parts.append({**_part(words[start:stop]), "kind": kind, "verdict": spans[span], "colour": colour})
        place = stop
    return [*parts, _part(words[place:])] if place < len(words) else parts


def _part(words: Sequence[str]) -> dict[str, Any]:
    return {"text": " ".join(words), "kind": None, "verdict": UNKNOWN, "colour": None}
