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
KALDI_FLOOR = 1.192092955078125e-07
FRAME, HOP, SPECTRUM = 400, 160, 512  # samples that spectrogram Transformers' extractor has for good


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
            wave = wave - wave.mean(1, keepdim=True)  # what is left of a large one, in 32 bits
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
        filters = mel_filter_bank(
            1 + self.size // 2, extractor["feature_size"], 0.0, 8000.0, extractor["sampling_rate"], "slaney", "slaney"
        )  # [N, M]
        self.register_buffer("filters", torch.from_numpy(filters).float().T.contiguous(), persistent=False)
        waves = windowed_waves(self.size, bins_of=self.size, periodic=True)
        self.register_buffer("waves", waves.float()[:, None], persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        """`[1, S]` → `[1, L, F]`, of the whole window."""
        wave = torch.cat([wave, wave.new_zeros(1, self.window)], 1)[:, : self.window]
        wave = F.pad(wave[:, None], (self.size // 2, self.size // 2), mode="reflect")[:, 0]
        mel = banded(wave, self.waves, self.filters, self.hop)[:, :, :-1].clamp(min=FLOOR).log10()  # [1, M, T]
        mel = torch.maximum(mel, mel.amax((1, 2), keepdim=True) - RANGE)
        return self.model((mel + 4) / 4).last_hidden_state


class FrameEar(nn.Module):
    """A spectrogram Transformer on log-mel frames as Kaldi makes them: what is missing at the end is 0.

    Gong et al., "AST: audio spectrogram transformer" (2021). That a frame has no mean, and each of its samples less of
    the one before, is part of the convolution: both are linear.

    Args:
        model: of transformers.
        extractor: the feature extractor's options.
        places: tokens that its patches give, of each band of them.
    """

    filters: Tensor
    waves: Tensor

    def __init__(self, model: nn.Module, extractor: dict[str, Any], places: int) -> None:
        super().__init__()
        from transformers.audio_utils import mel_filter_bank

        self.model, self.places, self.longest = model, places, extractor["max_length"]
        is_normed: bool = extractor["do_normalize"]
        self.mean: float = extractor["mean"] if is_normed else 0.0
        self.scale: float = 2 * extractor["std"] if is_normed else 1.0
        rate = extractor["sampling_rate"]
        filters = mel_filter_bank(
            1 + SPECTRUM // 2, extractor["num_mel_bins"], 20, rate // 2, rate, None, "kaldi", True
        )  # [N, M]
        self.register_buffer("filters", torch.from_numpy(filters).float().T.contiguous(), persistent=False)
        least = torch.eye(FRAME, dtype=torch.float64)
        steeper = least - 0.97 * torch.diag(least.new_ones(FRAME - 1), -1)  # of the first sample a window hears nothing
        waves = windowed_waves(FRAME, bins_of=SPECTRUM, periodic=False) @ steeper @ (least - 1 / FRAME)
        self.register_buffer("waves", waves.float()[:, None], persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        """`[1, S]`, at least one frame → `[1, L, F]`, of the whole window."""
        mel = banded(wave, self.waves, self.filters, HOP).clamp(min=KALDI_FLOOR).log().transpose(1, 2)  # [1, T, M]
        mel = torch.cat([mel, mel.new_zeros(1, self.longest, mel.shape[2])], 1)[:, : self.longest]
        states = self.model((mel - self.mean) / self.scale).last_hidden_state
        return states[:, 2:].unflatten(1, (-1, self.places)).mean(1)  # two marks, then one band after another


def banded(wave: Tensor, waves: Tensor, filters: Tensor, hop: int) -> Tensor:
    """Samples `[n, S]` → power in bands `[n, M, T]`: a spectrum that is a convolution.

    Args:
        wave: as long as its frames need it.
        waves: `windowed_waves [2 N, 1, size]`.
        filters: of the bands, `[M, N]`.
        hop: samples from one frame to the next.
    """
    parts, bins = F.conv1d(wave[:, None], waves, stride=hop), filters.shape[1]
    return filters @ (parts[:, :bins].square() + parts[:, bins:].square())


def windowed_waves(size: int, *, bins_of: int, periodic: bool) -> Tensor:
    """Cosines and sines of each bin of a Fourier transform of `bins_of` samples, under a Hann window, `[2 N, size]`
    float64."""
    places = torch.arange(size, dtype=torch.float64)
    angles = 2 * math.pi / bins_of * torch.arange(1 + bins_of // 2, dtype=torch.float64)[:, None] * places
    return torch.cat([angles.cos(), angles.sin()]) * torch.hann_window(size, periodic=periodic, dtype=torch.float64)
