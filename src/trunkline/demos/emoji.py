"""Emoji drawn, written and spoken in four languages.

A picture, a name in one language, the name spoken in another: OpenMoji's pictures, turned and tinted; names written in
English or German, spoken in these, French or Spanish; the voices of espeak-ng. What an emoji is (`category`,
`subcategory`) can be told from each input alone, with more or less luck; `language` and `voice` only from the sound.
The emoji of the test rows are in no other row. Every combination of inputs is as frequent as any other, so three cells
in seven are absent; and so is a quarter of the labels that could be known.

Nothing is downloaded, and the same arguments give the same bytes.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from trunkline.demos import folders
from trunkline.demos.espeak import Utterance
from trunkline.demos.openmoji import Artist, Emoji, gather
from trunkline.demos.recording import PITCHES, RATES, VOICES

VERSION = 3  # raise it with every change of what is written: caches are named by it
ROWS = 4200

SPLITS = {"train": 70, "val": 10, "test": 20}  # percent of the rows
INPUTS = ("picture", "name", "sound")
PATTERNS = [pattern for count in (1, 2, 3) for pattern in itertools.combinations(INPUTS, count)]
TASKS = ("category", "subcategory", "language", "voice")

HIDDEN = 0.25  # of the labels that could be known

SPOKEN = ("en", "de", "fr", "es")
WRITTEN = ("en", "de")
LONGEST_NAME = 24  # letters, in any of the languages
FEWEST = 6  # emoji of a subcategory

LETTER_SIZE = 96  # pixels of the drawing, before it is made small
PICTURE_SIZE = 48
SCALES = (0.8, 1.0)
DEGREES = (-10.0, 10.0)
GROUND = (225, 256)  # each of red, green, blue

CONFIG = """\
data: {table: rows.csv, split: split}
inputs:
  picture: {type: image, size: 32}
  name: text
  sound: {type: audio, rate: 8000}
tasks:
  category: category
  subcategory: category
  language: category
  voice: category
training: {steps: 400, threads: 1, seed: 0}
"""


@dataclass(frozen=True)
class Row:
    """One row as it is planned; `None` is absent.

    Attributes:
        split: `train`, `val` or `test`.
        emoji: what all of the row's inputs show.
        has_picture: whether it is drawn.
        name: what is written.
        utterance: what is heard.
    """

    split: str
    emoji: Emoji
    has_picture: bool
    name: str | None
    utterance: Utterance | None

    @property
    def truth(self) -> dict[str, str]:
        """Every label that can be known of this row."""
        labels = {"category": self.emoji.category, "subcategory": self.emoji.subcategory}
        if self.utterance is not None:
            labels["language"] = self.utterance.voice
            labels["voice"] = self.utterance.variant
        return labels


def cached(*, rows: int = ROWS, seed: int = 0, keep: Path | None = None) -> Path:
    """The config of the table in the user's cache, or of its copy in `keep`; written when it is first asked for."""
    return folders.cached(f"emoji-{VERSION}", write, rows=rows, seed=seed, keep=keep)


def write(folder: Path, *, rows: int = ROWS, seed: int = 0) -> Path:
    """Write the table; `rows` is a multiple of 70. See `folders.write_demo`, which also says what may fail."""
    return folders.write_demo(
        folder,
        seed=seed,
        plan=partial(plan, rows),
        paint=_write_pictures,
        cells=_cells,
        columns=(INPUTS, TASKS),
        hidden=HIDDEN,
        config=CONFIG,
    )


