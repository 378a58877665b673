"""Utterances → files, as a poor microphone hears them."""

from __future__ import annotations

import math
import wave
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trunkline.demos.espeak import Utterance, synthesize_all

VOICES = ("m1", "m2", "m4", "m5", "m8", "f1", "f4", "f5", "Andy", "whisper")
RATES = range(120, 240)
PITCHES = range(30, 70)

SAMPLES_PER_SECOND = 8000
SIGNAL_TO_NOISE = (0.0, 20.0)  # decibels
LOUDNESS = (0.2, 0.8)  # highest sample, of what a file can hold
SILENCE = 0.03  # of the highest sample


def write_sounds(folder: Path, utterances: Mapping[int, Utterance], rng: np.random.Generator) -> None:
    """A new folder with one wav an utterance, named by its row."""
    folder.mkdir()
    clips, rate = synthesize_all(list(utterances.values()))
    for index, clip in zip(utterances, clips, strict=True):
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
