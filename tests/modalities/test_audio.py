"""The audio modality: log-mel frames as others compute them, and tokens that do not feel the padding."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.signal
import soundfile
import torch
from torch import Tensor

from trunkline.arrays.mel import band_edges, log_mel, mel_filters
from trunkline.errors import ConfigError, DataError
from trunkline.modalities.audio import Audio
from trunkline.modalities.sound_changes import at_places, noisy, respoken
from trunkline.sounds import RANGE

RATE = 16000


def tone(hertz: float, seconds: float, rate: int = RATE) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize(("window", "hop", "mels"), [(640, 320, 40), (400, 160, 80)])
def test_log_mel_equals_the_one_of_transformers(window: int, hop: int, mels: int) -> None:
    audio_utils = pytest.importorskip("transformers.audio_utils")
    wave = np.random.default_rng(0).standard_normal(8000).astype(np.float32) * 0.1
    bins = window // 2 + 1
    filters = audio_utils.mel_filter_bank(bins, mels, 0, RATE / 2, RATE, norm=None, mel_scale="htk")
    expected = audio_utils.spectrogram(
        wave, audio_utils.window_function(window, "hann"), window, hop, power=2.0, center=True, pad_mode="constant",
        mel_filters=filters, mel_floor=1e-10, log_mel="log10",
    ).T  # fmt: skip
    ours = log_mel(wave, rate=RATE, mels=mels, hop=hop, window=window)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_mel_filters_are_triangles_that_sum_to_one_between_their_centres() -> None:
    filters = mel_filters(20, 1025, RATE)
    first, last = filters.argmax(0)[[0, -1]] + np.array([1, -1])  # a peak lies between two bins
    np.testing.assert_allclose(filters.sum(1)[first:last], 1.0, rtol=1e-5)


def test_a_tone_sounds_in_its_band() -> None:
    modality = Audio()
    mel, context = modality.prepare(modality.read((tone(1000, 0.5), RATE)), {}, None)
    centres = mel_filters(40, 321, RATE).argmax(0) * RATE / 640
    assert abs(centres[mel[10].argmax()] - 1000) < 60
    assert (context.rate, context.samples, context.hop_seconds) == (RATE, 8000, 0.02)
    assert mel.shape == (26, 40)


def test_loudness_does_not_matter_but_silence_stays_silent() -> None:
    modality, wave = Audio(), tone(440, 0.3) + tone(2000, 0.3)
    loud, soft = (modality.prepare(modality.read((wave * g, RATE)), {}, None)[0] for g in (1.0, 0.05))
    torch.testing.assert_close(loud, soft, atol=1e-3, rtol=0)
    silence = modality.prepare(modality.read((np.zeros(4000), RATE)), {}, None)[0]
    assert (silence <= -RANGE + 1).all()


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3"])
def test_files_are_mixed_and_resampled(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"sound.{extension}"
    left = tone(500, 0.5, 8000)
    soundfile.write(path, np.stack([left, np.zeros_like(left)], 1), 8000)
    sound = Audio().read(str(path))
    assert (sound.rate, sound.samples) == (8000, 4000)
    assert len(sound.wave) == 8000
    np.testing.assert_allclose(sound.wave[2000:6000], tone(500, 0.5)[2000:6000] / 2, atol=0.02)


def test_only_the_first_seconds_are_read(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, tone(500, 2), RATE)
    modality = Audio(max_seconds=0.5)
    for cell in (str(path), (tone(500, 2), RATE)):
        sound = modality.read(cell)
        assert (len(sound.wave), sound.samples) == (8000, 32000)
        assert modality.shrink(sound, {})[1].is_cut and not Audio(max_seconds=2.0).shrink(sound, {})[1].is_cut


def test_a_very_short_sound_has_frames() -> None:
    modality = Audio()
    state = modality.fit([modality.read((tone(500, 0.2), RATE))])
    for samples, rate in ((1, RATE), (4, 96000)):  # of both one is left
        item, _ = modality.prepare(modality.read((np.full(samples, 0.1, np.float32), rate)), state, None)
        assert item.shape == (1, 40)
        assert modality.build(state, 8)(modality.collate([item])).values.isfinite().all()
    with pytest.raises(DataError, match="too short: of 1 samples, 96000 a second, none is left at 16000"):
        modality.read((np.float32([0.1]), 96000))


def test_integer_samples_are_scaled() -> None:
    sound = Audio().read((np.array([-32768, 16384], dtype=np.int16), RATE))
    np.testing.assert_array_equal(sound.wave, [-1.0, 0.5])


def test_bad_cells_say_why(tmp_path: Path) -> None:
    text, empty = tmp_path / "text.wav", tmp_path / "empty.wav"
    text.write_text("no sound")
    soundfile.write(empty, np.zeros(0), RATE)
    for cell, message in [
        (str(tmp_path / "none.wav"), "there is no file"),
        (str(text), "cannot be read as a sound"),
        (str(empty), "no samples"),
        ((np.float32([0.0, np.nan]), RATE), "NaN or infinite"),
        ((np.zeros(8), 0), "0 is not a sample rate"),
        ((np.zeros(8), "fast"), "'fast' is not a sample rate"),
        ((np.zeros((2, 2, 2)), RATE), r"shape \[2, 2, 2\]"),
        (3.5, "3.5 is not a sound; give a path"),
    ]:
        with pytest.raises(DataError, match=message):
            Audio().read(cell)


def test_fit_is_json_and_standardises() -> None:
    modality, rng = Audio(mels=12), np.random.default_rng(0)
    values = [modality.read((rng.standard_normal(4000), RATE)) for _ in range(3)]
    state = modality.fit(values)
    assert json.loads(json.dumps(state)) == state
    frames = torch.cat([modality.prepare(v, state, None)[0] for v in values]).double()
    torch.testing.assert_close(frames.mean(0), torch.tensor(state["mean"], dtype=torch.float64))
    assert len(modality.fit([])["std"]) == 12


def encoder_and_items(stride: int) -> tuple[Audio, torch.nn.Module, list[Tensor]]:
    modality, rng = Audio(mels=13, stride=stride), np.random.default_rng(0)
    values = [modality.read((rng.standard_normal(n), RATE)) for n in (3000, 9000, 3300, 700)]
    state = modality.fit(values)
    return modality, modality.build(state, 16).double(), [modality.prepare(v, state, None)[0].double() for v in values]


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_a_row_feels_neither_padding_nor_neighbours(stride: int) -> None:
    modality, encoder, items = encoder_and_items(stride)
    batch = modality.collate(items)
    batch["mel"] = torch.cat([batch["mel"], batch["mel"].new_zeros(4, 7, 13)], 1)
    for i, item in enumerate(items):
        batch["mel"][i, len(item) :] = 1e4  # what stands in the padding is never read
    together = encoder(batch)
    for i, item in enumerate(items):
        alone = encoder(modality.collate([item]))
        length = alone.values.shape[1]
        assert alone.mask.all()
        assert length == -(-len(item) // stride) == int(together.mask[i].sum())
        torch.testing.assert_close(together.values[i, :length], alone.values[0], atol=1e-12, rtol=0)
        assert (together.values[i, length:] == 0).all()


def test_the_span_counts_in_frames() -> None:
    modality, encoder, items = encoder_and_items(2)
    (span,) = encoder(modality.collate(items)).spans
    assert (span.axis, span.start, span.stop, span.shape, span.stride) == ("time", 0, 15, (15,), (2.0,))


def test_it_exports_to_onnx_with_dynamic_rows_and_frames(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")

    class Values(torch.nn.Module):
        def __init__(self, encoder: torch.nn.Module) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, mel: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
            tokens = self.encoder({"mel": mel, "length": length})
            return tokens.values, tokens.mask

    modality, encoder, items = encoder_and_items(2)
    items = [item.float() for item in items]
    module = Values(encoder.float()).eval()
    path = tmp_path / "audio.onnx"
    rows, frames = torch.export.Dim("rows"), torch.export.Dim("frames", max=4000)
    example = modality.collate(items[:3])
    torch.onnx.export(
        module, (example["mel"], example["length"]), path, dynamo=True, verbose=False,
        dynamic_shapes=({0: rows, 1: frames}, {0: rows}),
    )  # fmt: skip
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for chosen in (items, items[2:], items[1:2]):
        batch = modality.collate(chosen)
        values, mask = session.run(None, {i.name: batch[k].numpy() for i, k in zip(session.get_inputs(), batch)})
        expected = module(batch["mel"], batch["length"])
        np.testing.assert_allclose(values, expected[0].detach(), atol=1e-4)
        np.testing.assert_array_equal(mask, expected[1])


def test_it_learns_to_hear_rising_from_falling() -> None:
    modality, rng = Audio(channels=32, depth=2), np.random.default_rng(0)

    def chirp(rises: bool) -> np.ndarray:
        time = np.arange(round(rng.uniform(0.2, 0.5) * RATE)) / RATE
        start, slope = rng.uniform(800, 2000), rng.uniform(500, 1000) * (1 if rises else -1)
        wave = np.sin(2 * np.pi * (start * time + slope * time**2 / 2))
        return 0.1 * wave + 0.01 * rng.standard_normal(len(time))

    labels = torch.tensor(rng.integers(0, 2, 240))
    values = [modality.read((chirp(bool(rises)), RATE)) for rises in labels]
    state = modality.fit(values[:160])
    items = [modality.prepare(v, state, None)[0] for v in values]
    encoder, head = modality.build(state, 32), torch.nn.Linear(32, 2)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=3e-3)
    for _ in range(12):
        for rows in np.array_split(rng.permutation(160), 5):
            optimizer.zero_grad()
            logits = head(encoder(modality.collate([items[i] for i in rows])).row())
            torch.nn.functional.cross_entropy(logits, labels[rows]).backward()
            optimizer.step()
    with torch.no_grad():
        predicted = head(encoder(modality.collate(items[160:])).row()).argmax(1)
    assert (predicted == labels[160:]).double().mean() > 0.9


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_integers_are_scaled_by_their_own_range(dtype: type) -> None:
    wave = (tone(500, 0.1) * 0.5 * np.iinfo(dtype).max).astype(dtype)
    np.testing.assert_allclose(Audio().read((wave, RATE)).wave, 0.5 * tone(500, 0.1), atol=1e-4)


@pytest.mark.parametrize("samples", [[0, 12000, -12000], np.arange(5), np.arange(5, dtype=np.uint8), [True, False]])
def test_integers_of_no_known_range_are_refused(samples: object) -> None:
    with pytest.raises(DataError, match=r"give floats in \[-1, 1\], or an array of int16 or int32"):
        Audio().read((samples, RATE))


def test_lists_of_floats_are_samples() -> None:
    np.testing.assert_array_equal(Audio().read(([0.0, 0.5, -1.0], RATE)).wave, [0.0, 0.5, -1.0])


def test_a_path_object_is_a_path(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tone.wav", tone(500, 0.1), RATE)
    here, text = (Audio().read(cell) for cell in (tmp_path / "tone.wav", str(tmp_path / "tone.wav")))
    np.testing.assert_array_equal(here.wave, text.wave)
    with pytest.raises(DataError, match="there is no file"):
        Audio().read(tmp_path / "none.wav")


def test_fit_looks_at_all_it_is_given() -> None:
    """Which sounds those are is the caller's choice, who is told how many are wanted."""
    assert Audio.fit_sample == 512
    loud, silent = (Audio(mels=4).read((wave, RATE)) for wave in (tone(500, 0.05), np.zeros(800)))
    modality = Audio(mels=4)
    assert modality.fit([silent] * 600 + [loud] * 600)["mean"] != modality.fit([silent] * 600)["mean"]


