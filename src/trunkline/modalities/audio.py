"""Sound: a path or samples → log-mel frames → tokens over time, by a small convolutional network.

Shape legend: `n` rows, `S` samples, `T` frames, `M` mel bands, `L` tokens, `C` channels, `D` width.
"""

from __future__ import annotations

import functools
import io
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor, nn

from trunkline.contexts import TimeContext
from trunkline.errors import ConfigError, DataError
from trunkline.modalities import pretrained_audio
from trunkline.modalities.contract import Choices, Encoder, Modality
from trunkline.modalities.convnet import ConvNet
from trunkline.modalities.pretrained import SCRATCH
from trunkline.pretrained import Tuning
from trunkline.showing import Shown, shown_sound
from trunkline.types import State

RATE = 16000  # samples a second, at most, where nothing else is said
MANY = 20_000  # sounds that are varied enough by themselves
FRAMES = 512  # frames that `fit` thins a sound to
FLOOR = 1e-10  # least power of a band
RANGE = 8.0  # powers of ten kept below a sound's loudest band (80 dB)
QUIET = -3.0  # log10 power under which the loudest band is noise (about -65 dB of full scale), not to be amplified


class Sound(NamedTuple):
    """One channel of sound: `wave [S]`, float32, at the modality's rate; rate and length as they were in the cell."""

    wave: np.ndarray
    rate: int
    samples: int