def plan(rows: int, rng: np.random.Generator) -> list[Row]:
    """Draw what each row shows: in every split each combination of inputs equally often.

    Raises:
        ValueError: the rows cannot be divided into these parts.
    """
    parts = 10 * len(PATTERNS)
    if rows <= 0 or rows % parts:
        raise ValueError(f"rows={rows}: give a multiple of {parts}, so that splits and absent cells come out exactly")
    divided = divide(choose(gather(SPOKEN)), rng)
    table = []
    for split, percent in SPLITS.items():
        shown = itertools.cycle(divided[split])
        patterns = np.arange(len(PATTERNS)).repeat(rows * percent // 100 // len(PATTERNS))
        table += [_draw_row(split, next(shown), PATTERNS[number], rng) for number in rng.permutation(patterns)]
    return table


def choose(emoji: Sequence[Emoji]) -> list[Emoji]:
    """Those that anyone can draw and say quickly, of subcategories with enough of them."""
    short = [one for one in emoji if one.is_single and all(len(name) <= LONGEST_NAME for name in one.names.values())]
    kinds = [one.subcategory for one in short]
    return [one for one in short if kinds.count(one.subcategory) >= FEWEST]


def divide(emoji: Sequence[Emoji], rng: np.random.Generator) -> dict[str, list[Emoji]]:
    """Which emoji a split may show: in no other split, some of every subcategory, in random order."""
    divided: dict[str, list[Emoji]] = {split: [] for split in SPLITS}
    for kind in sorted({one.subcategory for one in emoji}):
        members = [one for one in emoji if one.subcategory == kind]
        order = [members[number] for number in rng.permutation(len(members))]
        start = 0
        for split in ("val", "test"):
            num = max(1, round(len(members) * SPLITS[split] / 100))
            divided[split] += order[start : start + num]
            start += num
        divided["train"] += order[start:]
    return {split: [ones[number] for number in rng.permutation(len(ones))] for split, ones in divided.items()}


def _draw_row(split: str, emoji: Emoji, inputs: Sequence[str], rng: np.random.Generator) -> Row:
    """Written in one language, spoken in another."""
    spoken = SPOKEN[rng.integers(len(SPOKEN))]
    others = [language for language in WRITTEN if language != spoken]
    written = others[rng.integers(len(others))]
    voice, rate, pitch = (int(rng.integers(len(values))) for values in (VOICES, RATES, PITCHES))
    said = _without_asides(emoji.names[spoken])
    utterance = Utterance(said, spoken, VOICES[voice], RATES[rate], PITCHES[pitch])
    return Row(
        split,
        emoji,
        "picture" in inputs,
        emoji.names[written] if "name" in inputs else None,
        utterance if "sound" in inputs else None,
    )


def _without_asides(name: str) -> str:
    """`polizist(in)` → `polizist`: nobody says the brackets."""
    return re.sub(r"\s*\(.*?\)", "", name)


def _cells(index: int, row: Row, labels: dict[str, str]) -> dict[str, str]:
    cells = {"split": row.split, **labels}
    if row.has_picture:
        cells["picture"] = f"pictures/{index:05d}.png"
    if row.name is not None:
        cells["name"] = row.name
    if row.utterance is not None:
        cells["sound"] = f"sounds/{index:05d}.wav"
    return cells


def _write_pictures(folder: Path, table: Sequence[Row], rng: np.random.Generator) -> None:
    folder.mkdir()
    artist = Artist(LETTER_SIZE)
    for index, row in enumerate(table):
        if row.has_picture:
            paint(artist.draw(row.emoji), rng).save(folder / f"{index:05d}.png")


def paint(emoji: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The emoji turned, smaller or larger, anywhere on a ground of some pale colour."""
    side = round(PICTURE_SIZE * rng.uniform(*SCALES))
    turned = emoji.rotate(rng.uniform(*DEGREES), Image.Resampling.BICUBIC, fillcolor=(255, 255, 255, 0))
    small = turned.resize((side, side), Image.Resampling.LANCZOS)
    picture = Image.new("RGB", (PICTURE_SIZE, PICTURE_SIZE), tuple(rng.integers(*GROUND, 3).tolist()))
    left, top = rng.integers(0, PICTURE_SIZE - side + 1, 2).tolist()
    picture.paste(small, (left, top), small)
    return picture