def test_training_changes_sounds_a_little_and_the_same_draw_alike() -> None:
    modality, rng = Audio(), np.random.default_rng(0)
    value = modality.read((rng.standard_normal(16000) * np.linspace(0, 1, 16000), RATE))
    state = modality.fit([value])
    kept, (plain, _) = modality.shrink(value, state), modality.prepare(value, state, None)
    drawn = [modality.prepare(kept, state, np.random.default_rng(seed))[0] for seed in range(30)]
    for seed in (0, 1):
        assert torch.equal(drawn[seed], modality.prepare(value, state, np.random.default_rng(seed))[0])
    assert torch.equal(kept[0], plain), "what is kept was changed"
    assert len({len(mel) for mel in drawn}) > 1
    assert all(0.89 / 1.1 * len(plain) - 1 <= len(mel) <= 1.1 * len(plain) + 1 for mel in drawn)
    assert max(map(len, drawn)) > len(plain) > min(map(len, drawn)), "both slower and faster"
    hidden = [(mel == torch.tensor(state["mean"])).double().mean() for mel in drawn]
    assert 0.03 < np.mean(hidden) < 0.25 and max(hidden) < 0.35
    assert all(bool(mel.isfinite().all()) and float(mel.max()) <= 0 for mel in drawn)
    assert modality.is_random and not Audio(alter=0).is_random
    assert torch.equal(Audio(alter=0).prepare(value, state, np.random.default_rng(0))[0], plain)


