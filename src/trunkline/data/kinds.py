"""Texts, lists, dates, files: what kind of thing the cells of a column are."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from trunkline.cells import parse_json
from trunkline.data.counts import SAMPLE, Counts
from trunkline.data.description import Description, Kind
from trunkline.data.graphs import as_graphs, as_molecules
from trunkline.data.numerals import ALWAYS_ABSENT, is_truth
from trunkline.files import is_plain_file

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})
SOUNDS = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".opus"})
NEARLY_ALL = 0.95
_DATE = re.compile(
    r"(?:\d{4}-\d{2}-\d{2}|\d{1,2}([./])\d{1,2}\1\d{4})"
    r"(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?"
)
_TAG = re.compile(r"O|[BIESLU]-\S+")
_CODE = re.compile(r"\S*\d\S*|[0-9a-f-]{32,36}")


def texts_as(name: str, counts: Counts, base: Path | None) -> Description:
    """Distinct texts and how often each occurs → what they are."""
    assert counts.counts is not None
    found = (
        _truths(counts)
        or _files(counts, base)
        or as_graphs(_spread(counts.texts))
        or as_molecules(name, _spread(counts.texts))
        or _listed(counts)
        or _dates(counts)
        or _tags(counts)
        or _separated(counts)
        or _words(name, counts)
    )
    absent = tuple(text for text in counts.texts if text.lower() in ALWAYS_ABSENT)
    return replace(found, na=absent) if absent else found


def objects_as(sample: Sequence[Any]) -> Description:
    """Cells that are no plain values: pictures and sounds in memory, lists, objects."""
    cell = sample[0]
    if isinstance(cell, Mapping) and "bytes" in cell and "path" in cell:
        return _file_in_cell(cell)
    if isinstance(cell, Mapping) and "nodes" in cell:
        return Description("graph", "objects with nodes")
    if isinstance(cell, Mapping) and "array" in cell:
        return Description("audio", "samples of a sound")
    if isinstance(cell, np.ndarray) and cell.ndim in (2, 3):
        return Description("image", f"arrays of shape {list(cell.shape)}")
    if hasattr(cell, "getpixel"):
        return Description("image", "pictures in memory")
    if isinstance(cell, tuple) and len(cell) == 2 and np.ndim(cell[0]) > 0:
        return Description("audio", "samples and their rate")
    if all(isinstance(cell, list | tuple | np.ndarray) for cell in sample):
        return _lists([list(cell) for cell in sample], "")
    kinds = sorted({type(cell).__name__ for cell in sample})
    return Description("unknown", f"cells of type {', '.join(kinds)}, which say nothing by themselves")


def _truths(counts: Counts) -> Description | None:
    texts = [text for text in counts.texts if text.lower() not in ALWAYS_ABSENT]
    if not is_truth(texts):
        return None
    return Description("binary", f"every cell is a yes or a no: {', '.join(map(repr, sorted(texts)[:6]))}")


def _files(counts: Counts, base: Path | None) -> Description | None:
    """Paths of pictures or sounds, where some of them are there."""
    texts = _spread(counts.texts)
    files: tuple[tuple[Kind, Collection[str], str], ...] = (
        ("image", PICTURES, "pictures"),
        ("audio", SOUNDS, "sounds"),
    )
    for kind, endings, what in files:
        paths = [text for text in texts if Path(text).suffix.lower() in endings]
        if len(paths) < 0.8 * len(texts):
            continue
        gone = [path for path in paths if not is_plain_file((base or Path()) / path)]
        where = f"in {base}" if base else "here"
        if len(gone) == len(paths):
            kept = texts_as_words(counts)
            return replace(kept, mess=(f"cells look like paths of {what}, but there is no {gone[0]!r} {where}",))
        mess = [f"about {len(gone) / len(texts):.1%} of the files are not there, such as {gone[0]!r}"] if gone else []
        if len(paths) < len(texts):
            other = next(text for text in texts if Path(text).suffix.lower() not in endings)
            mess.append(f"about {1 - len(paths) / len(texts):.1%} of the cells are no path of one, such as {other!r}")
        return Description(kind, f"paths of {what} that are there", mess=tuple(mess))
    return None


def texts_as_words(counts: Counts) -> Description:
    """Text that is nothing else."""
    assert counts.counts is not None
    words = _mean(counts, lambda text: len(text.split()))
    return Description("text", f"{counts.distinct} different texts of {words:.1f} words on average")


def _listed(counts: Counts) -> Description | None:
    """JSON lists written as text."""
    texts = _spread(counts.texts)
    if sum(text.startswith("[") and text.endswith("]") for text in texts) < NEARLY_ALL * len(texts):
        return None
    values, broken = [], []
    for text in texts:
        try:
            values.append(parse_json(text))
        except ValueError:
            broken.append(text)
    if len(values) < NEARLY_ALL * len(texts):
        return None
    found = _lists([v for v in values if isinstance(v, list)], "JSON ")
    return replace(found, mess=(f"a list that is no JSON: {broken[0][:40]!r}",)) if broken else found


def _lists(values: Sequence[Sequence[Any]], how: str) -> Description:
    items = [item for value in values for item in value]
    if items and all(isinstance(item, int | float | np.number) and not isinstance(item, bool) for item in items):
        lengths = {len(value) for value in values}
        if len(lengths) == 1:
            return Description("vector", f"{how}lists of {lengths.pop()} numbers")
        return Description("unknown", f"{how}lists of numbers of different lengths ({min(lengths)} to {max(lengths)})")
    if items and all(isinstance(item, str) for item in items):
        if _are_tags(items):
            return Description("tags", f"{how}lists of one tag a word, such as {_first_tag(items)!r}")
        return Description("labels", f"{how}lists of names, {len(set(items))} of them different")
    if not items:
        return Description("unknown", f"{how}lists, all of them empty")
    if all(isinstance(item, Mapping) and item.keys() >= {"box", "label"} for item in items):
        names = {str(item["label"]) for item in items}
        return Description("boxes", f"{how}lists of boxes with names, {len(names)} of them different")
    if all(isinstance(item, list | tuple) and item and isinstance(item[0], int | float) for item in items):
        return Description("vector", f"{how}lists of lists of numbers")
    return Description("unknown", f"{how}lists of {type(items[0]).__name__}")


def _dates(counts: Counts) -> Description | None:
    texts = _spread(counts.texts)
    if sum(_DATE.fullmatch(text) is not None for text in texts) < NEARLY_ALL * len(texts):
        return None
    if all(text[4:5] == "-" for text in texts):  # year first: they sort as they are written
        return Description("date", f"dates from {min(counts.texts)} to {max(counts.texts)}")
    return Description("date", f"dates, such as {texts[0]!r}")


def _tags(counts: Counts) -> Description | None:
    words = [word for text in _spread(counts.texts) for word in text.split()]
    if not _are_tags(words):
        return None
    return Description("tags", f"one tag a word, such as {_first_tag(words)!r}")


def _are_tags(words: Sequence[str]) -> bool:
    # Words outside of every span are what tells tags from codes such as B-0815.
    return {"O"} < set(words) and all(_TAG.fullmatch(word) for word in words)


def _first_tag(words: Sequence[str]) -> str:
    return next(word for word in words if word != "O")


def _separated(counts: Counts) -> Description | None:
    """Lists of names with a separator between them."""
    texts = _spread(counts.texts)
    for separator in ("|", ";", ","):
        split = [[part.strip() for part in text.split(separator) if part.strip()] for text in texts]
        several = sum(len(parts) > 1 for parts in split)
        parts = [part for row in split for part in row]
        names = set(parts)
        if several < 0.2 * len(texts) or any(len(part.split()) > 3 for part in names):
            continue
        is_few = len(names) <= max(2, 0.5 * len(texts)) and len(names) <= 0.2 * _total(counts) + 2
        if is_few or (separator == "|" and len(names) <= 0.5 * len(parts)):
            options = {} if separator == "|" else {"separator": separator}
            return Description(
                "labels", f"names with {separator!r} between them, {len(names)} different", options=options
            )
    return None


def _words(name: str, counts: Counts) -> Description:
    """A constant, categories, identifiers or text: by how often texts come again, and how many words they have."""
    present, distinct = _total(counts), counts.distinct
    if distinct == 1:
        return Description("constant", f"every cell is {counts.texts[0][:40]!r}")
    words = _mean(counts, lambda text: len(text.split()))
    rows_each = present / distinct
    is_few = distinct <= 50 and rows_each >= 2 and words <= 4
    if is_few or (distinct == 2 and present > 2) or (rows_each >= 5 and words <= 5):
        return Description("category", f"{distinct} names, each on {rows_each:.0f} rows on average")
    is_code = _share(counts, lambda text: _CODE.fullmatch(text) is not None) >= NEARLY_ALL
    if is_code and distinct >= 0.95 * present and present >= 20:
        return Description("identifier", f"codes of one word with digits, {distinct} of {present} different")
    if rows_each >= 2 and words <= 1.5:
        return Description("category", f"{distinct} names of one word, each on {rows_each:.1f} rows on average")
    return texts_as_words(counts)


def _file_in_cell(cell: Mapping[str, Any]) -> Description:
    ending = Path(cell["path"] or "").suffix.lower()
    start = bytes(cell["bytes"] or b"")[:4]
    kind: Kind = "audio" if ending in SOUNDS or start in (b"RIFF", b"fLaC", b"OggS") or start[:3] == b"ID3" else "image"
    return Description(kind, f"the bytes of a {'sound' if kind == 'audio' else 'picture'}")


def _total(counts: Counts) -> int:
    assert counts.counts is not None
    return int(counts.counts.sum())


def _spread(texts: Sequence[str]) -> list[str]:
    """At most `SAMPLE` of the texts, evenly spaced."""
    places = np.linspace(0, len(texts) - 1, min(len(texts), SAMPLE)).astype(int)
    return [texts[int(place)] for place in places]


def _mean(counts: Counts, measure: Any) -> float:
    texts = _spread(counts.texts)
    return sum(measure(text) for text in texts) / len(texts)


def _share(counts: Counts, holds: Any) -> float:
    return _mean(counts, holds)
