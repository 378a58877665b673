"""Pretrained sounds by name: `transformers:NAME` (or a folder), and what packages carry, `package:resemblyzer`.

Shape legend: `n` rows, `S` samples, `L` tokens, `F` features, `D` width.
"""

from __future__ import annotations

import functools
import json
import math
from typing import Any

import torch
from torch import Tensor, nn

from trunkline.errors import ConfigError
from trunkline.modalities.ears import FRAME, FrameEar, MelEar, WaveEar, banded, windowed_waves
from trunkline.modalities.pretrained import Lengths, PretrainedEncoder, fit_weights, packaged
from trunkline.modalities.pretrained_text import empty_model, fill_model, where
from trunkline.pretrained import Tuning, from_hub, need
from trunkline.types import Span, State, Tokens

LEVEL = 10 ** (-30 / 20)  # of full scale, as loud as the speaker encoder's sounds are at least
PACKAGES = {"resemblyzer": ("resemblyzer", "resemblyzer", "pretrained.pt")}
WHISPER, SPECTROGRAM = "whisper", "audio-spectrogram-transformer"


def describe(encoder: str) -> State:
    """What the state of a sound says about its encoder: `{"config", "extractor"}`, or its package's name.

    Raises:
        ConfigError: there is no such network, it is of a kind not known here, or the library is not installed.
    """
    source = where(encoder, PACKAGES)
    if encoder.startswith("package:"):
        need("transformers", "pretrained", f"encoder: {encoder!r}")
        return {"package": encoder.partition(":")[2], "rate": 16000}
    transformers = need("transformers", "text", f"encoder: {encoder!r}")
    config = from_hub(f"encoder: {encoder!r}", transformers.AutoConfig.from_pretrained, source)
    if config.model_type not in (WHISPER, SPECTROGRAM) and not hasattr(config, "conv_stride"):
        raise ConfigError(
            f"encoder: {encoder!r} is of type {config.model_type}; sounds are read by networks like wav2vec2 (also "
            f"hubert, wavlm …), {WHISPER} and {SPECTROGRAM}"
        )
    if unknown := [
        what for what in ("add_adapter", "squeeze_factor") if getattr(config, what, 0) > (what == "squeeze_factor")
    ]:
        raise ConfigError(f"encoder: {encoder!r} has {unknown[0]}: how many tokens a sound gets then is not known "
                          "here; take a network like wav2vec2 without")  # fmt: skip
    extractor = from_hub(f"encoder: {encoder!r}", transformers.AutoFeatureExtractor.from_pretrained, source)
    return {
        "config": json.loads(config.to_json_string(use_diff=False)),
        "extractor": json.loads(extractor.to_json_string()),
        "rate": extractor.sampling_rate,
    }


def build(state: State, width: int, *, encoder: str, tuning: Tuning) -> PretrainedAudio:
    """The network that the state describes, its weights still random."""
    about = state["encoder"]
    if "package" in about:
        voice = Voice()
        load: Any = functools.partial(_load_packaged, encoder=encoder)
        return PretrainedAudio(voice, width, weights=load, tuning=tuning)
    transformers = need("transformers", "text", f"encoder: {encoder!r}")
    listener = Listener(empty_model(transformers, about["config"]), about["extractor"], about["rate"])
    load = functools.partial(_load, encoder=encoder)
    return PretrainedAudio(listener, width, weights=load, tuning=tuning)