def test_rate_and_change_are_chosen_from_the_sounds() -> None:
    slow, fast = (Audio().read((tone(500, 0.2, rate), rate)) for rate in (8000, 44100))
    few, many = Audio().choose([slow, slow, fast], 100), Audio().choose([fast], 100_000)
    assert (few["rate"][0], many["rate"][0]) == (8000, 16000)
    assert few["alter"][0] > many["alter"][0]
    assert Audio().choose([], 0)["rate"][0] == 16000
    with pytest.raises(ConfigError, match=r"alter=2: 0 .not at all. to 1"):
        Audio(alter=2).read((tone(500, 0.1), RATE))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"voices": 1.0}, "voices=1: 0 .not at all. to less than 1"),
        ({"rate": 0}, "rate=0: more than 0"),
        ({"max_seconds": 0.0}, "max_seconds=0: more than 0"),
        ({"hop_ms": 0.01}, "hop_ms=0.01: a sample at least, and at most window_ms=40"),
        ({"mels": 0}, "mels=0: at least 1"),
        ({"heads": 0, "layers": 1}, "heads=0: at least 1"),
        ({"layers": -1}, "layers=-1, depth=3: 0 or more"),
        (
            {"encoder": "transformers:some", "voices": 0.1, "mean_norm": True},
            "voices and mean_norm: not for a pretrained",
        ),
    ],
)
def test_options_out_of_range_are_told_before_a_sound_is_read(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Audio(**options).read((tone(500, 0.1), RATE))
    with pytest.raises(ConfigError, match=message):
        Audio(**options).check((tone(500, 0.1), RATE))


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ConfigError, match="heads=4 of an audio encoder does not divide the model's width 10"):
        Audio(layers=2).build(Audio().fit([]), 10)


