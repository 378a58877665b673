"""Frames become a sound that has these frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trunkline.sounds import RANGE, Spectrum, vocoder, waves_of
from trunkline.sounds.mel import mel_filters
from trunkline.sounds.vocoder import LOUDEST, bins_of, griffin_lim

RATE = 8000
SPECTRUM = Spectrum.of(RATE, 40, 12.5, 50.0)


def hum(pitch: float, seconds: float, *, harmonics: int = 8, seed: int = 0) -> torch.Tensor:
    """A voiced sound: harmonics that rise and fall, and a little noise."""
    t = np.arange(int(RATE * seconds)) / RATE
    loud = np.sin(np.pi * t / seconds) ** 2
    tones = sum(np.sin(2 * np.pi * pitch * k * t + k) / k for k in range(1, harmonics + 1))
    noise = np.random.default_rng(seed).standard_normal(len(t))
    return torch.from_numpy(0.2 * loud * tones + 0.003 * noise).float()


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Decibels, root mean square over frames and bands."""
    return float((10 * (a - b)).square().mean().sqrt())


def test_a_sound_comes_back_from_its_frames() -> None:
    sounds = [hum(130, 0.5), hum(210, 0.8, seed=1), hum(90, 0.3, seed=2)]
    frames = [SPECTRUM.frames(sound) for sound in sounds]
    waves = waves_of(frames, SPECTRUM)
    for wave, wanted, sound in zip(waves, frames, sounds, strict=True):
        assert len(wave) == (len(wanted) - 1) * SPECTRUM.hop, "as long as its frames say"
        assert abs(len(wave) - len(sound)) < SPECTRUM.hop
        assert float(wave.abs().max()) == pytest.approx(LOUDEST)
        assert distance(SPECTRUM.frames(wave), wanted) < 4.0


def test_more_steps_bring_it_nearer() -> None:
    frames = SPECTRUM.frames(hum(130, 0.5))
    errors = [distance(SPECTRUM.frames(waves_of([frames], SPECTRUM, steps=n)[0]), frames) for n in (0, 4, 32)]
    assert errors[0] > errors[1] > errors[2]


def test_momentum_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [SPECTRUM.frames(hum(pitch, 0.5, seed=pitch)) for pitch in (90, 130, 170, 210)]
    errors = []
    for momentum in (vocoder.MOMENTUM, 0.0):
        monkeypatch.setattr(vocoder, "MOMENTUM", momentum)
        waves = waves_of(frames, SPECTRUM)
        errors.append(np.mean([distance(SPECTRUM.frames(wave), own) for wave, own in zip(waves, frames)]))
    assert errors[0] < 0.95 * errors[1]


def test_a_sound_does_not_depend_on_those_made_with_it() -> None:
    frames = [SPECTRUM.frames(hum(pitch, seconds)) for pitch, seconds in ((130, 0.3), (200, 0.9))]
    together, alone = waves_of(frames, SPECTRUM)[0], waves_of(frames[:1], SPECTRUM)[0]
    assert distance(SPECTRUM.frames(together), SPECTRUM.frames(alone)) < 0.5
    assert torch.equal(alone, waves_of(frames[:1], SPECTRUM)[0]), "the same frames are the same sound"


def test_what_is_silent_stays_silent_and_one_frame_is_no_sound() -> None:
    silent, short = waves_of([torch.full((9, 40), -RANGE), torch.zeros(1, 40)], SPECTRUM)
    assert len(silent) == 8 * SPECTRUM.hop
    assert float(silent.abs().max()) < 1e-3
    assert len(short) == 0
    (alone,) = waves_of([torch.zeros(1, 40)], SPECTRUM)
    assert len(alone) == 0


def test_true_magnitudes_give_back_the_sound_itself_but_for_its_phase() -> None:
    wave = hum(130, 0.5)
    hann = torch.hann_window(SPECTRUM.window)
    spectrum = torch.stft(wave, SPECTRUM.window, SPECTRUM.hop, window=hann, pad_mode="constant", return_complex=True)
    made = griffin_lim(spectrum.abs().T[None], SPECTRUM, steps=100)[0]
    again = torch.stft(made, SPECTRUM.window, SPECTRUM.hop, window=hann, pad_mode="constant", return_complex=True)
    convergence = (again.abs() - spectrum.abs()).norm() / spectrum.norm()
    assert float(convergence) < 0.1  # −20 dB


def test_power_of_bins_is_never_negative_and_fills_the_bands() -> None:
    filters = mel_filters(20, 201, RATE)
    bins = torch.rand(1, 6, 201, generator=torch.Generator().manual_seed(0)) ** 8
    bands = bins @ filters
    found = bins_of(bands, filters)
    assert bool((found >= 0).all())
    torch.testing.assert_close(found @ filters, bands, rtol=0.05, atol=1e-4)
    assert not bool(bins_of(torch.zeros(1, 2, 20), filters).any()), "silence has no power, and no NaN"
