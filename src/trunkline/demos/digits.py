"""Digits seen and heard: a table with holes, made on the spot.

Real handwritten digits (scikit-learn's 1797 pictures of 8 × 8 pixels) beside digits spoken by espeak-ng in four
languages and ten voices. Picture and sound show different digits, and `sum` asks for both together. A third of the
input cells is absent (never both of a row), and so is half of the labels that could be known.

Nothing is downloaded, and the same arguments give the same bytes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from trunkline.demos import folders
from trunkline.demos.espeak import Utterance
from trunkline.demos.extras import load_extra
from trunkline.demos.recording import PITCHES, RATES, VOICES

VERSION = 3  # raise it with every change of what is written: caches are named by it
ROWS = 3600

SPLITS = {"train": 70, "val": 10, "test": 20}  # percent of the rows and of the handwritten digits
INPUTS = ("picture", "sound")
TASKS = ("written", "spoken", "language", "voice", "sum")

HIDDEN = 0.5  # of the labels that could be known

LANGUAGES = ("en", "de", "fr", "es")

INK = 16  # scikit-learn's pictures hold 0 to 16
PIXEL_NOISE = 5.0  # standard deviation, in the same unit
PICTURE_SIZE = 16

CONFIG = """\
data: {table: rows.csv, split: split}
inputs:
  picture: {type: image, size: 16}
  sound: {type: audio, rate: 8000}
tasks:
  written: category
  spoken: category
  language: category
  voice: category
  sum: number
training: {steps: 400, threads: 1, seed: 0}
"""


@dataclass(frozen=True)
class Row:
    """One row as it is planned; `None` is absent.

    Attributes:
        split: `train`, `val` or `test`.
        source: which of scikit-learn's pictures.
        written: the digit on it.
        utterance: what is heard.
    """

    split: str
    source: int | None
    written: int | None
    utterance: Utterance | None

    @property
    def truth(self) -> dict[str, str]:
        """Every label that can be known of this row."""
        labels = {}
        if self.written is not None:
            labels["written"] = str(self.written)
        if self.utterance is not None:
            labels["spoken"] = self.utterance.text
            labels["language"] = self.utterance.voice
            labels["voice"] = self.utterance.variant
        if self.written is not None and self.utterance is not None:
            labels["sum"] = str(self.written + int(self.utterance.text))
        return labels


def cached(*, rows: int = ROWS, seed: int = 0, keep: Path | None = None) -> Path:
    """The config of the table in the user's cache, or of its copy in `keep`; written when it is first asked for."""
    return folders.cached(f"digits-{VERSION}", write, rows=rows, seed=seed, keep=keep)


def write(folder: Path, *, rows: int = ROWS, seed: int = 0) -> Path:
    """Write the table; `rows` is a multiple of 30. See `folders.write_demo`, which also says what may fail."""
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
    """Draw what each row shows: in every split a third has both inputs, a third a picture, a third a sound.

    Raises:
        ValueError: the rows cannot be divided into these parts.
    """
    if rows <= 0 or rows % 30:
        raise ValueError(f"rows={rows}: give a multiple of 30, so that splits and absent cells come out exactly")
    digits = _handwritten().target
    sources = _divide_sources(len(digits), rng)
    utterances = iter(draw_utterances(rows * 2 // 3, rng))
    table = []
    for split, percent in SPLITS.items():
        third = rows * percent // 300
        pictures = itertools.cycle(sources[split].tolist())
        for present in rng.permutation(["both", *INPUTS] * third):
            source = next(pictures) if present != "sound" else None
            written = None if source is None else int(digits[source])
            table.append(Row(split, source, written, next(utterances) if present != "picture" else None))
    return table


def draw_utterances(num: int, rng: np.random.Generator) -> list[Utterance]:
    """Digit, language, voice, speed and pitch, each uniform and independent; no combination twice."""
    shape = (10, len(LANGUAGES), len(VOICES), len(RATES), len(PITCHES))
    drawn = np.unravel_index(rng.choice(math.prod(shape), num, replace=False), shape)
    return [
        Utterance(str(digit), LANGUAGES[language], VOICES[voice], RATES[rate], PITCHES[pitch])
        for digit, language, voice, rate, pitch in zip(*(part.tolist() for part in drawn), strict=True)
    ]


def _divide_sources(num: int, rng: np.random.Generator) -> dict[str, npt.NDArray[np.int64]]:
    """Which handwritten digits a split may show: in no other split, in random order."""
    ends = np.cumsum(list(SPLITS.values())) * num // 100
    return dict(zip(SPLITS, np.split(rng.permutation(num), ends[:-1]), strict=True))


def _cells(index: int, row: Row, labels: dict[str, str]) -> dict[str, str]:
    cells = {"split": row.split, **labels}
    if row.source is not None:
        cells["picture"] = f"pictures/{index:05d}.png"
    if row.utterance is not None:
        cells["sound"] = f"sounds/{index:05d}.wav"
    return cells


def _write_pictures(folder: Path, table: Sequence[Row], rng: np.random.Generator) -> None:
    folder.mkdir()
    pictures = _handwritten().images  # [N, 8, 8]
    for index, row in enumerate(table):
        if row.source is not None:
            Image.fromarray(draw(pictures[row.source], rng)).save(folder / f"{index:05d}.png")


def draw(picture: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A handwritten digit with fresh noise on its pixels, enlarged, as grey values."""
    noisy = np.clip(picture + rng.normal(0, PIXEL_NOISE, picture.shape), 0, INK)
    grey = np.round(noisy * (255 / INK)).astype(np.uint8)
    times = PICTURE_SIZE // len(picture)
    return grey.repeat(times, axis=0).repeat(times, axis=1)


def _handwritten() -> Any:
    """scikit-learn's digits: `images` `[N, 8, 8]`, `target` `[N]`."""
    return load_extra("sklearn.datasets", "scikit-learn").load_digits()
