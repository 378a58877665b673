"""The log-mel spectrum of a sound, in NumPy.

Shape legend: `S` samples, `T` frames, `M` mel bands, `F` bins of a spectrum.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Self

import numpy as np

FLOOR = 1e-10  # least power of a band
SILENCE = -10.0  # its logarithm
RANGE = 8.0  # powers of ten kept below a sound's loudest band (80 dB)
QUIET = -3.0  # log10 power under which the loudest band is noise (about -65 dB of full scale), not to be amplified


def band_edges(mels: int, rate: int) -> np.ndarray:
    """Where triangles begin, peak and end, in hertz, `[M + 2]`: the first begins at 0, each next at the last's peak.

    They are even on O'Shaughnessy's (1987) mel scale, as in HTK: `mel(f) = 2595 log10(1 + f / 700)`.
    """
    edges = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), mels + 2)
    return 700 * (10 ** (edges / 2595) - 1)


@functools.cache
def mel_filters(mels: int, bins: int, rate: int) -> np.ndarray:
    """Triangles of height 1 from 0 Hz to half the rate, `[F, M]` float32; see `band_edges`."""
    hertz = band_edges(mels, rate)
    distance = hertz[None] - np.linspace(0, rate / 2, bins)[:, None]  # [F, M + 2]
    rising = -distance[:, :-2] / np.diff(hertz)[:-1]
    falling = distance[:, 2:] / np.diff(hertz)[1:]
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


@functools.cache
def hann_window(size: int) -> np.ndarray:
    """Periodic, `[size]` float32."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)


def short_time_spectrum(waves: np.ndarray, window: int, hop: int) -> np.ndarray:
    """`[…, S]` → `[…, 1 + S // hop, F]`: frame `t` looks at the `window` samples around sample `t·hop` through a Hann
    window; beyond the ends is silence.
    """
    half, frames = window // 2, 1 + waves.shape[-1] // hop
    padded = np.pad(waves, [(0, 0)] * (waves.ndim - 1) + [(half, window - half)])
    seen = np.lib.stride_tricks.sliding_window_view(padded, window, axis=-1)[..., ::hop, :][..., :frames, :]
    return np.fft.rfft(seen * hann_window(window))


def log_mel(wave: np.ndarray, *, rate: int, mels: int, hop: int, window: int) -> np.ndarray:
    """`log10` of the power in each mel band, `[S]` → `[1 + S // hop, M]`; see `short_time_spectrum`."""
    spectrum = short_time_spectrum(wave, window, hop)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    return np.log10(np.maximum(power @ mel_filters(mels, power.shape[1], rate), np.float32(FLOOR)))


def relative(mel: np.ndarray) -> np.ndarray:
    """Log-mel frames relative to the loudest band of the sound: from `-RANGE` to 0; silence is all -7."""
    return np.maximum(mel - np.maximum(mel.max(), np.float32(QUIET)), np.float32(-RANGE))


@dataclass(frozen=True)
class Bands:
    """How sounds become log-mel frames: samples a second, bands, samples from frame to frame and of one frame."""

    rate: int
    mels: int
    hop: int
    window: int

    @classmethod
    def of(cls, rate: int, mels: int, hop_ms: float, window_ms: float) -> Self:
        """The same from milliseconds."""
        return cls(rate, mels, round(rate * hop_ms / 1000), round(rate * window_ms / 1000))

    @property
    def filters(self) -> np.ndarray:
        """From bins to bands, `[F, M]`."""
        return mel_filters(self.mels, self.window // 2 + 1, self.rate)

    def hear(self, wave: np.ndarray) -> np.ndarray:
        """`[S]` → `[1 + S // hop, M]`, relative to the loudest band: how loud it was recorded does not matter."""
        return relative(log_mel(wave, rate=self.rate, mels=self.mels, hop=self.hop, window=self.window))
