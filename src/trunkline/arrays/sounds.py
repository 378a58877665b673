"""Sounds out of files and out of memory.

Shape legend: `S` samples.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from trunkline.errors import DataError, brief
from trunkline.files import is_plain_file

if TYPE_CHECKING:
    import soundfile

RATE = 16000  # samples a second, at most, where nothing else is said
SLOWEST, FASTEST = 10, 10_000_000  # samples a second that anything has
LONGEST = 2**30  # samples of a sound at the rate that is wanted: 18 hours at 16 000 a second, 4 GB
BLOCK = 2**20  # samples read at a time
EMPTY = "the sound is empty: it has no samples"


class Sound(NamedTuple):
    """One channel of sound: `wave [S]`, float32, at the modality's rate; rate and length as they were in the cell."""

    wave: np.ndarray
    rate: int
    samples: int


def read_sound(cell: Any, rate: int, max_seconds: float) -> Sound:
    """All channels mixed to one, resampled.

    Args:
        cell: a path (wav, flac, ogg, mp3 …), or `(samples [S] or [S, channels], rate)`; samples are floats from -1
            to 1, or arrays of int16 or int32.
        rate: samples a second that are wanted.
        max_seconds: what comes later is not read; infinity for all.

    Raises:
        DataError: the file or the samples are no sound, or are damaged, or there is no room for it at that rate.
    """
    if isinstance(cell, (str, Path, io.BytesIO)):
        wave, own_rate, samples = read_file(cell, max_seconds)
    elif isinstance(cell, (tuple, list)) and len(cell) == 2:
        wave, own_rate, samples = read_samples(cell[0], cell[1], max_seconds)
    else:
        raise DataError(f"{brief(cell)} is not a sound; give a path, or samples and their rate")
    if len(wave) == 0:
        raise DataError(EMPTY)
    if not np.isfinite(wave).all():
        raise DataError("the sound has samples that are NaN or infinite")
    if len(wave) / own_rate * rate > LONGEST:
        raise DataError(f"{len(wave) / own_rate:.0f} seconds of sound are too many for {rate} samples a second")
    import soxr

    resampled = soxr.resample(wave.mean(1), own_rate, rate)
    if len(resampled) == 0:
        raise DataError(f"the sound is too short: of {len(wave)} samples, {own_rate} a second, none is left at {rate}")
    return Sound(resampled, own_rate, samples)


def is_cut(sound: Sound, max_seconds: float) -> bool:
    """Whether it goes on behind the seconds that were read."""
    return max_seconds != math.inf and sound.samples > math.ceil(max_seconds * sound.rate)


def choose_rate(sample: Sequence[Sound]) -> tuple[int, str]:
    """Samples a second that most sounds have, or `RATE`, whatever is less; and why."""
    rates = Counter(min(RATE, sound.rate) for sound in sample)
    rate, count = rates.most_common(1)[0] if sample else (RATE, 0)
    return rate, f"{count} of {len(sample)} sounds have it, or more: {RATE} are enough for speech"


def check_sound(cell: Any) -> float:
    """Opens a file without decoding its samples; how long it is, in seconds.

    Raises:
        DataError: it is no sound.
    """
    if isinstance(cell, (str, Path, io.BytesIO)):
        _, rate, samples = read_file(cell, 0.0)
        if samples == 0:
            raise DataError(EMPTY)
        return samples / rate
    sound = read_sound(cell, RATE, math.inf)
    return sound.samples / sound.rate


def read_file(path: str | Path | io.BytesIO, max_seconds: float) -> tuple[np.ndarray, int, int]:
    """A sound file's first seconds, `[S, channels]` float32, its rate and its whole length in samples.

    Raises:
        DataError: there is no such file, or it is no sound, or damaged.
    """
    import soundfile

    name = "the sound" if isinstance(path, io.BytesIO) else path
    if not isinstance(path, io.BytesIO) and not is_plain_file(path):
        raise DataError(f"there is no file {path}")
    try:
        with soundfile.SoundFile(path) as file:
            _check_rate(file.samplerate)
            most = math.inf if max_seconds == math.inf else math.ceil(max_seconds * file.samplerate)
            return _read_blocks(file, most), file.samplerate, file.frames
    except soundfile.SoundFileError as error:
        why = getattr(error, "error_string", error)  # without the address of what is in memory
        raise DataError(f"{name} cannot be read as a sound: {why}") from error


def _read_blocks(file: soundfile.SoundFile, most: float) -> np.ndarray:
    """At most so many samples, `[S, channels]`. A header may promise more than there is: no room is made for that."""
    blocks = [np.zeros((0, file.channels), np.float32)]
    while most > 0 and len(block := file.read(int(min(most, BLOCK)), dtype="float32", always_2d=True)):
        blocks.append(block)
        most -= len(block)
    return np.concatenate(blocks)


def read_samples(samples: Any, rate: Any, max_seconds: float) -> tuple[np.ndarray, int, int]:
    """The same from samples in memory; int16 and int32 are scaled to ±1.

    Raises:
        DataError: they have no shape or type of sound.
    """
    try:
        wave = np.asarray(samples)
    except ValueError as error:  # lists of different lengths
        raise DataError(f"samples are a list of numbers, or of lists of one length: {error}") from error
    wave = wave[:, None] if wave.ndim == 1 else wave
    if wave.ndim != 2 or wave.dtype.str[1:] not in ("f2", "f4", "f8", "i2", "i4"):
        raise DataError(
            f"samples of {wave.dtype}, shape {list(wave.shape)}; "
            "give floats in [-1, 1], or an array of int16 or int32, [samples] or [samples, channels]"
        )
    _check_rate(rate)
    scale = np.float32(-np.iinfo(wave.dtype).min if wave.dtype.kind == "i" else 1)
    most = None if max_seconds == math.inf else math.ceil(max_seconds * rate)
    return wave[:most].astype(np.float32) / scale, int(rate), len(wave)


def _check_rate(rate: Any) -> None:
    if not isinstance(rate, (int, float, np.integer, np.floating)) or not SLOWEST <= rate <= FASTEST:
        raise DataError(f"{rate!r} is not a sample rate; sounds have {SLOWEST} to {FASTEST} samples a second")
