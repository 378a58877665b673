"""The log-mel spectrum of a sound.

Shape legend: `S` samples, `T` frames, `M` mel bands.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trunkline.showing import SECONDS, Shown, shown_sound
from trunkline.types import State

FLOOR = 1e-10  # least power of a band
SILENCE = -10.0  # its logarithm
RANGE = 8.0  # powers of ten kept below a sound's loudest band (80 dB)
QUIET = -3.0  # log10 power under which the loudest band is noise (about -65 dB of full scale), not to be amplified
SHOWN_MS, SHOWN_BANDS, SHOWN_FRAMES = 8.0, 48, 240  # of the picture of a sound; no more frames than it is wide
FRAMES = 512  # that are looked at of a sound, to learn what is usual


def band_edges(mels: int, rate: int) -> np.ndarray:
    """Where triangles begin, peak and end, in hertz, `[M + 2]`: the first begins at 0, each next at the last's peak.

    They are even on O'Shaughnessy's (1987) mel scale, as in HTK: `mel(f) = 2595 log10(1 + f / 700)`.
    """
    edges = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), mels + 2)
    return 700 * (10 ** (edges / 2595) - 1)


@functools.cache
def mel_filters(mels: int, bins: int, rate: int) -> Tensor:
    """Triangles of height 1 from 0 Hz to half the rate, `[bins, M]`; see `band_edges`."""
    hertz = band_edges(mels, rate)
    distance = hertz[None] - np.linspace(0, rate / 2, bins)[:, None]  # [bins, M + 2]
    rising = -distance[:, :-2] / np.diff(hertz)[:-1]
    falling = distance[:, 2:] / np.diff(hertz)[1:]
    return torch.from_numpy(np.maximum(0, np.minimum(rising, falling))).float()


@functools.cache
def hann_window(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Of one kind they are all the same, and making one takes as long as a short sound's spectrum."""
    with torch.inference_mode(False):
        return torch.hann_window(size, dtype=dtype, device=device)


def log_mel(wave: Tensor, *, rate: int, mels: int, hop: int, window: int) -> Tensor:
    """`log10` of the power in each mel band, `[S]` → `[1 + S // hop, M]`.

    Frame `t` looks at the `window` samples around sample `t·hop` through a Hann window; beyond the ends is silence.
    """
    hann = hann_window(window, wave.dtype, wave.device)
    spectrum = torch.stft(wave, window, hop, window=hann, pad_mode="constant", return_complex=True)  # [bins, T]
    power = spectrum.real.square() + spectrum.imag.square()
    return (power.T @ mel_filters(mels, power.shape[0], rate).to(power)).clamp(min=FLOOR).log10()


def relative(mel: Tensor) -> Tensor:
    """Log-mel frames relative to the loudest band of the sound: from `-RANGE` to 0; silence is all -7."""
    return (mel - mel.max().clamp(min=QUIET)).clamp(min=-RANGE)


def thin(mel: Tensor) -> Tensor:
    """Evenly spaced frames, at most `FRAMES`."""
    return mel[:: math.ceil(len(mel) / FRAMES)]


@dataclass(frozen=True)
class Spectrum:
    """How sounds become log-mel frames: samples a second, bands, samples from frame to frame and of one frame."""

    rate: int
    mels: int
    hop: int
    window: int

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

    @classmethod
    def of(cls, rate: int, mels: int, hop_ms: float, window_ms: float) -> Spectrum:
        """The same from milliseconds."""
        return cls(rate, mels, round(rate * hop_ms / 1000), round(rate * window_ms / 1000))

    def frames(self, wave: Tensor) -> Tensor:
        """`[S]` → `[1 + S // hop, M]`, relative to the loudest band: how loud it was recorded does not matter."""
        return relative(log_mel(wave, rate=self.rate, mels=self.mels, hop=self.hop, window=self.window))

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
