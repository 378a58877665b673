"""Sound: a path or samples → log-mel frames → tokens over time, by a small convolutional network.

Shape legend: `n` rows, `S` samples, `T` frames, `M` mel bands, `L` tokens, `C` channels, `D` width.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from trunkline.arrays.hearing import SoundCells, WaveCells
from trunkline.contexts import TimeContext
from trunkline.errors import ConfigError
from trunkline.modalities import pretrained_audio
from trunkline.modalities.contract import Choices, Encoder, Modality, as_tensors
from trunkline.modalities.convnet import ConvNet
from trunkline.modalities.pretrained import SCRATCH
from trunkline.modalities.sound_changes import hidden, noisy, respoken
from trunkline.pretrained import Tuning
from trunkline.showing import Shown
from trunkline.sounds import RATE, Sound, Spectrum, check_sound, choose_rate, show_sound
from trunkline.types import State

MANY = 20_000  # sounds that are varied enough by themselves
LAYERS = 2  # over tokens that a task reads
TEMPO = 0.1  # share by which training says a sound faster or slower, at most


class Audio(Modality):
    """A sound, as log-mel frames relative to its own loudest band: how loud it was recorded does not matter.

    Training hides a few neighbouring bands and frames of each sound (Park et al., "SpecAugment", 2019), cuts a little
    off its ends, lays noise under it, and says it a little faster or slower.

    Args:
        rate: samples a second; sounds of other rates are resampled. `None`: that of most training sounds, 16 000 at
            most.
        mels: frequency bands.
        hop_ms: from frame to frame, in milliseconds.
        window_ms: what one frame looks at.
        max_seconds: what comes later is not read.
        channels: of the network's layers.
        depth: residual blocks.
        stride: frames a token.
        layers: Transformer layers over the tokens, which then know where they are and hear the whole. `None`: two
            where a task reads the tokens, else none.
        heads: attention heads; must divide the model's width.
        mean_norm: take from each band its mean over the sound (cepstral mean normalisation, Atal 1974): a microphone
            and a room add the same to all of its frames. So do voices: for what is said, not for who says it.
        alter: how much training changes sounds, from 0, not at all, to 1.
        voices: training makes voices deeper and higher by up to this share, so that what is learned holds for voices
            that were never heard; .2 is much. Never chosen for you: who speaks is in it, too.
        encoder: `scratch`, which is also `None`, or a pretrained network, on what it wants of a sound:
            `transformers:NAME`, `transformers:FOLDER` or `package:resemblyzer`. Of the options above only `rate` and
            `max_seconds` are for it.
        freeze: leave the pretrained network as it is; what it says about a sound is then worked out once.
        encoder_lr: learning rate of a pretrained network that is not frozen, as a share of everything else's.
        layer_decay: that of each of its layers as a share of the one above; 1: all learn alike.
        lora: rank of low-rank adapters that learn while the pretrained network stays as it is; 0 for none.
    """

    axis = "time"
    cut_by = "max_seconds"
    varying: ClassVar = {"mel": (1,), "features": (1,)}
    reads_files = True
    fit_sample = 512

    def __init__(
        self,
        rate: int | None = None,
        *,
        mels: int = 40,
        hop_ms: float = 20.0,
        window_ms: float = 40.0,
        max_seconds: float = 30.0,
        channels: int = 64,
        depth: int = 3,
        stride: int = 2,
        layers: int | None = None,
        heads: int = 4,
        mean_norm: bool = False,
        alter: float | None = None,
        voices: float = 0.0,
        encoder: str | None = None,
        freeze: bool = True,
        encoder_lr: float = 0.1,
        layer_decay: float = 1.0,
        lora: int = 0,
    ) -> None:
        self.encoder = encoder
        self.freeze = freeze
        self.encoder_lr = encoder_lr
        self.layer_decay = layer_decay
        self.lora = lora
        self.layers = layers
        self.heads = heads
        self.mean_norm = mean_norm
        self.alter = alter
        self.voices = voices
        self.rate = rate
        self.mels = mels
        self.hop_ms = hop_ms
        self.window_ms = window_ms
        self.max_seconds = max_seconds
        self.channels = channels
        self.depth = depth
        self.stride = stride

    @property
    def cells(self) -> SoundCells | WaveCells:
        """Reading, and frames."""
        return self._plain if self.pretrained is None else WaveCells(self._rate, self._plain.max_seconds)

    @property
    def _plain(self) -> SoundCells:
        most = None if self.max_seconds == math.inf else self.max_seconds
        spectrum = self._spectrum
        return SoundCells(self._rate, self.mels, spectrum.hop, spectrum.window, most, self.mean_norm)

    def read(self, cell: Any) -> Sound:
        """All channels mixed to one, resampled.

        Args:
            cell: a path (wav, flac, ogg, mp3 …), or `(samples [S] or [S, channels], rate)`; samples are floats from -1
                to 1, or arrays of int16 or int32.

        Raises:
            ConfigError: an option is out of range.
            DataError: the file or the samples are no sound, or are damaged.
        """
        self._check()
        return self.cells.read(cell)

    def show(self, value: Sound) -> Shown:
        """The sound itself, its first seconds."""
        return show_sound(value.wave, self._rate)

    def check(self, cell: Any) -> None:
        """Opens a file without decoding its samples."""
        self._check()
        check_sound(cell)

    @property
    def tuning(self) -> Tuning:
        """How a pretrained network goes on learning."""
        return Tuning(self.freeze, self.encoder_lr, self.layer_decay, self.lora)

    @property
    def pretrained(self) -> str | None:
        """The name of the pretrained network, if it is one."""
        return None if self.encoder == SCRATCH else self.encoder

    @property
    def is_random(self) -> bool:
        """Whether training changes sounds."""
        return (self._alter > 0 or self.voices > 0) and self.pretrained is None

    @property
    def _rate(self) -> int:
        return RATE if self.rate is None else self.rate

    @property
    def _spectrum(self) -> Spectrum:
        return Spectrum.of(self._rate, self.mels, self.hop_ms, self.window_ms)

    @property
    def _alter(self) -> float:
        return 1.0 if self.alter is None else self.alter

    def choose(self, sample: Sequence[Sound], rows: int, *, is_read: bool = False) -> Choices:
        """The rate of the sounds themselves, how much training changes them, and whether tokens hear the whole."""
        if self.pretrained is not None:
            return {"rate": (pretrained_audio.describe(self.pretrained)["rate"], "what the pretrained network hears")}
        return {
            "rate": choose_rate(sample),
            "alter": (1.0 if rows < MANY else 0.5, f"{rows} sounds: the fewer, the more training changes them"),
            "layers": (
                (LAYERS, "a task reads the tokens: they are to know where they are")
                if is_read
                else (0, "only the whole is read")
            ),
        }

    def fit(self, values: Iterable[Sound]) -> State:
        """`{"mean", "std"}` of each mel band over the frames.

        Raises:
            ConfigError: the pretrained network hears another rate.
        """
        if self.pretrained is not None:
            about = pretrained_audio.describe(self.pretrained)
            if about["rate"] != self._rate:
                raise ConfigError(f"rate: {self.pretrained!r} hears {about['rate']} samples a second, not {self._rate}")
            return {"encoder": about}
        return self._spectrum.fit(self.prepare(value, {}, None)[0] for value in values)

    def shrink(self, value: Sound, state: State) -> tuple[Tensor, TimeContext]:
        """The frames as they are: what training changes."""
        kind = self.cells
        frames, context = kind.frames(value) if isinstance(kind, SoundCells) else kind.prepare(value, state)
        return torch.from_numpy(frames), context

    def prepare(
        self, value: Sound | tuple[Tensor, TimeContext], state: State, rng: np.random.Generator | None
    ) -> tuple[Tensor, TimeContext]:
        """Log-mel frames `[T, M]`, float32, `T = 1 + S // hop`; in training changed, and a few more or less.

        For a pretrained network the samples `[S]`.
        """
        mel, context = self.shrink(value, state) if isinstance(value, Sound) else value
        if self.pretrained is not None:
            return mel, context
        if rng is not None and self.is_random:
            mel = respoken(mel, tempo=TEMPO * self._alter, voices=self.voices, rate=self._rate, rng=rng)
            mel = noisy(mel, self._alter, rng) if self._alter > 0 else mel
        mel = self._plain.normed(mel)
        if rng is not None and self.is_random:
            mel = hidden(mel, torch.tensor(state["mean"]), self._alter, rng)
        return mel, context

    def collate(self, items: Sequence[Tensor]) -> dict[str, Tensor]:
        """`{"mel": [n, T, M], "length": [n]}`, padded to the longest with zeros that nobody reads."""
        return as_tensors(self.cells.collate([item.numpy() for item in items]))

    def build(self, state: State, width: int) -> Encoder:
        """The convolutional network, or the pretrained one.

        Raises:
            ConfigError: `heads` does not divide the width.
        """
        if self.pretrained is not None:
            return pretrained_audio.build(state, width, encoder=self.pretrained, tuning=self.tuning)
        if self.layers and width % self.heads:
            raise ConfigError(f"heads={self.heads} of an audio encoder does not divide the model's width {width}")
        return ConvNet(
            state,
            width,
            channels=self.channels,
            depth=self.depth,
            stride=self.stride,
            layers=self.layers or 0,
            heads=self.heads,
        )

    def _check(self) -> None:
        """Raises:
        ConfigError: all that is wrong.
        """
        ours = [name for name in ("voices", "mean_norm", "layers") if getattr(self, name)]
        shares = {
            f"alter={self._alter:g}: 0 (not at all) to 1": not 0 <= self._alter <= 1,
            f"voices={self.voices:g}: 0 (not at all) to less than 1": not 0 <= self.voices < 1,
            f"max_seconds={self.max_seconds:g}: more than 0": not self.max_seconds > 0,
            f"channels={self.channels}, stride={self.stride}: at least 1": min(self.channels, self.stride) < 1,
            f"heads={self.heads}: at least 1": self.heads < 1,
            f"layers={self.layers}, depth={self.depth}: 0 or more": min(self.layers or 0, self.depth) < 0,
            f"{' and '.join(ours)}: not for a pretrained network; leave them out": self.pretrained and ours,
        }
        said = Spectrum.faults(self._rate, self.mels, self.hop_ms, self.window_ms)
        said += [fault for fault, is_so in shares.items() if is_so]
        if said:
            raise ConfigError("\n".join(f"audio input: {fault}" for fault in said))
