"""From log-mel frames back to a sound, without a network, in NumPy.

Shape legend: `S` samples, `T` frames, `M` mel bands, `F` bins of the spectrum.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trunkline.arrays.mel import FLOOR, Bands, hann_window, short_time_spectrum

UNMIXING = 32  # steps from bands to bins
MOMENTUM = 0.99
LOUDEST = 0.7  # sample of what is made, about −3 dB of full scale
TINY = np.finfo(np.float32).tiny
BARE = 1e-11  # of the windows' squares over a sample: nothing looks at it


def waves_of(sounds: Sequence[np.ndarray], bands: Bands, *, steps: int = 32) -> list[np.ndarray]:
    """Sounds that have these log-mel frames, as nearly as can be, each `[T, M]` → `[(T − 1) · hop]` float32.

    Frames are relative to a sound's loudest band, as `Bands.hear` gives them. The loudest sample is `LOUDEST`; what is
    quiet everywhere stays so. Each is made by itself, so that it is the same beside any other.
    """
    made = [
        griffin_lim(np.sqrt(bins_of(np.float32(10.0) ** one.astype(np.float32), bands.filters)), bands, steps=steps)
        for one in sounds
    ]
    return [_levelled(wave, float(own.max())) for wave, own in zip(made, sounds)]


def _levelled(wave: np.ndarray, loudest: float) -> np.ndarray:
    """At full level where the loudest band has power 1, less where it has less."""
    if len(wave) == 0:
        return wave
    return wave * np.float32(LOUDEST * min(1.0, 10.0 ** (loudest / 2)) / max(float(np.abs(wave).max()), FLOOR))


def bins_of(power: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Power in each bin, none negative, that gives nearly this power in each band: `[T, M]`, `[F, M]` → `[T, F]`.

    Least divergence by multiplicative steps (Lee and Seung 2001, "Algorithms for non-negative matrix factorization",
    theorem 2), by which quiet bands count as loud ones do. They start from power spread evenly over each band. A bin
    that is in no band has none.
    """
    bins = power @ (filters / np.maximum(filters.sum(0), TINY)).T  # [T, F]
    share = (filters / np.maximum(filters.sum(1, keepdims=True), TINY)).T
    for _ in range(UNMIXING):
        bins = bins * ((power / np.maximum(bins @ filters, TINY)) @ share)
    return bins


def griffin_lim(magnitude: np.ndarray, bands: Bands, *, steps: int) -> np.ndarray:
    """A sound whose short-time spectrum has nearly these magnitudes, `[T, F]` → `[(T − 1) · hop]`.

    Phases are looked for by going to the nearest spectrum that a sound can have and back to the magnitudes, with
    momentum (Perraudin, Balazs and Søndergaard 2013, "A fast Griffin-Lim algorithm", with α = .99). They start at
    random, always the same, however many frames there are.
    """
    window, hop = bands.window, bands.hop
    if len(magnitude) == 1:
        return np.zeros(0, np.float32)
    drawn = np.random.RandomState(0).randint(0, 2**32, size=magnitude.shape, dtype=np.uint32)
    start = (drawn & 0xFFFFFF).astype(np.float32) / np.float32(2**24)
    angles = np.exp(2j * np.pi * start).astype(np.complex64)
    before = np.zeros_like(angles)
    for _ in range(steps):
        now = short_time_spectrum(wave_of(magnitude * angles, window, hop), window, hop)
        ahead = now + np.float32(MOMENTUM) * (now - before)
        angles, before = ahead / np.maximum(np.abs(ahead), TINY), now
    return wave_of(magnitude * angles, window, hop)


def wave_of(spectrum: np.ndarray, window: int, hop: int) -> np.ndarray:
    """The sound whose short-time spectrum is nearest, `[T, F]` → `[(T − 1) · hop]`: frames through the window
    once more, added where they lie, over the sum of the windows' squares (Griffin and Lim 1984, equation 6).
    """
    hann = hann_window(window)
    frames = np.fft.irfft(spectrum, window) * hann
    length = (len(frames) - 1) * hop
    inside = slice(window // 2, window // 2 + length)
    total = _added(frames, hop)[inside]
    weight = _added(np.broadcast_to(np.square(hann), frames.shape), hop)[inside]
    return total / np.where(weight > BARE, weight, np.float32(1.0))


def _added(frames: np.ndarray, hop: int) -> np.ndarray:
    """Frames `[T, W]`, each `hop` behind the one before and all added up, `[(T + ⌈W / hop⌉ − 1) · hop]`."""
    count, size = frames.shape
    pieces = -(-size // hop)
    cut = np.pad(frames, ((0, 0), (0, pieces * hop - size))).reshape(count, pieces, hop)
    total = np.zeros((count + pieces - 1, hop), np.float32)
    for piece in range(pieces):
        total[piece : piece + count] += cut[:, piece]
    return total.reshape(-1)
