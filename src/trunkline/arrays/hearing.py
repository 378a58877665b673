"""Sounds as an encoder hears them, in NumPy.

Shape legend: `n` rows, `S` samples, `T` frames, `M` mel bands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trunkline.arrays.contract import ArrayCells, Arrays, State, padded
from trunkline.arrays.mel import Bands
from trunkline.arrays.sounds import Sound, is_cut, read_sound
from trunkline.contexts import TimeContext


@dataclass(frozen=True)
class SoundCells(ArrayCells):
    """Sounds as log-mel frames.

    Attributes:
        rate: samples a second.
        mels: bands.
        hop: samples from frame to frame.
        window: samples of a frame.
        max_seconds: what comes later is not read; `None`: all is.
        mean_norm: take from each band its mean over the sound.
    """

    reads_files = True

    rate: int
    mels: int
    hop: int
    window: int
    max_seconds: float | None
    mean_norm: bool = False

    def read(self, cell: Any) -> Sound:
        """See `read_sound`."""
        return read_sound(cell, self.rate, _seconds(self.max_seconds))

    def prepare(self, value: Sound, state: State) -> tuple[np.ndarray, TimeContext]:
        """Log-mel frames `[T, M]`, float32, `T = 1 + S // hop`."""
        mel, context = self.frames(value)
        return self.normed(mel), context

    def frames(self, value: Sound) -> tuple[np.ndarray, TimeContext]:
        """The same before means are taken away."""
        mel = Bands(self.rate, self.mels, self.hop, self.window).hear(value.wave)
        is_short = is_cut(value, _seconds(self.max_seconds))
        return mel, TimeContext(value.rate, value.samples, self.hop / self.rate, is_short)

    def normed(self, mel: Any) -> Any:
        """Without the mean of each band, where it is to go: of arrays and of tensors."""
        return mel - mel.mean(0) if self.mean_norm else mel

    def collate(self, items: Sequence[np.ndarray]) -> Arrays:
        """`{"mel": [n, T, M], "length": [n]}`, padded to the longest with zeros that nobody reads."""
        return {"mel": padded(items), "length": np.array([len(item) for item in items])}


@dataclass(frozen=True)
class WaveCells(ArrayCells):
    """Sounds as they are, for networks that others have trained; see `SoundCells`."""

    reads_files = True

    rate: int
    max_seconds: float | None

    def read(self, cell: Any) -> Sound:
        """See `read_sound`."""
        return read_sound(cell, self.rate, _seconds(self.max_seconds))

    def prepare(self, value: Sound, state: State) -> tuple[np.ndarray, TimeContext]:
        """The samples `[S]`."""
        is_short = is_cut(value, _seconds(self.max_seconds))
        return value.wave, TimeContext(value.rate, value.samples, 1 / self.rate, is_short)

    def collate(self, items: Sequence[np.ndarray]) -> Arrays:
        """`{"wave": [n, S], "length": [n]}`, padded to the longest with zeros that nobody reads."""
        return {"wave": padded(items), "length": np.array([len(item) for item in items])}


def _seconds(most: float | None) -> float:
    return math.inf if most is None else most
