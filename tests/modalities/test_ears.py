"""What an ear gives its network is what the extractor of transformers gives it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import transformers
from torch import Tensor, nn

from tiny_ears import RATE
from trunkline.export.tracing import trace
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
    torch.testing.assert_close(ear.model.told, wanted, atol=1e-4 if kind.startswith("waves") else 4e-3, rtol=0)


def test_an_offset_leaves_no_trace_in_32_bits(tmp_path: Path) -> None:
    """A mean of many samples is not exact in ONNX Runtime; what is left of it is taken away once more."""
    wave = (0.5 + 0.001 * np.random.default_rng(0).standard_normal((1, 50000))).astype(np.float32)
    ear, exact = WaveEar(Told(), {}), wave.astype(np.float64)
    ear.model.forward = lambda told: SimpleNamespace(last_hidden_state=told)  # type: ignore[method-assign]
    trace(ear, {"wave": torch.from_numpy(wave)}, {"wave": None}, ["wave"], ["told"], tmp_path / "ear.onnx")
    (told,) = onnxruntime.InferenceSession(tmp_path / "ear.onnx").run(None, {"wave": wave})
    exact -= exact.mean()
    np.testing.assert_allclose(told, exact / np.sqrt((exact**2).mean() + 1e-7), atol=1e-5)