def test_what_is_in_memory_can_be_looked_at() -> None:
    Audio().check((tone(500, 0.1), RATE))
    for rate in (0.5, float("inf"), float("nan")):
        with pytest.raises(DataError, match="is not a sample rate"):
            Audio().check((tone(500, 0.1), rate))


def test_voices_alone_lay_no_noise() -> None:
    modality = Audio(8000, alter=0, voices=0.2)
    silence = modality.read((np.zeros(8000), 8000))
    state = modality.fit([silence])
    plain, drawn = (modality.prepare(silence, state, rng)[0] for rng in (None, np.random.default_rng(0)))
    torch.testing.assert_close(drawn, plain)
    floor = torch.full((400, 40), -RANGE)
    assert abs(float(noisy(floor, 0.001, np.random.default_rng(0)).mean()) + RANGE) < 0.2, "little noise is little"
    assert max(float(noisy(floor, 1.0, np.random.default_rng(s)).mean()) for s in range(8)) > -RANGE + 3


def test_a_higher_voice_has_every_tone_higher() -> None:
    """A tone of 1000 Hz becomes one of 1000 Hz times the factor, up to `voices`, deeper as often as higher."""
    modality = Audio(8000, mels=64, alter=0, voices=0.2)
    assert modality.is_random
    value = modality.read((tone(1000, 0.5, 8000), 8000))
    state = modality.fit([value])
    centres = band_edges(64, 8000)[1:-1]
    found = [
        centres[modality.prepare(value, state, np.random.default_rng(s))[0].mean(0).argmax()] / 1000 for s in range(60)
    ]
    assert 0.8 < min(found) < 0.88 and 1.14 < max(found) < 1.25
    assert 20 < sum(f > 1 for f in found) < 40
    always = SimpleNamespace(uniform=lambda low, high: high)
    plain = modality.prepare(value, state, None)[0]
    higher = respoken(plain, tempo=0.0, voices=0.2, rate=8000, rng=always)
    assert centres[higher.mean(0).argmax()] == pytest.approx(1200, rel=0.05), "a factor above one is a higher voice"
    slower = respoken(plain, tempo=0.5, voices=0.0, rate=8000, rng=always)
    assert len(slower) == pytest.approx(1.5 * len(plain), abs=1)
    deeper = at_places(torch.arange(5.0).unsqueeze(1), torch.tensor([-3.0, 0.25, 3.5, 9.0]))
    assert deeper[:, 0].tolist() == [0.0, 0.25, 3.5, 4.0], "between rows, and no further than the last"


