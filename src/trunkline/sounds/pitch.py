"""How high a voice is, frame by frame.

Shape legend: `S` samples, `T` frames, `W` samples of a window, `K` lags.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

LOWEST, HIGHEST = 60.0, 500.0  # hertz
PERIODS = 3  # of the lowest pitch that a window holds
FINER = 4  # lags a sample
TOGETHER = 256  # frames
VOICED = 0.45  # of a frame's own power comes again after a period, at least
AUDIBLE = 0.03  # of the sound's largest sample, at least
OCTAVE = 0.01  # what a period twice as long must be better by


def pitch_of(wave: Tensor, *, rate: int, hop: int) -> Tensor:
    """The fundamental frequency in hertz, 0 where nothing is voiced: `[S]` → `[1 + S // hop]`.

    After Boersma 1993, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a
    sampled sound": the autocorrelation of a Hann window of the sound over that of the window itself (eq. 9), its best
    lag between `LOWEST` and `HIGHEST`, refined by a parabola; without his path through the frames. Frame `t` looks at
    the samples around sample `t·hop`; beyond the ends is silence.
    """
    size = math.ceil(PERIODS * rate / LOWEST)
    least = AUDIBLE * wave.abs().amax().clamp(min=1e-6)
    frames = F.pad(wave, (size // 2, size)).unfold(0, size, hop)[: 1 + len(wave) // hop]  # [T, W]
    return torch.cat([_pitch(some.double(), rate, least) for some in frames.split(TOGETHER)]).to(wave.dtype)


def _pitch(frames: Tensor, rate: int, least: Tensor) -> Tensor:
    """Of frames `[T, W]`; those that reach `least` nowhere are not voiced."""
    size = frames.shape[1]
    low, high = math.floor(FINER * rate / HIGHEST), math.ceil(FINER * rate / LOWEST)
    hann = torch.hann_window(size, dtype=frames.dtype, device=frames.device)
    own = _autocorrelation(hann, high + 2)
    centred = frames - frames.mean(1, keepdim=True)
    found = _autocorrelation(centred * hann, high + 2)
    share = found / found[:, :1].clamp(min=1e-12) / (own / own[0])  # [T, K]
    lags = torch.arange(low, high + 1, device=frames.device)
    before, here, after = (share[:, lags + step] for step in (-1, 0, 1))
    is_peak = (here >= before) & (here >= after)
    bend = (before - 2 * here + after).clamp(max=-1e-12)  # peaks lie between lags, where they are higher
    shift = ((before - after) / (2 * bend)).clamp(-0.5, 0.5)
    height = (here - (before - after) * shift / 4).masked_fill(~is_peak, -torch.inf)
    place = (height - OCTAVE * ((lags + shift) * LOWEST / rate / FINER).log2()).argmax(1, keepdim=True)
    loud = centred.abs().amax(1) > least
    voiced = loud & (height.gather(1, place).squeeze(1) > VOICED)
    return torch.where(voiced, FINER * rate / (lags + shift).gather(1, place).squeeze(1), 0.0)


def _autocorrelation(x: Tensor, lags: int) -> Tensor:
    """`[…, W]` → `[…, lags]`, from lag 0, `FINER` of them a sample (interpolated as what has no higher frequencies)."""
    size = 2 ** math.ceil(math.log2(2 * x.shape[-1]))
    power = torch.fft.rfft(x, size).abs().square()
    return torch.fft.irfft(power, FINER * size)[..., :lags]
