"""What training does to the log-mel frames of a sound.

Shape legend: `T` frames, `M` mel bands.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from trunkline.sounds import RANGE, band_edges

LN10 = math.log(10)


def respoken(mel: Tensor, *, tempo: float, voices: float, rate: int, rng: np.random.Generator) -> Tensor:
    """The same, said by another: `[T, M]` → `[T', M]`.

    Faster or slower by up to `tempo`, and all frequencies higher or lower by up to `voices`, as if what lies between
    glottis and lips were shorter or longer (Jaitly and Hinton 2013, "Vocal tract length perturbation improves speech
    recognition", with one slope up to half the rate). Factors are drawn evenly on a logarithmic scale.
    """
    slower, higher = (float(np.exp(rng.uniform(-1, 1) * np.log1p(most))) for most in (tempo, voices))
    frames = max(1, round(len(mel) * slower))
    mel = at_places(mel, torch.linspace(0, len(mel) - 1, frames))
    if higher == 1.0:
        return mel
    edges = band_edges(mel.shape[1], rate)
    centres = edges[1:-1]
    sources = np.interp(centres / higher, edges, np.arange(len(edges)) - 1.0)  # of which band each tells now
    return at_places(mel.T, torch.from_numpy(sources).float()).T


def at_places(x: Tensor, places: Tensor) -> Tensor:
    """Rows `[R, …]` at places between them, `[P]` → `[P, …]`; beyond the ends stands the last."""
    places = places.clamp(0, len(x) - 1)
    low = places.floor().long()
    share = (places - low).unsqueeze(1)
    return x[low] * (1 - share) + x[(low + 1).clamp(max=len(x) - 1)] * share


def noisy(mel: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Cut, and with noise: `[T, M]` → `[T', M]`.

    Up to a twentieth of the frames is cut off each end; noise of one level lies under the sound, up to 20 dB below its
    loudest band. All that times `strength`; what the noise adds is its power above the floor, which is there already.
    """
    first, last = (int(len(mel) * strength * rng.uniform(0, 0.05)) for _ in range(2))
    mel = mel[first : len(mel) - last]
    level = rng.uniform(-RANGE, -RANGE + strength * (RANGE - 2))
    seed = int(rng.integers(2**31))
    noise = level + 0.3 * torch.randn(mel.shape, generator=torch.Generator().manual_seed(seed))
    floor = 10**-RANGE
    power = (mel * LN10).exp() + (noise * LN10).exp() - floor  # as powers of e, which are quicker
    return power.clamp(min=floor).log10().clamp(max=0.0)


def hidden(mel: Tensor, mean: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Up to an eighth of the frames `[T, M]` and a fifth of the bands, times `strength`, show `mean [M]`."""
    mel = mel.clone()
    frames, bands = (int(n * strength * rng.uniform(0, share)) for n, share in zip(mel.shape, (1 / 8, 1 / 5)))
    start, low = (int(rng.integers(0, n - few + 1)) for n, few in zip(mel.shape, (frames, bands)))
    mel[start : start + frames] = mean
    mel[:, low : low + bands] = mean[low : low + bands]
    return mel
