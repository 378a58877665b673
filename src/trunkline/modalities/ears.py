"""Pretrained networks of sounds with their feature extractors in tensors: one graph from samples to features.

Training has the extractors of transformers, which are NumPy and cannot be traced; these say the same.

Shape legend: `S` samples, `T` frames, `M` mel bands, `N` bins of a spectrum, `L` tokens, `F` features.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FLOOR = 1e-10  # least power of a band
RANGE = 8.0  # powers of ten kept below a sound's loudest band


class WaveEar(nn.Module):
    """A network like wav2vec2 on samples: of mean 0 and variance 1, where its extractor says so.

    Args:
        model: of transformers.
        extractor: the feature extractor's options.
    """

    def __init__(self, model: nn.Module, extractor: dict[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.is_normed = extractor.get("do_normalize", True)

    def forward(self, wave: Tensor) -> Tensor:
        """`[1, S]` → `[1, L, F]`."""
        if self.is_normed:
            wave = wave - wave.mean(1, keepdim=True)
            wave = wave / (wave.square().mean(1, keepdim=True) + 1e-7).sqrt()
        return self.model(wave).last_hidden_state


class MelEar(nn.Module):
    """Whisper's encoder on the log-mel frames of a window: what is shorter has silence behind it.

    Radford et al., "Robust speech recognition via large-scale weak supervision" (2022). The spectrum is a convolution
    with windowed cosines and sines.

    Args:
        model: the encoder, of transformers.
        extractor: the feature extractor's options.
        window: samples that it hears.
    """

    filters: Tensor
    waves: Tensor

    def __init__(self, model: nn.Module, extractor: dict[str, Any], window: int) -> None:
        super().__init__()
        from transformers.audio_utils import mel_filter_bank

        self.model, self.window = model, window
        self.size, self.hop = extractor["n_fft"], extractor["hop_length"]
        self.bins = 1 + self.size // 2
        filters = mel_filter_bank(
            self.bins, extractor["feature_size"], 0.0, 8000.0, extractor["sampling_rate"], "slaney", "slaney"
        )  # [N, M]
        self.register_buffer("filters", torch.from_numpy(filters).float().T.contiguous(), persistent=False)
        self.register_buffer("waves", windowed_waves(self.size), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        """`[1, S]` → `[1, L, F]`, of the whole window."""
        wave = torch.cat([wave, wave.new_zeros(1, self.window)], 1)[:, : self.window]
        wave = F.pad(wave[:, None], (self.size // 2, self.size // 2), mode="reflect")
        parts = F.conv1d(wave, self.waves, stride=self.hop)[:, :, :-1]  # [1, 2 N, T]
        power = parts[:, : self.bins].square() + parts[:, self.bins :].square()
        mel = (self.filters @ power).clamp(min=FLOOR).log10()  # [1, M, T]
        mel = torch.maximum(mel, mel.amax((1, 2), keepdim=True) - RANGE)
        return self.model((mel + 4) / 4).last_hidden_state


def windowed_waves(size: int) -> Tensor:
    """Cosines and sines of each bin of a Fourier transform, under a Hann window, `[2 N, 1, size]` float32."""
    places = torch.arange(size, dtype=torch.float64)
    angles = 2 * math.pi / size * torch.arange(1 + size // 2, dtype=torch.float64)[:, None] * places
    hann = torch.hann_window(size, dtype=torch.float64)
    return (torch.cat([angles.cos(), angles.sin()]) * hann).float()[:, None]
