"""From log-mel frames back to a sound, without a network.

Shape legend: `n` sounds, `S` samples, `T` frames, `M` mel bands, `F` bins of the spectrum.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trunkline.sounds.mel import FLOOR, SILENCE, Spectrum, mel_filters

UNMIXING = 32  # steps from bands to bins
MOMENTUM = 0.99
LOUDEST = 0.7  # sample of what is made, about −3 dB of full scale
TOGETHER = 32  # sounds that are made at once


def waves_of(sounds: Sequence[Tensor], spectrum: Spectrum, *, steps: int = 32) -> list[Tensor]:
    """Sounds that have these log-mel frames, as nearly as can be, each `[T, M]` → `[(T − 1) · hop]`.

    Frames are relative to a sound's loudest band, as `Spectrum.frames` gives them. The loudest sample is `LOUDEST`;
    what is quiet everywhere stays so.
    """
    made: list[Tensor] = []
    for start in range(0, len(sounds), TOGETHER):
        some = sounds[start : start + TOGETHER]
        power = 10.0 ** nn.utils.rnn.pad_sequence(list(some), batch_first=True, padding_value=SILENCE).float()
        filters = mel_filters(spectrum.mels, spectrum.window // 2 + 1, spectrum.rate)
        waves = griffin_lim(bins_of(power, filters).sqrt(), spectrum, steps=steps)
        made += [wave[: (len(own) - 1) * spectrum.hop] for wave, own in zip(waves, some)]
    return [_levelled(wave, float(own.max())) for wave, own in zip(made, sounds)]


def _levelled(wave: Tensor, loudest: float) -> Tensor:
    """At full level where the loudest band has power 1, less where it has less."""
    if len(wave) == 0:
        return wave
    return wave * (LOUDEST * min(1.0, 10.0 ** (loudest / 2)) / wave.abs().amax().clamp(min=FLOOR))


def bins_of(power: Tensor, filters: Tensor) -> Tensor:
    """Power in each bin, none negative, that gives nearly this power in each band: `[n, T, M]`, `[F, M]` → `[n, T, F]`.

    Least divergence by multiplicative steps (Lee and Seung 2001, "Algorithms for non-negative matrix factorization",
    theorem 2), by which quiet bands count as loud ones do. They start from power spread evenly over each band. A bin
    that is in no band has none.
    """
    mix = filters.to(power)
    tiny = torch.finfo(power.dtype).tiny
    bins = power @ (mix / mix.sum(0).clamp(min=tiny)).T  # [n, T, F]
    share = mix / mix.sum(1, keepdim=True).clamp(min=tiny)
    for _ in range(UNMIXING):
        bins = bins * ((power / (bins @ mix).clamp(min=tiny)) @ share.T)
    return bins


def griffin_lim(magnitude: Tensor, spectrum: Spectrum, *, steps: int) -> Tensor:
    """A sound whose short-time spectrum has nearly these magnitudes, `[n, T, F]` → `[n, (T − 1) · hop]`.

    Phases are looked for by going to the nearest spectrum that a sound can have and back to the magnitudes, with
    momentum (Perraudin, Balazs and Søndergaard 2013, "A fast Griffin-Lim algorithm", with α = .99). They start at
    random, always the same, however many frames there are.
    """
    window, hop = spectrum.window, spectrum.hop
    if magnitude.shape[1] == 1:
        return magnitude.new_zeros(len(magnitude), 0)
    hann = torch.hann_window(window, device=magnitude.device)
    wanted = magnitude.mT  # [n, F, T]
    start = torch.rand(magnitude.shape[1:], generator=torch.Generator().manual_seed(0)).T.to(wanted)  # frame by frame
    angles = torch.polar(torch.ones_like(wanted), 2 * torch.pi * start)
    before = torch.zeros_like(angles)
    for _ in range(steps):
        wave = torch.istft(wanted * angles, window, hop, window=hann)
        now = torch.stft(wave, window, hop, window=hann, pad_mode="constant", return_complex=True)
        ahead = now + MOMENTUM * (now - before)
        angles, before = ahead / ahead.abs().clamp(min=torch.finfo(wanted.dtype).tiny), now
    return torch.istft(wanted * angles, window, hop, window=hann)