class Audio(Modality):
    """A sound, as log-mel frames relative to its own loudest band: how loud it was recorded does not matter.

    Training hides a few neighbouring bands and frames of each sound (Park et al., "SpecAugment", 2019), cuts a little
    off its ends, and lays noise under it.

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
        alter: how much training changes sounds, from 0, not at all, to 1.
        encoder: `scratch`, which is also `None`, or a pretrained network, on what it wants of a sound:
            `transformers:NAME`, `transformers:FOLDER` or `package:resemblyzer`. Of the options above only `rate` and
            `max_seconds` are for it.
        freeze: leave the pretrained network as it is; what it says about a sound is then worked out once.
        encoder_lr: learning rate of a pretrained network that is not frozen, as a share of everything else's.
        layer_decay: that of each of its layers as a share of the one above; 1: all learn alike.
        lora: rank of low-rank adapters that learn while the pretrained network stays as it is; 0 for none.
    """

    axis = "time"
    varying: ClassVar = {"mel": (1,)}
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
        alter: float | None = None,
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
        self.alter = alter
        self.rate = rate
        self.mels = mels
        self.hop_ms = hop_ms
        self.window_ms = window_ms
        self.max_seconds = max_seconds
        self.channels = channels
        self.depth = depth
        self.stride = stride

    def read(self, cell: Any) -> Sound:
        """All channels mixed to one, resampled.

        Args:
            cell: a path (wav, flac, ogg, mp3 …), or `(samples [S] or [S, channels], rate)`; samples are floats from -1
                to 1, or arrays of int16 or int32.

        Raises:
            DataError: the file or the samples are no sound, or are damaged.
        """
        if isinstance(cell, (str, Path, io.BytesIO)):
            wave, rate, samples = read_file(cell, self.max_seconds)
        elif isinstance(cell, (tuple, list)) and len(cell) == 2:
            wave, rate, samples = read_samples(cell[0], cell[1], self.max_seconds)
        else:
            raise DataError(f"{cell!r} is not a sound; give a path, or samples and their rate")
        if len(wave) == 0:
            raise DataError("the sound is empty: it has no samples")
        if not np.isfinite(wave).all():
            raise DataError("the sound has samples that are NaN or infinite")
        return Sound(soxr.resample(wave.mean(1), rate, self._rate), rate, samples)

    def show(self, value: Sound) -> Shown:
        """The sound itself, its first seconds."""
        return shown_sound(value.wave, self._rate)

    def check(self, cell: Any) -> None:
        """Opens a file without decoding its samples."""
        if isinstance(cell, (str, Path, io.BytesIO)):
            read_file(cell, 0.0)
        else:
            self.read(cell)

    @property
    def tuning(self) -> Tuning:
        """How a pretrained network goes on learning."""
        return Tuning(self.freeze, self.encoder_lr, self.layer_decay, self.lora)

    @property
    def pretrained(self) -> str | None:
        """The name of the pretrained network, if it is one."""
        return None if self.encoder == SCRATCH else self.encoder

    @property
    def refuses_export(self) -> str | None:
        """A pretrained network's: what makes frames of a sound for it is not written in PyTorch."""
        name = self.pretrained
        return None if name is None else f"what {name!r} makes of a sound first is no part of a graph"

    @property
    def is_random(self) -> bool:
        """Whether training changes sounds."""
        return self._alter > 0 and self.pretrained is None

    @property
    def _rate(self) -> int:
        return RATE if self.rate is None else self.rate

    @property
    def _alter(self) -> float:
        return 1.0 if self.alter is None else self.alter

    def choose(self, sample: Sequence[Sound], rows: int, *, is_read: bool = False) -> Choices:
        """The rate of the sounds themselves, and how much training changes them."""
        if self.pretrained is not None:
            return {"rate": (pretrained_audio.describe(self.pretrained)["rate"], "what the pretrained network hears")}
        rates = Counter(min(RATE, sound.rate) for sound in sample)
        rate, count = rates.most_common(1)[0] if sample else (RATE, 0)
        return {
            "rate": (rate, f"{count} of {len(sample)} sounds have it, or more: {RATE} are enough for speech"),
            "alter": (1.0 if rows < MANY else 0.5, f"{rows} sounds: the fewer, the more training changes them"),
        }

    def fit(self, values: Iterable[Sound]) -> State:
        """`{"mean", "std"}` of each mel band over the frames."""
        if self.pretrained is not None:
            about = pretrained_audio.describe(self.pretrained)
            if about["rate"] != self._rate:
                raise ConfigError(f"rate: {self.pretrained!r} hears {about['rate']} samples a second, not {self._rate}")
            return {"encoder": about}
        frames = [thin(self.prepare(value, {}, None)[0]).double() for value in values]
        if len(frames) == 0:
            return {"mean": [-RANGE / 2] * self.mels, "std": [RANGE / 4] * self.mels}
        std, mean = torch.std_mean(torch.cat(frames), dim=0, correction=0)
        return {"mean": mean.tolist(), "std": torch.where(std > 1e-6, std, 1.0).tolist()}

    def shrink(self, value: Sound, state: State) -> tuple[Tensor, TimeContext]:
        """The frames: what training changes."""
        return self.prepare(value, state, None)

    def prepare(
        self, value: Sound | tuple[Tensor, TimeContext], state: State, rng: np.random.Generator | None
    ) -> tuple[Tensor, TimeContext]:
        """Log-mel frames `[T, M]`, float32, `T = 1 + S // hop`; in training a few less, and changed."""
        if isinstance(value, Sound) and self.pretrained is not None:
            return torch.from_numpy(value.wave), TimeContext(value.rate, value.samples, 1 / self._rate)
        if isinstance(value, Sound):
            hop, window = (round(self._rate * ms / 1000) for ms in (self.hop_ms, self.window_ms))
            mel = log_mel(torch.from_numpy(value.wave), rate=self._rate, mels=self.mels, hop=hop, window=window)
            value = relative(mel), TimeContext(value.rate, value.samples, hop / self._rate)
        mel, context = value
        if rng is not None and self._alter > 0:
            mel = altered(mel, torch.tensor(state["mean"]), self._alter, rng)
        return mel, context

    def collate(self, items: Sequence[Tensor]) -> dict[str, Tensor]:
        """`{"mel": [n, T, M], "length": [n]}`, padded to the longest with zeros that nobody reads."""
        if self.pretrained is not None:
            return pretrained_audio.collate(items)
        length = torch.tensor([len(item) for item in items])
        return {"mel": nn.utils.rnn.pad_sequence(list(items), batch_first=True), "length": length}

    def build(self, state: State, width: int) -> Encoder:
        """The convolutional network, or the pretrained one.

        Raises:
            ConfigError: `alter` is out of range.
        """
        if self.pretrained is not None:
            return pretrained_audio.build(state, width, encoder=self.pretrained, tuning=self.tuning)
        if not 0 <= self._alter <= 1:
            raise ConfigError(f"alter: {self.alter} is out of range; give 0 (not at all) to 1")
        return ConvNet(state, width, channels=self.channels, depth=self.depth, stride=self.stride)


def read_file(path: str | Path | io.BytesIO, max_seconds: float) -> tuple[np.ndarray, int, int]:
    """A sound file's first seconds, `[S, channels]` float32, its rate and its whole length in samples.

    Raises:
        DataError: there is no such file, or it is no sound, or damaged.
    """
    name = "the sound" if isinstance(path, io.BytesIO) else path
    if not isinstance(path, io.BytesIO) and not Path(path).is_file():
        raise DataError(f"there is no file {path}")
    try:
        with soundfile.SoundFile(path) as file:
            wave = file.read(math.ceil(max_seconds * file.samplerate), dtype="float32", always_2d=True)
            return wave, file.samplerate, file.frames
    except soundfile.SoundFileError as error:
        raise DataError(f"{name} cannot be read as a sound: {error}") from error


