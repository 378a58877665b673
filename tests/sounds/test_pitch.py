"""How high a voice is: of sounds whose pitch is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trunkline.sounds import pitch_of


def harmonics(hertz: float, rate: int, numbers: range, seconds: float = 0.5) -> Tensor:
    time = torch.arange(int(rate * seconds), dtype=torch.float64) / rate
    return sum((torch.sin(2 * torch.pi * hertz * k * time + k) / k for k in numbers), torch.zeros(())).float()


@pytest.mark.parametrize("rate", [8000, 16000, 22050])
@pytest.mark.parametrize("hertz", [81.0, 142.3, 233.0, 391.0])
def test_the_pitch_of_a_voice(hertz: float, rate: int) -> None:
    found = pitch_of(harmonics(hertz, rate, range(1, 8)), rate=rate, hop=rate // 100)
    assert found.shape == (51,)
    torch.testing.assert_close(found[4:-4], torch.full((43,), hertz), rtol=0.001, atol=0)


def test_a_fundamental_that_is_not_there_is_heard() -> None:
    found = pitch_of(harmonics(120.0, 16000, range(2, 7)), rate=16000, hop=160)
    torch.testing.assert_close(found[4:-4], torch.full((43,), 120.0), rtol=0.005, atol=0)


def test_noise_and_silence_are_not_voiced() -> None:
    noise = torch.randn(8000, generator=torch.Generator().manual_seed(0))
    assert float((pitch_of(noise, rate=16000, hop=160) > 0).float().mean()) < 0.05
    assert not pitch_of(torch.zeros(8000), rate=16000, hop=160).any()
    voice = harmonics(200.0, 16000, range(1, 5))
    found = pitch_of(torch.cat([voice, 0.01 * voice]), rate=16000, hop=160)
    assert bool((found[4:46] > 0).all()) and not found[55:].any(), "what is quiet beside the rest says nothing"


@pytest.mark.parametrize(("periodic", "voiced"), [(0.65, True), (0.25, False)])
def test_what_share_must_come_again(periodic: float, voiced: bool) -> None:
    """Of a low voice in noise its share of the power comes again after a period: the window alone would halve it."""
    voice = harmonics(66.0, 16000, range(1, 12), 2.0)
    noise = torch.randn(len(voice), generator=torch.Generator().manual_seed(0))
    mixed = voice / voice.std() * periodic**0.5 + noise * (1 - periodic) ** 0.5
    found = pitch_of(0.5 + 0.1 * mixed, rate=16000, hop=160)[6:-6]  # on a level that is no sound
    right = (found / 66.0 - 1).abs() < 0.03
    assert float(right.float().mean()) > 0.8 if voiced else float((found > 0).float().mean()) < 0.2


@pytest.mark.parametrize("samples", [1, 7, 161])
def test_a_very_short_sound_has_as_many_frames_as_its_spectrum(samples: int) -> None:
    found = pitch_of(torch.ones(samples), rate=16000, hop=160)
    assert found.shape == (1 + samples // 160,) and not found.any()
