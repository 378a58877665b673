"""A vocoder that others have trained: the HiFi-GAN of Transformers' SpeechT5, by its name on the hub or its folder.

Shape legend: `S` samples, `T` frames, `M` mel bands.
"""

from __future__ import annotations

import functools
import json
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trunkline.arrays.extras import need
from trunkline.errors import ConfigError
from trunkline.pretrained.hub import from_hub
from trunkline.types import State

KIND = "SpeechT5HifiGan"
HIGHEST = 7600  # Hz, as SpeechT5 hears


def describe(vocoder: str) -> State:
    """`{"rate", "mels", "hop", "config"}` of a vocoder.

    Raises:
        ConfigError: it cannot be had, it is another network, or its frames cannot be made.
    """
    what = f"vocoder: {vocoder!r}"
    theirs = need("transformers", "text", what)
    config = from_hub(what, theirs.AutoConfig.from_pretrained, vocoder)
    if config.model_type != theirs.SpeechT5HifiGanConfig.model_type:
        raise ConfigError(f"{what} is a {config.model_type!r}; name a {KIND}, such as microsoft/speecht5_hifigan")
    hop = math.prod(config.upsample_rates)
    if 1000 * hop % config.sampling_rate:
        raise ConfigError(f"{what} has frames of {hop} samples at {config.sampling_rate} a second; Transformers makes "
                          "them of whole milliseconds alone")  # fmt: skip
    return {
        "rate": config.sampling_rate,
        "mels": config.model_in_dim,
        "hop": hop,
        "config": json.loads(config.to_json_string(use_diff=False)),
    }


def build(about: State) -> nn.Module:
    """Its layers, which stay as they are, with random weights."""
    theirs = need("transformers", "text", "a vocoder")
    network = theirs.SpeechT5HifiGan(theirs.SpeechT5HifiGanConfig(**_options(about)))
    return network.requires_grad_(False)


def fill(network: nn.Module, vocoder: str) -> None:
    """Weights of the hub or the folder."""
    what = f"vocoder: {vocoder!r}"
    theirs = from_hub(what, need("transformers", "text", what).SpeechT5HifiGan.from_pretrained, vocoder)
    network.load_state_dict(theirs.state_dict())


def frames_of(wave: np.ndarray, about: State) -> Tensor:
    """Frames `[T, M]` as the vocoder knows them: log10 of the amplitude in each band, of a sound at full level."""
    level = max(float(np.abs(wave).max(initial=0.0)), 1e-5)
    heard = _extractor(about["rate"], about["mels"], about["hop"])
    padded = np.pad(wave / level, (0, max(0, heard.n_fft - len(wave))))  # a shorter sound has no frame
    found = heard(audio_target=padded, sampling_rate=about["rate"])["input_values"][0]
    return torch.from_numpy(np.asarray(found, dtype=np.float32))[: 1 + len(wave) // about["hop"]]


@functools.cache
def _extractor(rate: int, mels: int, hop: int) -> Any:
    """Frames of four hops, Slaney's mel scale from 80 Hz."""
    step = 1000 * hop // rate  # milliseconds
    return need("transformers", "text", "a vocoder").SpeechT5FeatureExtractor(
        sampling_rate=rate, num_mel_bins=mels, hop_length=step, win_length=4 * step, fmax=min(HIGHEST, rate / 2)
    )


def _options(about: State) -> dict[str, Any]:
    return {
        name: value for name, value in about["config"].items() if name not in ("model_type", "transformers_version")
    }