class PretrainedAudio(PretrainedEncoder):
    """A pretrained network of sounds; what it says about each moment is a token.

    Rows of one length go through it together and without padding, so a row's tokens depend on no other row, whatever
    the network does at a sound's end.

    Args:
        network: sounds of one length `[n, S]` → features `[n, L, F]`; knows its `features`, and how many tokens a
            sound gets (`tokens`) and samples a token stands for (`stride`).
        width: `D`.
        **options: see `PretrainedEncoder`.
    """

    def __init__(self, network: Listener | Voice, width: int, **options: Any) -> None:
        super().__init__(network, features=network.features, width=width, keep=True, **options)

    def lengths(self, values: dict[str, Tensor]) -> Lengths:
        samples: list[int] = values["length"].tolist()
        return {"wave": samples}, [self._listener.tokens(count) for count in samples]

    def run(self, values: dict[str, Tensor]) -> Tensor:
        length = values["length"]
        rows: list[Tensor] = [values["wave"]] * len(length)
        for samples in length.unique().tolist():
            where = (length == samples).nonzero().flatten().tolist()
            for row, features in zip(where, self.network(values["wave"][where, :samples])):
                rows[row] = features
        return nn.utils.rnn.pad_sequence(rows, batch_first=True)

    def heard(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the network says, as `forward` takes it in place of sounds: `{"features": [n, L, F], "count": [n]}`.

        An exported network hears by a graph of its own, sound by sound, and its encoder reads this.
        """
        features = self.features(values)
        return {"features": features, "count": torch.tensor(self.lengths(values)[1], device=features.device)}

    def forward(self, values: dict[str, Tensor]) -> Tokens:
        """`{"wave": [n, S], "length": [n]}`, or what was `heard` → tokens `[n, L, D]` in one `time` span; its stride
        counts samples."""
        heard = values if "features" in values else self.heard(values)
        features = heard["features"]
        mask = torch.arange(features.shape[1], device=features.device) < heard["count"].unsqueeze(1)
        tokens = self.project(features).masked_fill(~mask.unsqueeze(2), 0.0)
        span = Span("", 0, features.shape[1], "time", (features.shape[1],), (self._listener.stride,))
        return Tokens(tokens, mask, (span,))

    @property
    def ear(self) -> nn.Module:
        """The network with its feature extractor as one graph, of one sound."""
        return self._listener.ear()

    @property
    def hearing(self) -> dict[str, Any]:
        """What must be known beside the ear: the `least` samples it takes, and of one that says more than a sound has
        tokens, how many samples are in a `stride` from one to the next, the most `places` there are, and whether what
        is left of a sound has a token (`is_rest_heard`). A sound has one token at least.
        """
        return self._listener.hearing

    @property
    def _listener(self) -> Listener | Voice:
        assert isinstance(self.network, Listener | Voice)
        return self.network


class Listener(nn.Module):
    """A network of transformers on what its own feature extractor makes of a sound.

    Args:
        model: of a kind like wav2vec2, Whisper's encoder, or a spectrogram Transformer.
        extractor: the feature extractor's options.
        rate: samples a second.
    """

    def __init__(self, model: Any, extractor: dict[str, Any], rate: int) -> None:
        super().__init__()
        self.kind, self.rate, self.options = model.config.model_type, rate, json.dumps(extractor)
        self.model, config = model, model.config
        self.features: int = config.d_model if self.kind == WHISPER else config.hidden_size
        if self.kind == WHISPER:
            self.window, self.places = extractor["chunk_length"] * rate, config.max_source_positions
        elif self.kind == SPECTROGRAM:
            self.window = config.max_length * rate // 100  # its frames are 10 ms apart
            self.places = (config.max_length - config.patch_size) // config.time_stride + 1
        self.strides = tuple(getattr(config, "conv_stride", ()))
        self.kernels = tuple(getattr(config, "conv_kernel", ()))
        is_hidden = bool(self.strides) and getattr(config, "mask_time_prob", 0) > 0
        self.hidden_at_once: int = config.mask_time_length if is_hidden else 0  # tokens, in training

    @property
    def stride(self) -> float:
        """Samples a token."""
        return float(math.prod(self.strides)) if self.strides else self.window / self.places

    def tokens(self, samples: int) -> int:
        """How many a sound of so many samples gets."""
        if not self.strides:
            return min(self.places, max(1, math.ceil(samples / self.stride)))
        for kernel, stride in zip(self.kernels, self.strides):
            samples = max(0, (samples - kernel) // stride + 1)
        return max(1, samples)

    def forward(self, waves: Tensor) -> Tensor:
        """`[n, S]` → `[n, L, F]`."""
        count = self.tokens(waves.shape[1])
        least = self._least()
        if waves.shape[1] < least:  # too short for one token
            waves = nn.functional.pad(waves, (0, least - waves.shape[1]))
        said = _extractor(self.options)(list(waves.cpu().numpy()), sampling_rate=self.rate, return_tensors="pt")
        key = next(name for name in ("input_values", "input_features") if name in said)
        options = {}
        if self.training and count < self.hidden_at_once:  # too short for any to be hidden
            options["mask_time_indices"] = torch.zeros(len(waves), count, dtype=torch.bool, device=waves.device)
        states = self.model(said[key].to(waves.device), **options).last_hidden_state
        if self.kind == SPECTROGRAM:  # two marks, then patches, all of one band after another
            states = states[:, 2:].unflatten(1, (-1, self.places)).mean(1)
        return states[:, :count]

    @property
    def hearing(self) -> dict[str, Any]:
        """See `PretrainedAudio.hearing`."""
        if self.strides:
            return {"least": self._least(), "stride": None}
        return {"least": self._least(), "stride": self.stride, "places": self.places, "is_rest_heard": True}

    def ear(self) -> nn.Module:
        """See `PretrainedAudio.ear`."""
        options = json.loads(self.options)
        if self.kind == SPECTROGRAM:
            return FrameEar(self.model, options, self.places)
        return WaveEar(self.model, options) if self.strides else MelEar(self.model, options, self.window)

    def _least(self) -> int:
        """Samples that make one token, or one frame."""
        samples = FRAME if self.kind == SPECTROGRAM else 1
        for kernel, stride in zip(reversed(self.kernels), reversed(self.strides)):
            samples = (samples - 1) * stride + kernel
        return samples


class Voice(nn.Module):
    """The speaker encoder of Resemblyzer: an LSTM over mel frames, and what it says at the end of each window.

    Wan et al., "Generalized end-to-end loss for speaker verification" (2018). Frames of 25 ms, 10 ms apart; windows of
    1.6 s, 0.8 s apart.
    """

    features, rate, hop, window, step = 256, 16000, 160, 160, 80
    waves: Tensor
    filters: Tensor

    def __init__(self) -> None:
        from transformers.audio_utils import mel_filter_bank

        super().__init__()
        self.lstm = nn.LSTM(40, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)
        filters = mel_filter_bank(201, 40, 0, 8000, self.rate, norm="slaney", mel_scale="slaney")  # [N, M]
        self.register_buffer("filters", torch.from_numpy(filters).float().T.contiguous(), persistent=False)
        waves = windowed_waves(400, bins_of=400, periodic=True)
        self.register_buffer("waves", waves.float()[:, None], persistent=False)

    @property
    def stride(self) -> float:
        """Samples a token."""
        return float(self.step * self.hop)

    @property
    def hearing(self) -> dict[str, Any]:
        """See `PretrainedAudio.hearing`."""
        return {"least": 1, "stride": self.stride, "places": None, "is_rest_heard": False}

    def ear(self) -> nn.Module:
        """See `PretrainedAudio.ear`."""
        return VoiceEar(self)

    def tokens(self, samples: int) -> int:
        """How many a sound of so many samples gets: as many windows as it takes until one ends with its last frame."""
        return max(1, samples // (self.step * self.hop))

    def forward(self, waves: Tensor) -> Tensor:
        """`[n, S]` → `[n, L, 256]`."""
        return self.windows(self.mel(waves), self.tokens(waves.shape[1]))

    def windows(self, mel: Tensor, count: int | None = None) -> Tensor:
        """Power in bands `[n, 40, T]` → what is said at the end of each window, `[n, L, 256]`.

        All at once: silence behind the last frame comes after the state that is taken. So many windows, or all that
        begin within the sound, and of those that begin behind it another's.
        """
        cut = nn.functional.pad(mel, (0, self.window)).unfold(2, self.window, self.step)[:, :, :count]  # [n, 40, L, w]
        states, _ = self.lstm(cut.permute(0, 2, 3, 1).flatten(0, 1))
        starts = torch.arange(cut.shape[2], device=mel.device)
        last = (mel.shape[2] - self.step * starts).clamp(1, self.window) - 1
        said = states.unflatten(0, (-1, cut.shape[2]))[:, starts, last]
        return nn.functional.normalize(self.linear(said).relu(), dim=2)

    def mel(self, waves: Tensor) -> Tensor:
        """`[n, S]` → power in 40 bands `[n, 40, T]`; what is more silent than -30 dB of full scale is made as loud."""
        loudness = waves.square().mean(1, keepdim=True).clamp(min=1e-10).sqrt()
        waves = waves * (LEVEL / loudness).clamp(min=1.0)
        return banded(nn.functional.pad(waves, (200, 200)), self.waves, self.filters, self.hop)


class VoiceEar(nn.Module):
    """All windows of a sound: how many count, `Voice.hearing` says."""

    def __init__(self, voice: Voice) -> None:
        super().__init__()
        self.voice = voice

    def forward(self, wave: Tensor) -> Tensor:
        """`[1, S]` → `[1, L, 256]`."""
        return self.voice.windows(self.voice.mel(wave))


@functools.cache
def _extractor(options: str) -> Any:
    """A feature extractor of transformers from its options as JSON."""
    plain = json.loads(options)
    return getattr(need("transformers", "text", "encoder: 'transformers:'"), plain["feature_extractor_type"])(**plain)


def _load(network: nn.Module, *, encoder: str) -> None:
    assert isinstance(network, Listener)
    fill_model(network.model, encoder=encoder, packages=PACKAGES)


def _load_packaged(network: nn.Module, *, encoder: str) -> None:
    stored = torch.load(packaged(encoder, PACKAGES, extra=None), weights_only=True, map_location="cpu")
    fit_weights(network, stored["model_state"], encoder)