def read_samples(samples: Any, rate: Any, max_seconds: float) -> tuple[np.ndarray, int, int]:
    """The same from samples in memory; int16 and int32 are scaled to ±1.

    Raises:
        DataError: they have no shape or type of sound.
    """
    wave = np.asarray(samples)
    wave = wave[:, None] if wave.ndim == 1 else wave
    if wave.ndim != 2 or wave.dtype.str[1:] not in ("f2", "f4", "f8", "i2", "i4"):
        raise DataError(
            f"samples of {wave.dtype}, shape {list(wave.shape)}; "
            "give floats in [-1, 1], or an array of int16 or int32, [samples] or [samples, channels]"
        )
    if not isinstance(rate, (int, float, np.integer, np.floating)) or not rate > 0:
        raise DataError(f"{rate!r} is not a sample rate; give samples a second")
    scale = np.float32(-np.iinfo(wave.dtype).min if wave.dtype.kind == "i" else 1)
    return wave[: math.ceil(max_seconds * rate)].astype(np.float32) / scale, int(rate), len(wave)


@functools.cache
def mel_filters(mels: int, bins: int, rate: int) -> Tensor:
    """Triangles of height 1, evenly spaced from 0 Hz to half the rate on the mel scale, `[bins, M]`.

    The scale is O'Shaughnessy's (1987), as in HTK: `mel(f) = 2595 log10(1 + f / 700)`.
    """
    edges = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), mels + 2)
    hertz = 700 * (10 ** (edges / 2595) - 1)
    distance = hertz[None] - np.linspace(0, rate / 2, bins)[:, None]  # [bins, M + 2]
    rising = -distance[:, :-2] / np.diff(hertz)[:-1]
    falling = distance[:, 2:] / np.diff(hertz)[1:]
    return torch.from_numpy(np.maximum(0, np.minimum(rising, falling))).float()


def log_mel(wave: Tensor, *, rate: int, mels: int, hop: int, window: int) -> Tensor:
    """`log10` of the power in each mel band, `[S]` → `[1 + S // hop, M]`.

    Frame `t` looks at the `window` samples around sample `t·hop` through a Hann window; beyond the ends is silence.
    """
    hann = torch.hann_window(window, dtype=wave.dtype, device=wave.device)
    spectrum = torch.stft(wave, window, hop, window=hann, pad_mode="constant", return_complex=True)  # [bins, T]
    power = spectrum.real.square() + spectrum.imag.square()
    return (power.T @ mel_filters(mels, power.shape[0], rate).to(power)).clamp(min=FLOOR).log10()


def altered(mel: Tensor, mean: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Training's view of log-mel frames `[T, M]`.

    Up to a twentieth of the frames is cut off each end; noise of one level lies under the sound, up to 20 dB below its
    loudest band; up to an eighth of the frames and a fifth of the bands show `mean [M]`. All that times `strength`.
    """
    first, last = (int(len(mel) * strength * rng.uniform(0, 0.05)) for _ in range(2))
    mel = mel[first : len(mel) - last]
    level = rng.uniform(-RANGE, -RANGE + strength * (RANGE - 2))
    seed = int(rng.integers(2**31))
    noise = level + 0.3 * torch.randn(mel.shape, generator=torch.Generator().manual_seed(seed))
    mel = (10**mel + 10**noise).log10().clamp(max=0.0)
    frames, bands = (int(n * strength * rng.uniform(0, share)) for n, share in zip(mel.shape, (1 / 8, 1 / 5)))
    start, low = (int(rng.integers(0, n - hidden + 1)) for n, hidden in zip(mel.shape, (frames, bands)))
    mel[start : start + frames] = mean
    mel[:, low : low + bands] = mean[low : low + bands]
    return mel


def thin(mel: Tensor) -> Tensor:
    """Evenly spaced frames, at most `FRAMES`."""
    return mel[:: math.ceil(len(mel) / FRAMES)]


def relative(mel: Tensor) -> Tensor:
    """Log-mel frames relative to the loudest band of the sound: from `-RANGE` to 0; silence is all `-RANGE`."""
    return (mel - mel.max().clamp(min=QUIET)).clamp(min=-RANGE)
