"""Pretrained sounds by name, with tiny networks in folders: no hub is asked."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from transformers.audio_utils import mel_filter_bank

from tiny_ears import RATE, spectrogram, unmasked, wav2vec2, whisper
from trunkline import testing
from trunkline.errors import ConfigError
from trunkline.loading import load
from trunkline.modalities import Audio
from trunkline.modalities.pretrained_audio import Voice
from trunkline.model import MultiTaskModel
from trunkline.run import fit
from trunkline.tasks import Binary


def sounds(*counts: int) -> list[Any]:
    rng = np.random.default_rng(0)
    return [(0.1 * rng.standard_normal(count), RATE) for count in counts or (5000, 8000, 8000, 12000)]


MAKERS = {"wav2vec2": wav2vec2, "unmasked": unmasked, "whisper": whisper, "spectrogram": spectrogram}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for name, make in MAKERS.items():
        torch.manual_seed(3)
        made[name] = tmp_path_factory.mktemp(name)
        for part in make():
            part.save_pretrained(made[name])
    return made


@pytest.mark.parametrize("name", MAKERS)
def test_they_keep_the_contract(name: str, folders: dict[str, Path]) -> None:
    for freeze in (True, False):
        testing.check_modality(Audio(encoder=f"transformers:{folders[name]}", freeze=freeze), sounds(), tolerance=1e-4)


@pytest.mark.parametrize(
    ("name", "stride", "counts"),
    [("wav2vec2", 320, (15, 24)), ("whisper", 320, (16, 25)), ("spectrogram", 32000 / 19, (3, 5))],
)
def test_tokens_cover_the_sound_and_no_more(
    name: str, stride: float, counts: tuple[int, int], folders: dict[str, Path]
) -> None:
    modality = Audio(encoder=f"transformers:{folders[name]}")
    values = [modality.read(cell) for cell in sounds(5000, 8000)]
    state = modality.fit(values)
    tokens = modality.build(state, 8)(modality.collate([modality.prepare(v, state, None)[0] for v in values]))
    assert tokens.mask.sum(1).tolist() == list(counts)
    assert tokens.spans[0].axis == "time" and tokens.spans[0].stride[0] == pytest.approx(stride)


@pytest.mark.parametrize("name", MAKERS)
def test_a_sound_of_a_few_samples_has_a_token(name: str, folders: dict[str, Path]) -> None:
    """In training, too, where networks of others hide several tokens at once."""
    modality = Audio(encoder=f"transformers:{folders[name]}", freeze=False)
    values = [modality.read(cell) for cell in sounds(1, 100, 5000)]
    state = modality.fit(values)
    encoder, batch = modality.build(state, 8), modality.collate([modality.prepare(v, state, None)[0] for v in values])
    for is_training in (True, False):
        tokens = encoder.train(is_training)(batch)
        assert tokens.mask.sum(1).tolist()[:2] == [1, 1] and bool(tokens.values.isfinite().all())


def test_it_says_what_the_model_says(folders: dict[str, Path]) -> None:
    modality = Audio(encoder=f"transformers:{folders['wav2vec2']}")
    values = [modality.read(cell) for cell in sounds()]
    state = modality.fit(values)
    encoder: Any = modality.build(state, 8)
    encoder.load_pretrained()
    batch = modality.collate([modality.prepare(v, state, None)[0] for v in values])
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folders["wav2vec2"])
    model = transformers.AutoModel.from_pretrained(folders["wav2vec2"]).eval()
    for _ in range(2):  # the second time from what was kept
        features = encoder.eval().features(batch)
        for row, value in enumerate(values):
            ready = extractor(value.wave, sampling_rate=RATE, return_tensors="pt").input_values
            with torch.no_grad():
                expected = model(ready).last_hidden_state[0]
            torch.testing.assert_close(features[row, : len(expected)], expected, atol=1e-4, rtol=0)


def test_a_run_needs_no_folder(folders: dict[str, Path], tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(folders["whisper"], own)
    rows = [{"sound": sound, "long": len(sound[0]) > 6000} for sound in sounds() * 4]
    run = fit(
        MultiTaskModel({"sound": Audio(encoder=f"transformers:{own}")}, {"long": Binary()}, width=16),
        rows, steps=2, batch_size=8, threads=1, out=tmp_path / "run",
    )  # fmt: skip
    shutil.rmtree(own)
    loaded = load(tmp_path / "run")
    assert str(loaded.predict(rows[:3])) == str(run.predictor.predict(rows[:3]))


def test_what_cannot_work_says_why(tmp_path: Path, folders: dict[str, Path]) -> None:
    transformers.BertConfig().save_pretrained(tmp_path)
    transformers.Wav2Vec2Config(add_adapter=True).save_pretrained(tmp_path / "adapted")
    transformers.SEWConfig().save_pretrained(tmp_path / "sew")
    cells = [Audio().read(cell) for cell in sounds()]
    for options, message in [
        ({"encoder": f"transformers:{tmp_path}"}, "is of type bert; sounds are read by networks like wav2vec2"),
        ({"encoder": f"transformers:{tmp_path / 'adapted'}"}, "has add_adapter: how many tokens"),
        ({"encoder": f"transformers:{tmp_path / 'sew'}"}, "has squeeze_factor"),
        ({"encoder": f"transformers:{folders['whisper']}", "rate": 8000}, "hears 16000 samples a second, not 8000"),
        ({"encoder": "package:resembler"}, "Did you mean 'resemblyzer'"),
    ]:
        with pytest.raises(ConfigError) as caught:
            Audio(**options).fit(cells)
        assert message in str(caught.value)
    assert Audio(encoder=f"transformers:{folders['whisper']}").choose(cells, 4)["rate"][0] == 16000


def test_the_voice_encoder_has_a_token_for_each_window() -> None:
    voice = Voice().eval()
    for seconds, count in ((0.3, 1), (1.0, 1), (1.7, 2), (4.0, 5)):
        samples = round(RATE * seconds)
        assert voice.tokens(samples) == count == voice(torch.randn(2, samples)).shape[1]
    for samples in range(1, 80000, 53):
        frames = 1 + samples // voice.hop
        ends = range(voice.window, frames + voice.step, voice.step)  # the first that reaches the last frame is the last
        assert voice.tokens(samples) == 1 + sum(end - voice.step < frames for end in ends[1:])


@pytest.mark.parametrize("loud", [0.1, 0.001, 0.0])
def test_the_voice_encoder_hears_one_window_after_the_other(loud: float) -> None:
    """As its paper has it, in a loop, on frames by a Fourier transform."""
    voice = Voice().eval()
    filters = torch.from_numpy(mel_filter_bank(201, 40, 0, 8000, RATE, norm="slaney", mel_scale="slaney")).float()
    for samples in (1, 160, 12799, 25440, 25441, 38400):
        waves = loud * torch.randn(2, samples)
        power = waves.square().mean(1, keepdim=True).clamp(min=1e-10)
        louder = nn.functional.pad(waves * (10 ** (-30 / 20) / power.sqrt()).clamp(min=1), (200, 200))
        spectrum = torch.stft(louder, 400, 160, window=torch.hann_window(400), center=False, return_complex=True)
        mels = spectrum.abs().square().transpose(1, 2) @ filters
        said = [voice.lstm(mels[:, 80 * n : 80 * n + 160])[1][0][-1] for n in range(voice.tokens(samples))]
        expected = nn.functional.normalize(voice.linear(torch.stack(said, 1)).relu(), dim=2)
        torch.testing.assert_close(voice(waves), expected, atol=1e-5, rtol=0)


@pytest.mark.skipif(importlib.util.find_spec("resemblyzer") is None, reason="the package resemblyzer is not installed")
def test_the_packaged_one_tells_voices() -> None:
    """Its frames are librosa's: of a tone, the band that holds it is the loudest."""
    modality = Audio(encoder="package:resemblyzer")
    values = [modality.read(cell) for cell in sounds(16000, 16000)]
    state = modality.fit(values)
    encoder: Any = modality.build(state, 8)
    encoder.load_pretrained()
    features = encoder.eval().features(modality.collate([modality.prepare(v, state, None)[0] for v in values]))
    one, two = features[:, 0]
    assert float(one.norm()) == pytest.approx(1, abs=1e-4)
    assert float(one @ two) > 0.8  # noise is noise, to a network that knows sounds