def test_what_a_microphone_adds_is_taken_out() -> None:
    """Filters that act on all of a sound alike: with `mean_norm` frames are the same, kept or not, changed or not."""
    modality, rng = Audio(8000, mels=20, mean_norm=True), np.random.default_rng(0)
    value = modality.read((0.1 * rng.standard_normal(8000) * np.linspace(0.3, 1, 8000), 8000))
    other = modality.read((scipy.signal.lfilter([1.0, -0.7], [1.0], value.wave), 8000))
    state = modality.fit([value])
    mels = [modality.prepare(one, state, None)[0] for one in (value, other)]
    plain = [Audio(8000, mels=20).prepare(one, state, None)[0] for one in (value, other)]
    assert float((plain[0] - plain[1]).abs().mean()) > 0.2
    assert float((mels[0] - mels[1]).abs().mean()) < 0.02
    assert float(mels[0].mean(0).abs().max()) < 1e-5
    kept = modality.shrink(value, state)
    assert torch.equal(modality.prepare(kept, state, None)[0], mels[0])
    drawn = (modality.prepare(one, state, np.random.default_rng(3))[0] for one in (kept, value))
    assert torch.equal(*drawn)


def test_layers_tell_tokens_where_they_are() -> None:
    """Of one frame again and again convolutions say the same in the middle, layers do not; padding is not seen."""
    modality = Audio(8000, mels=13, layers=2, depth=1)
    state = modality.fit([])
    encoder = modality.build(state, 16).eval()
    mel = torch.randn(1, 1, 13).expand(-1, 60, -1).contiguous()
    plain = Audio(8000, mels=13, depth=1).build(state, 16).eval()
    values = {"mel": mel, "length": torch.tensor([60])}
    middle = plain(values).values[0, 10:20]
    assert torch.allclose(middle, middle[:1].expand_as(middle), atol=1e-5)
    tokens = encoder(values).values[0]
    assert float((tokens[10] - tokens[19]).abs().max()) > 0.1
    padded = encoder({"mel": torch.cat([mel, torch.full((1, 8, 13), 1e4)], 1), "length": torch.tensor([60])})
    torch.testing.assert_close(padded.values[0, :30], tokens, atol=1e-5, rtol=0)
    assert not bool(padded.values[0, 30:].any())
    assert Audio().choose([], 0, is_read=True)["layers"][0] == 2
    assert Audio().choose([], 0)["layers"][0] == 0
