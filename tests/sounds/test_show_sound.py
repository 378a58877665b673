"""A sound on a page: to listen to, and drawn: how far its samples reach, and its bands."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import soundfile

from trunkline.showing import SECONDS, WAVE
from trunkline.sounds import show_sound
from trunkline.sounds.mel import SHOWN_BANDS, SHOWN_FRAMES

RATE = 8000


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def test_silence_then_a_low_tone() -> None:
    """Drawn from left to right, deep at the bottom."""
    half = np.zeros(RATE // 2, np.float32)
    tone = (0.05 * np.sin(2 * np.pi * 300 * np.arange(RATE // 2) / RATE)).astype(np.float32)
    shown = show_sound(np.concatenate([half, tone]), RATE)
    assert (shown.kind, shown.text) == ("sound", "1.0 s")
    wave, rate = soundfile.read(io.BytesIO(shown.data))
    assert rate == RATE and abs(len(wave) / rate - 1.0) < 0.15
    picture = pixels(shown.drawing)
    height, width, _ = picture.shape
    assert height == WAVE + SHOWN_BANDS
    bright = picture.sum(2)
    left, right = bright[:, 3 : width // 2 - 5], bright[:, width // 2 + 5 : -3]
    assert left[:3].max() < right[:3].min(), "the samples reach the edge where there is a tone, quiet as it is"
    bands = right[WAVE:].mean(1)
    assert bands.argmax() > 0.75 * SHOWN_BANDS, "300 Hz lies near the bottom"
    assert left[WAVE:].max() < bands.max() / 2


def test_long_and_short_and_silent_sounds_can_be_drawn() -> None:
    long = show_sound(np.random.default_rng(0).standard_normal(20 * RATE).astype(np.float32) / 9, RATE)
    assert long.text == "20.0 s"
    assert pixels(long.drawing).shape[1] <= SHOWN_FRAMES + 1
    wave, rate = soundfile.read(io.BytesIO(long.data))
    assert len(wave) / rate <= SECONDS + 0.2
    slow = show_sound(np.sin(np.arange(90, dtype=np.float32)), 20)  # no millisecond has a sample
    assert 80 < pixels(slow.drawing).shape[1] < 100
    for samples in (1, 100, RATE):
        assert pixels(show_sound(np.zeros(samples, np.float32), RATE).drawing).shape[0] == WAVE + SHOWN_BANDS
