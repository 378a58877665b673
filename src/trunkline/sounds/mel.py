"""The log-mel spectrum of a sound.

Shape legend: `S` samples, `T` frames, `M` mel bands.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trunkline.arrays.mel import RANGE, Bands
from trunkline.showing import SECONDS, Shown, shown_sound
from trunkline.types import State

SHOWN_MS, SHOWN_BANDS, SHOWN_FRAMES = 8.0, 48, 240  # of the picture of a sound; no more frames than it is wide
FRAMES = 512  # that are looked at of a sound, to learn what is usual


def thin(mel: Tensor) -> Tensor:
    """Evenly spaced frames, at most `FRAMES`."""
    return mel[:: math.ceil(len(mel) / FRAMES)]


@dataclass(frozen=True)
class Spectrum(Bands):
    """How sounds become log-mel frames, as tensors."""

    @staticmethod
    def faults(rate: int, mels: int, hop_ms: float, window_ms: float, *, overlap: int = 1) -> list[str]:
        """What is wrong with these; `overlap`: frames that must see each sample, at least."""
        hop, window = hop_ms * max(1, rate) / 1000, window_ms * max(1, rate) / 1000
        most = f"window_ms={window_ms:g}" if overlap == 1 else f"window_ms={window_ms:g} by {overlap}"
        found = {
            f"rate={rate}: more than 0": rate <= 0,
            f"mels={mels}: at least 1": mels < 1,
            f"hop_ms={hop_ms:g}: a sample at least, and at most {most}": not 1 <= hop <= window / overlap,
        }
        return [fault for fault, is_so in found.items() if is_so]

    def frames(self, wave: Tensor) -> Tensor:
        """`[S]` → `[1 + S // hop, M]`; see `Bands.hear`."""
        return torch.from_numpy(self.hear(wave.numpy()))

    def fit(self, sounds: Iterable[Tensor]) -> State:
        """`{"mean", "std"}` of each band over the frames of sounds, each `[T, M]`."""
        frames = [thin(sound).double() for sound in sounds]
        if len(frames) == 0:
            return {"mean": [-RANGE / 2] * self.mels, "std": [RANGE / 4] * self.mels}
        std, mean = torch.std_mean(torch.cat(frames), dim=0, correction=0)
        return {"mean": mean.tolist(), "std": torch.where(std > 1e-6, std, 1.0).tolist()}


def show_sound(wave: np.ndarray, rate: int) -> Shown:
    """`wave [S]` from -1 to 1 to listen to and to look at, with its log-mel bands."""
    seen = torch.from_numpy(wave[: int(SECONDS * rate)])
    long = max(SHOWN_MS, 1000 / rate, 1000 * len(seen) / rate / SHOWN_FRAMES)  # a sample at least
    frames = Spectrum.of(rate, SHOWN_BANDS, long, max(4 * SHOWN_MS, 4000 / rate)).frames(seen)
    return shown_sound(wave, rate, (1 + frames / RANGE).numpy())
