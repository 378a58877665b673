"""The set `emoji` from packages of the extra `demo`: `python recipes/draw_emoji.py FOLDER`.

Writes `png/*.png` (72 × 72 pixels) and `emoji.csv`: what each emoji is, its names in nine languages, and a split.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from trunkline.data import split_by_share, write_rows
from trunkline.demos.folders import whole_or_not_at_all
from trunkline.demos.openmoji import Artist, Emoji, gather
from trunkline.errors import TrunklineError

LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "ru", "tr", "id")
LETTER_SIZE = 54
SHARES = {"val": 0.15, "test": 0.15}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line.

    Returns:
        0, or 1 where something was wrong, which is said on stderr.
    """
    parser = argparse.ArgumentParser(prog="draw_emoji.py", description="Emoji, drawn and named, from packages.")
    parser.add_argument("folder", type=Path, help="a folder that is new or empty")
    folder = parser.parse_args(arguments).folder
    try:
        emoji = gather(LANGUAGES)
        with whole_or_not_at_all(folder) as draft:
            write_rows(draft / "emoji.csv", draw(emoji, draft))
    except TrunklineError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(emoji)} emoji drawn in {folder}")
    return 0


def draw(emoji: Sequence[Emoji], folder: Path) -> Iterator[dict[str, str | int]]:
    """Draw each, and say what it is."""
    (folder / "png").mkdir()
    artist = Artist(LETTER_SIZE)
    for one, split in zip(emoji, divide([one.subcategory for one in emoji])):
        file = "png/" + "-".join(f"{ord(character):04x}" for character in one.text) + ".png"
        artist.draw(one).save(folder / file)
        yield {
            "file": file,
            "emoji": one.text,
            "category": one.category,
            "subcategory": one.subcategory,
            "added_in": one.added_in,
            "has_skin_tones": int(one.has_skin_tones),
            **{f"name_{language}": one.names[language] for language in LANGUAGES},
            "split": split,
        }


def divide(kinds: Sequence[str], seed: int = 0) -> list[str]:
    """A split for each, every kind in proportion."""
    _, held = split_by_share(len(kinds), list(SHARES.values()), labels=kinds, seed=seed)
    splits = np.full(len(kinds), "train", dtype=object)
    for name, rows in zip(SHARES, held):
        splits[rows] = name
    return splits.tolist()


if __name__ == "__main__":
    sys.exit(main())
