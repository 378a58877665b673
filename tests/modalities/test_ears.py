"""What an ear gives its network is what the extractor of transformers gives it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

from tiny_ears import RATE
from trunkline.modalities.ears import FrameEar, MelEar, WaveEar


class Told(nn.Module):
    """Stands where the network would; keeps what it is told."""

    def forward(self, told: Tensor) -> Any:
        self.told = told
        return SimpleNamespace(last_hidden_state=torch.zeros(1, 12, 4))


def sounds() -> dict[str, np.ndarray]:
    rng, seconds = np.random.default_rng(0), np.arange(2 * RATE) / RATE
    noise = rng.standard_normal(len(seconds))
    made = {
        "noise": 0.1 * noise,
        "loud, with an offset": 0.3 + 3 * noise,
        "an offset with little else": 0.5 + 0.001 * noise,
        "tone": 0.5 * np.sin(2765 * seconds) + 1e-5 * noise,
        "short": (0.2 + 0.01 * noise)[:700],
        "long": np.tile(0.1 * noise, 2),
        "silent": 0 * noise,
    }
    return {name: wave.astype(np.float32) for name, wave in made.items()}


def ears() -> dict[str, tuple[Any, Any]]:
    """Extractors, and ears with their options."""
    found: dict[str, tuple[Any, Any]] = {}
    for norm in ("normed", "plain"):
        waves = transformers.Wav2Vec2FeatureExtractor(do_normalize=norm == "normed")
        found[f"waves {norm}"] = waves, WaveEar(Told(), json.loads(waves.to_json_string()))
        frames = transformers.ASTFeatureExtractor(max_length=150, num_mel_bins=32, do_normalize=norm == "normed")
        found[f"frames {norm}"] = frames, FrameEar(Told(), json.loads(frames.to_json_string()), 10)
    mel = transformers.WhisperFeatureExtractor(feature_size=20, chunk_length=2)
    return {**found, "mel": (mel, MelEar(Told(), json.loads(mel.to_json_string()), 2 * RATE))}


@pytest.mark.parametrize("sound", sounds())
@pytest.mark.parametrize("kind", ["waves normed", "waves plain", "frames normed", "frames plain", "mel"])
def test_an_ear_prepares_as_the_extractor_does(kind: str, sound: str) -> None:
    extractor, ear = ears()[kind]
    wave = sounds()[sound]
    said = extractor([wave], sampling_rate=RATE, return_tensors="pt")
    ear(torch.from_numpy(wave)[None])
    wanted = said["input_values" if "input_values" in said else "input_features"]
    assert ear.model.told.shape == wanted.shape
    torch.testing.assert_close(ear.model.told, wanted, atol=4e-3, rtol=0)
