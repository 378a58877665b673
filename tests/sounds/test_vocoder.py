"""Frames become a sound that has these frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trunkline.arrays import vocoder
from trunkline.arrays.mel import RANGE, Bands, mel_filters, short_time_spectrum
from trunkline.arrays.spoken import SpeechAnswers
from trunkline.arrays.vocoder import LOUDEST, bins_of, griffin_lim, wave_of, waves_of

RATE = 8000
BANDS = Bands.of(RATE, 40, 12.5, 50.0)


def hum(pitch: float, seconds: float, *, harmonics: int = 8, seed: int = 0) -> np.ndarray:
    """A voiced sound: harmonics that rise and fall, and a little noise."""
    t = np.arange(int(RATE * seconds)) / RATE
    loud = np.sin(np.pi * t / seconds) ** 2
    tones = sum(np.sin(2 * np.pi * pitch * k * t + k) / k for k in range(1, harmonics + 1))
    noise = np.random.default_rng(seed).standard_normal(len(t))
    return (0.2 * loud * tones + 0.003 * noise).astype(np.float32)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Decibels, root mean square over frames and bands."""
    return float(np.sqrt(np.square(10 * (a - b)).mean()))


def test_a_sound_comes_back_from_its_frames() -> None:
    sounds = [hum(130, 0.5), hum(210, 0.8, seed=1), hum(90, 0.3, seed=2)]
    frames = [BANDS.hear(sound) for sound in sounds]
    waves = waves_of(frames, BANDS)
    for wave, wanted, sound in zip(waves, frames, sounds, strict=True):
        assert wave.dtype == np.float32
        assert len(wave) == (len(wanted) - 1) * BANDS.hop, "as long as its frames say"
        assert abs(len(wave) - len(sound)) < BANDS.hop
        assert float(np.abs(wave).max()) == pytest.approx(LOUDEST)
        assert distance(BANDS.hear(wave), wanted) < 4.0


def test_more_steps_bring_it_nearer() -> None:
    frames = BANDS.hear(hum(130, 0.5))
    errors = [distance(BANDS.hear(waves_of([frames], BANDS, steps=n)[0]), frames) for n in (0, 4, 32)]
    assert errors[0] > errors[1] > errors[2]


def test_momentum_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [BANDS.hear(hum(pitch, 0.5, seed=pitch)) for pitch in (90, 130, 170, 210)]
    errors = []
    for momentum in (vocoder.MOMENTUM, 0.0):
        monkeypatch.setattr(vocoder, "MOMENTUM", momentum)
        waves = waves_of(frames, BANDS)
        errors.append(np.mean([distance(BANDS.hear(wave), own) for wave, own in zip(waves, frames)]))
    assert errors[0] < 0.95 * errors[1]


def test_a_sound_does_not_depend_on_those_made_with_it() -> None:
    frames = [BANDS.hear(hum(pitch, seconds)) for pitch, seconds in ((130, 0.3), (200, 0.9))]
    together, alone = waves_of(frames, BANDS)[0], waves_of(frames[:1], BANDS)[0]
    np.testing.assert_array_equal(together, alone)


def test_what_is_silent_stays_silent_and_one_frame_is_no_sound() -> None:
    silent, short = waves_of([np.full((9, 40), -RANGE, np.float32), np.zeros((1, 40), np.float32)], BANDS)
    assert len(silent) == 8 * BANDS.hop
    assert float(np.abs(silent).max()) < 1e-3
    assert len(short) == 0
    (alone,) = waves_of([np.zeros((1, 40), np.float32)], BANDS)
    assert len(alone) == 0


def test_true_magnitudes_give_back_the_sound_itself_but_for_its_phase() -> None:
    spectrum = short_time_spectrum(hum(130, 0.5), BANDS.window, BANDS.hop)
    made = griffin_lim(np.abs(spectrum), BANDS, steps=100)
    again = np.abs(short_time_spectrum(made, BANDS.window, BANDS.hop))
    convergence = np.linalg.norm(again - np.abs(spectrum)) / np.linalg.norm(spectrum)
    assert convergence < 0.1  # −20 dB


@pytest.mark.parametrize(("window", "hop"), [(400, 100), (401, 90), (64, 64)])
def test_spectra_and_back_are_those_of_pytorch(window: int, hop: int) -> None:
    waves = np.random.default_rng(0).standard_normal((2, 2000)).astype(np.float32)
    hann = torch.hann_window(window)
    given = torch.from_numpy(waves)
    theirs = torch.stft(given, window, hop, window=hann, pad_mode="constant", return_complex=True)
    ours = short_time_spectrum(waves, window, hop)
    np.testing.assert_allclose(ours, theirs.mT.numpy(), atol=1e-4)
    if hop < window:  # theirs does not take what no window looks at
        back = torch.istft(theirs, window, hop, window=hann, length=2000 // hop * hop).numpy()
        np.testing.assert_allclose(np.stack([wave_of(one, window, hop) for one in ours]), back, atol=1e-5)


@pytest.mark.parametrize(("window", "hop"), [(401, 90), (551, 138), (2205, 551), (400, 100)])
def test_as_many_frames_as_come_in_go_out(window: int, hop: int) -> None:
    """Of odd windows, too, where a sound is whole hops long."""
    bands = Bands(11025, 20, hop, window)
    frames = bands.hear(np.random.default_rng(0).standard_normal(29 * hop).astype(np.float32))
    assert frames.shape == (30, 20)
    (wave,) = waves_of([frames], bands, steps=2)
    assert len(wave) == 29 * hop and np.isfinite(wave).all() and bands.hear(wave).shape == frames.shape
    spectrum = short_time_spectrum(wave, window, hop)
    np.testing.assert_allclose(wave_of(spectrum, window, hop), wave, atol=1e-6)


def test_speech_of_odd_windows_is_said() -> None:
    state = {"mean": [0.0] * 20, "std": [1.0] * 20}
    frames = np.random.default_rng(0).uniform(-3, 0, (1, 30, 20)).astype(np.float32)
    output = {"frames": frames, "sizes": np.array([30])}
    ((sound,),) = SpeechAnswers(11025, 20, 138, 551, 2).decode(output, [state], [None])
    assert sound.samples == len(sound.wave) == 29 * 138


def test_phases_start_where_those_of_pytorch_did() -> None:
    """A sound of a run that was trained before the vocoder left PyTorch, made alone, stays what it was."""
    from_torch = torch.rand(7, 33, generator=torch.Generator().manual_seed(0)).numpy()
    drawn = np.random.RandomState(0).randint(0, 2**32, size=(7, 33), dtype=np.uint32)
    np.testing.assert_array_equal((drawn & 0xFFFFFF).astype(np.float32) / np.float32(2**24), from_torch)


def test_power_of_bins_is_never_negative_and_fills_the_bands() -> None:
    filters = mel_filters(20, 201, RATE)
    bins = (np.random.default_rng(0).random((6, 201)) ** 8).astype(np.float32)
    bands = bins @ filters
    found = bins_of(bands, filters)
    assert (found >= 0).all()
    np.testing.assert_allclose(found @ filters, bands, rtol=0.05, atol=1e-4)
    assert not bins_of(np.zeros((2, 20), np.float32), filters).any(), "silence has no power, and no NaN"
