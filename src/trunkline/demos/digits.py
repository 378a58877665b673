"""Digits seen and heard: a table with holes, made on the spot.

Real handwritten digits (scikit-learn's 1797 pictures of 8 × 8 pixels) beside digits spoken by espeak-ng in four
languages and ten voices. Picture and sound show different digits, and `sum` asks for both together. A third of the
input cells is absent (never both of a row), and so is half of the labels that could be known.

Nothing is downloaded, and the same arguments give the same bytes.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import math
import os
import shutil
import tempfile
import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from trunkline.demos.espeak import Utterance, load_extra, synthesize_all
from trunkline.errors import ConfigError

VERSION = 3  # raise it with every change of what is written: caches are named by it
ROWS = 3600

SPLITS = {"train": 70, "val": 10, "test": 20}  # percent of the rows and of the handwritten digits
INPUTS = ("picture", "sound")
TASKS = ("written", "spoken", "language", "voice", "sum")

LANGUAGES = ("en", "de", "fr", "es")
VOICES = ("m1", "m2", "m4", "m5", "m8", "f1", "f4", "f5", "Andy", "whisper")
RATES = range(120, 240)
PITCHES = range(30, 70)

INK = 16  # scikit-learn's pictures hold 0 to 16
PIXEL_NOISE = 5.0  # standard deviation, in the same unit
PICTURE_SIZE = 16

SAMPLES_PER_SECOND = 8000
SIGNAL_TO_NOISE = (0.0, 20.0)  # decibels
LOUDNESS = (0.2, 0.8)  # highest sample, of what a file can hold
SILENCE = 0.03  # of the highest sample

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
    """The table from the user's cache, where it is written the first time it is asked for.

    Args:
        rows: how many rows, a multiple of 30.
        seed: another seed, another table.
        keep: a new folder to copy the table to.

    Returns:
        The path of the config, in `keep` where that is given, else in the cache
        (`$XDG_CACHE_HOME/trunkline` or `~/.cache/trunkline`).
    """
    parameters = hashlib.sha256(f"rows={rows} seed={seed}".encode()).hexdigest()[:12]
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = caches / "trunkline" / f"digits-{VERSION}-{parameters}"
    if not folder.is_dir():
        try:
            write(folder, rows=rows, seed=seed)
        except ConfigError:
            if not folder.is_dir():  # else another process was first, with the same bytes
                raise
    if keep is None:
        return folder / "config.yaml"
    with _whole_or_not_at_all(keep) as draft:
        shutil.copytree(folder, draft, dirs_exist_ok=True)
    return keep / "config.yaml"


def write(folder: Path, *, rows: int = ROWS, seed: int = 0) -> Path:
    """Write `config.yaml`, `rows.csv`, `pictures/*.png` and `sounds/*.wav`; the folder appears only when complete.

    Args:
        folder: does not exist yet, or is empty.
        rows: how many rows, a multiple of 30.
        seed: another seed, another table.

    Returns:
        The path of the config.

    Raises:
        ConfigError: a package of the extra `demo` is missing, or the folder is not empty.
        ValueError: the rows cannot be divided.
    """
    with _whole_or_not_at_all(folder) as draft:
        planning, hiding, drawing, speaking = np.random.default_rng(seed).spawn(4)
        table = plan(rows, planning)
        _write_pictures(draft / "pictures", table, drawing)
        _write_sounds(draft / "sounds", table, speaking)
        _write_table(draft / "rows.csv", table, hide_half(table, hiding))
        (draft / "config.yaml").write_bytes(CONFIG.encode())
    return folder / "config.yaml"


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


def hide_half(table: Sequence[Row], rng: np.random.Generator) -> list[dict[str, str]]:
    """The labels that are told: of each task, in each split, half of what can be known, drawn for itself."""
    told = [dict(row.truth) for row in table]
    for split, task in itertools.product(SPLITS, TASKS):
        known = [index for index, row in enumerate(table) if row.split == split and task in row.truth]
        for index in rng.choice(known, len(known) // 2, replace=False):
            del told[index][task]
    return told


def _divide_sources(num: int, rng: np.random.Generator) -> dict[str, npt.NDArray[np.int64]]:
    """Which handwritten digits a split may show: in no other split, in random order."""
    ends = np.cumsum(list(SPLITS.values())) * num // 100
    return dict(zip(SPLITS, np.split(rng.permutation(num), ends[:-1]), strict=True))


def _write_table(path: Path, table: Sequence[Row], told: Sequence[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["split", *INPUTS, *TASKS], restval="", lineterminator="\n")
        writer.writeheader()
        for index, (row, labels) in enumerate(zip(table, told, strict=True)):
            cells = {"split": row.split, **labels}
            if row.source is not None:
                cells["picture"] = f"pictures/{index:05d}.png"
            if row.utterance is not None:
                cells["sound"] = f"sounds/{index:05d}.wav"
            writer.writerow(cells)


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


def _write_sounds(folder: Path, table: Sequence[Row], rng: np.random.Generator) -> None:
    folder.mkdir()
    spoken = [(index, row.utterance) for index, row in enumerate(table) if row.utterance is not None]
    clips, rate = synthesize_all([utterance for _, utterance in spoken])
    for (index, _), clip in zip(spoken, clips, strict=True):
        with wave.open(str(folder / f"{index:05d}.wav"), "wb") as file:
            file.setparams((1, 2, SAMPLES_PER_SECOND, 0, "NONE", ""))
            file.writeframes(record(clip, rate, rng).tobytes())


def record(clip: npt.NDArray[np.int16], rate: int, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """A clip as a poor microphone hears it: no silence around it, a low sampling rate, noise, any loudness."""
    sound = _resample(_trim(clip.astype(np.float64)), rate, SAMPLES_PER_SECOND)
    loudness = np.sqrt(np.mean(sound**2))
    sound += rng.normal(0, loudness * 10 ** (-rng.uniform(*SIGNAL_TO_NOISE) / 20), sound.shape)
    sound *= rng.uniform(*LOUDNESS) / np.abs(sound).max()
    return np.round(sound * np.iinfo(np.int16).max).astype("<i2")


def _trim(sound: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    loud = np.flatnonzero(np.abs(sound) > SILENCE * np.abs(sound).max())
    return sound[loud[0] : loud[-1] + 1]


def _resample(sound: npt.NDArray[np.float64], old: int, new: int) -> npt.NDArray[np.float64]:
    """Cut the spectrum off at the new band; zeros at the end make both lengths whole."""
    step = old // math.gcd(old, new)
    sound = np.pad(sound, (0, -len(sound) % step))
    num = len(sound) * new // old
    return np.fft.irfft(np.fft.rfft(sound)[: num // 2 + 1], num) * (new / old)


def _handwritten() -> Any:
    """scikit-learn's digits: `images` `[N, 8, 8]`, `target` `[N]`."""
    return load_extra("sklearn.datasets", "scikit-learn").load_digits()


@contextmanager
def _whole_or_not_at_all(folder: Path) -> Iterator[Path]:
    """A draft that takes the folder's place when everything in it is written."""
    _check_empty(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as parent:
        draft = Path(parent) / folder.name
        draft.mkdir()
        yield draft
        _check_empty(folder)
        if folder.exists():  # an empty folder gives way to a full one on some systems only
            folder.rmdir()
        draft.rename(folder)


def _check_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not empty: give a folder that is new or empty")
