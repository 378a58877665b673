"""Public data sets by name: where their files lie, and which columns the recipe of the same name reads.

Each takes the folder (or file) as it was published and the folder of the table to come, and gives rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from formats.columns import choose_columns
from formats.paths import relative, require
from formats.sounds import read_sounds

Row = dict[str, Any]


def emoji(source: Path, base: Path) -> Iterator[Row]:
    """A folder with `emoji.csv` and `png/`."""
    names = {"picture": "file", "name": "name_en", "version": "added_in"}
    same = ("category", "subcategory", "has_skin_tones", "split")
    other_names = {f"name_{code}": f"name_{code}" for code in ("de", "fr", "es", "it", "pt", "ru", "tr", "id")}
    table = require(source / "emoji.csv", "the table of emoji")
    for row in choose_columns(table, {**names, **{name: name for name in same}, **other_names}):
        yield {**row, "picture": relative(source / row["picture"], base)}


def reviews(source: Path, base: Path) -> Iterator[Row]:
    """Women's clothing reviews, one CSV file."""
    names = {
        "title": "Title",
        "text": "Review Text",
        "age": "Age",
        "feedback": "Positive Feedback Count",
        "rating": "Rating",
        "recommended": "Recommended IND",
        "division": "Division Name",
        "department": "Department Name",
        "class": "Class Name",
    }
    return choose_columns(source, names)


def census(source: Path, base: Path) -> Iterator[Row]:
    """UCI Adult with a header line, one CSV file."""
    names = (
        "age workclass fnlwgt education educational-num occupation race gender "
        "capital-gain capital-loss hours-per-week native-country income"
    )
    derived = {"never_married": ("marital-status", "Never-married")}
    return choose_columns(source, {name: name for name in names.split()}, derived)


def fsdd(source: Path, base: Path) -> Iterator[Row]:
    """Free Spoken Digit Dataset: `recordings/DIGIT_SPEAKER_TAKE.wav`; takes 0 to 4 test, 5 to 9 validate."""
    for row in read_sounds(source / "recordings", "{digit}_{speaker}_{take}.wav", base):
        take = int(row["take"])
        yield {**row, "split": "test" if take < 5 else "val" if take < 10 else "train"}


SETS: dict[str, Callable[[Path, Path], Iterator[Row]]] = {
    "emoji": emoji,
    "reviews": reviews,
    "census": census,
    "fsdd": fsdd,
}
