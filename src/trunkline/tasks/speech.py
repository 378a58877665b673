"""Speech as an answer: a text is said.

Shape legend: `n` rows, `S` samples, `T` frames, `M` mel bands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trunkline.arrays.spoken import SpeechAnswers
from trunkline.contexts import Context
from trunkline.errors import ConfigError, DataError
from trunkline.showing import Answer
from trunkline.sounds import RATE, Sound, Spectrum, check_sound, choose_rate, pitch_of, read_sound, show_sound
from trunkline.tasks import speech_vocoder
from trunkline.tasks.contract import ERRORS, Output, Target, Task, on_host
from trunkline.tasks.speech_head import SpeechHead
from trunkline.tasks.speech_metric import SpeechMetric, sound_distances
from trunkline.types import Choices, State


class Speech(Task):
    """A sound in which the text named in `of:` is said; cells are paths to sounds.

    Learned from texts and their sounds alone: which part of a sound is which token is found on the way. Texts that are
    read letter by letter (`letters: true`) can be said whatever their words; of others each piece must have been heard.
    What else is known of a row, such as its speaker, is heard through the fusion.

    Sounds are log-mel frames relative to their loudest band; from these a sound is made without a network (see
    `trunkline.arrays.vocoder`), or by one that others have trained.

    Args:
        rate: samples a second; sounds of other rates are resampled. `None`: that of most training sounds, 16 000 at
            most.
        mels: frequency bands.
        hop_ms: from frame to frame, in milliseconds.
        window_ms: what one frame looks at.
        max_seconds: of a sound, at most: its text could not be cut with it. No more is said.
        channels: of the head's layers.
        depth: blocks of convolutions over tokens, and over frames.
        dropout: probability, in the head.
        prosody: learn how high and how loud each token is said, too, and say it so (see `speech_head.py`): melody that
            the text gives is then not the mean of all melodies.
        vocoder: a HiFi-GAN of Transformers that makes sounds of frames, by its name on the hub or its folder, such as
            `microsoft/speecht5_hifigan`. Frames are then what it knows, and `rate`, `mels`, `hop_ms` and `window_ms`
            are not for it.
        vocoder_steps: by which a sound is brought nearer to its frames, where no network makes it.
    """

    reads = "tokens"
    needs_of = True
    is_sequence = True
    heeds_context = False
    primary = "mel_distance"
    best = 0.0
    lower_is_better = frozenset({*ERRORS, "duration_error"})
    reads_files = True
    is_one_pass = False
    refuses_export = None  # it is one graph all the same: the sound is made from what that says
    output_form = "frames [rows, T, M], standardised log-mel, and sizes [rows]: how many frames each row has"
    choose_sample = 512

    def __init__(
        self,
        rate: int | None = None,
        *,
        mels: int = 80,
        hop_ms: float = 12.5,
        window_ms: float = 50.0,
        max_seconds: float = 20.0,
        channels: int = 128,
        depth: int = 3,
        dropout: float = 0.1,
        prosody: bool = False,
        vocoder: str | None = None,
        vocoder_steps: int = 32,
    ) -> None:
        self.rate = rate
        self.mels = mels
        self.hop_ms = hop_ms
        self.window_ms = window_ms
        self.max_seconds = max_seconds
        self.channels = channels
        self.depth = depth
        self.dropout = dropout
        self.prosody = prosody
        self.vocoder = vocoder
        self.vocoder_steps = vocoder_steps

    def read(self, cell: Any) -> Sound:
        """As `trunkline.sounds.read_sound` does.

        Raises:
            ConfigError: an option is out of range.
            DataError: the cell is no sound, is damaged, or longer than `max_seconds`.
        """
        self._check()
        sound = read_sound(cell, self._rate, self.max_seconds)
        _check_seconds(sound.samples / sound.rate, self.max_seconds)
        return sound

    def check(self, cell: Any) -> None:
        """Opens a file without decoding its samples."""
        self._check()
        _check_seconds(check_sound(cell), self.max_seconds)

    def choose(self, values: Sequence[Sound]) -> Choices:
        """The rate of the sounds themselves, or that of the vocoder."""
        if self.vocoder is not None:
            return {"rate": (speech_vocoder.describe(self.vocoder)["rate"], "what the vocoder makes")}
        return {"rate": choose_rate(values)}

    def fit(self, values: Iterable[Sound]) -> State:
        """`{"mean", "std"}` of each band, and `"frames"`, of a sound on average; `"vocoder"`, what is known of it.

        With `prosody` also `"pitch": [mean, std]` of the logarithm of voiced frames' hertz.

        Raises:
            ConfigError: the vocoder cannot be had or makes another rate.
            DataError: there is no sound.
        """
        known: State = {} if self.vocoder is None else {"vocoder": speech_vocoder.describe(self.vocoder)}
        if self.vocoder is not None and (rate := known["vocoder"]["rate"]) != self._rate:
            raise ConfigError(f"speech task: rate: {self.vocoder!r} makes {rate} samples a second, not {self._rate}")
        sizes: list[int] = []
        heights: list[Tensor] = []

        def each() -> Iterable[Tensor]:
            for value in values:
                frames = self._frames(value, known)
                sizes.append(len(frames))
                heights.extend([hertz[hertz > 0].log()] if (hertz := self._pitch(value, known)) is not None else [])
                yield frames

        state = self._spectrum.fit(each())
        if not sizes:
            raise DataError("no row of the training split has a sound")
        pitch = {"pitch": _spread(torch.cat(heights))} if self.prosody else {}
        return {**state, **known, **pitch, "frames": float(np.mean(sizes))}

    def prepare(self, value: Sound, state: State, context: Context | None) -> Tensor:
        """Standardised log-mel frames `[T, M]`; with `prosody` `[T, M + 1]`, the last how high, NaN if not voiced."""
        frames = self._standardised(value, state)
        if (hertz := self._pitch(value, state)) is None:
            return frames
        mean, std = state["pitch"]
        high = torch.where(hertz > 0, (hertz.clamp(min=1.0).log() - mean) / std, torch.nan)
        return torch.cat([frames, fit_length(high, len(frames)).unsqueeze(1)], 1)

    def collate(self, items: Sequence[Sequence[Tensor]]) -> Target:
        """`{"values": [n, T, M], "sizes": [n]}`, padded with zeros that nobody reads; with `prosody` `"pitch": [n, T]`.

        That is NaN in frames that are not voiced.
        """
        rows = [row[0] for row in items]
        values = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        sizes = torch.tensor([len(row) for row in rows])
        if not self.prosody:
            return {"values": values, "sizes": sizes}
        return {"values": values[..., :-1], "sizes": sizes, "pitch": values[..., -1]}

    def build(self, states: Sequence[State], width: int) -> SpeechHead:
        """The acoustic model."""
        (state,) = states
        name, about = self.vocoder, state.get("vocoder")
        hop = self.hop_ms if about is None else 1000 * about["hop"] / about["rate"]
        return SpeechHead(
            width,
            len(state["mean"]),
            channels=self.channels,
            depth=self.depth,
            dropout=self.dropout,
            prosody=self.prosody,
            longest=1 + int(self.max_seconds * 1000 / hop),
            mean=torch.tensor(state["mean"]),
            std=torch.tensor(state["std"]),
            vocoder=None if about is None else speech_vocoder.build(about),
            weights=None if name is None else lambda network: speech_vocoder.fill(network, name),
        )

    def metric(self, states: Sequence[State]) -> SpeechMetric:
        """`mel_distance` and `duration_error`."""
        (state,) = states
        return SpeechMetric(_decibels(state))

    @property
    def answers(self) -> SpeechAnswers:
        """What outputs say."""
        return SpeechAnswers(self._rate, self.mels, self._spectrum.hop, self._spectrum.window, self.vocoder_steps)

    def decode(self, output: Output, states: Sequence[State], contexts: Sequence[Context | None]) -> list[list[Sound]]:
        """The sounds, `wave [S]` from -1 to 1 at the task's rate."""
        return self.answers.decode(on_host(output), states, contexts)

    def show(self, said: Sound, true: Sound | None, state: State, of: Any) -> Answer:
        """Both to listen to, and how far they are apart as they sound, with what the vocoder adds to it."""
        shown = show_sound(said.wave, self._rate)
        if true is None:
            return Answer(shown)
        pair = [self._standardised(one, state) for one in (said, true)]
        sizes = [torch.tensor([len(one)]) for one in pair]
        distance = float(sound_distances(pair[0][None], sizes[0], pair[1][None], sizes[1], _decibels(state)))
        return Answer(shown, show_sound(true.wave, self._rate), None, distance)

    def baseline(self, states: Sequence[State], target: Target) -> dict[str, Tensor]:
        """The mean frame for as long as a sound is on average."""
        rows, _, mels = target["values"].shape
        frames = max(1, round(states[0]["frames"]))
        sizes = torch.full_like(target["sizes"], frames)
        return {"frames": torch.zeros(rows, frames, mels, device=sizes.device), "sizes": sizes}

    @property
    def _rate(self) -> int:
        return RATE if self.rate is None else self.rate

    @property
    def _spectrum(self) -> Spectrum:
        return Spectrum.of(self._rate, self.mels, self.hop_ms, self.window_ms)

    def _frames(self, value: Sound, state: State) -> Tensor:
        if "vocoder" in state:
            return speech_vocoder.frames_of(value.wave, state["vocoder"])
        return self._spectrum.frames(torch.from_numpy(value.wave))

    def _standardised(self, value: Sound, state: State) -> Tensor:
        return (self._frames(value, state) - torch.tensor(state["mean"])) / torch.tensor(state["std"])

    def _pitch(self, value: Sound, state: State) -> Tensor | None:
        """Hertz of each frame, 0 where it is not voiced; `None` where nobody asks."""
        if not self.prosody:
            return None
        hop = state["vocoder"]["hop"] if "vocoder" in state else self._spectrum.hop
        return pitch_of(torch.from_numpy(value.wave), rate=self._rate, hop=hop)

    def _check(self) -> None:
        """Raises:
        ConfigError: all that is wrong.
        """
        faults = {
            f"max_seconds={self.max_seconds:g}: more than 0": not self.max_seconds > 0,
            f"dropout={self.dropout:g}: 0 to less than 1": not 0 <= self.dropout < 1,
            f"channels={self.channels}: at least 1": self.channels < 1,
            f"depth={self.depth}: at least 1": self.depth < 1,
            f"vocoder_steps={self.vocoder_steps}: 0 or more": self.vocoder_steps < 0,
        }
        said = Spectrum.faults(self._rate, self.mels, self.hop_ms, self.window_ms, overlap=2)
        said += [fault for fault, is_so in faults.items() if is_so]
        if said:
            raise ConfigError("\n".join(f"speech task: {fault}" for fault in said))


def fit_length(x: Tensor, size: int) -> Tensor:
    """`[T]` → `[size]`: cut, or filled up with NaN; vocoders count frames at the ends in their own way."""
    return nn.functional.pad(x[:size], (0, max(0, size - len(x))), value=torch.nan)


def _spread(values: Tensor) -> list[float]:
    """Mean and standard deviation; 0 and 1 where there is nothing to tell apart."""
    std = float(values.std(correction=0)) if len(values) else 0.0
    return [float(values.mean()) if len(values) else 0.0, std if std > 1e-6 else 1.0]


def _check_seconds(seconds: float, most: float) -> None:
    """Raises:
    DataError: a sound is too long.
    """
    if seconds > most:
        raise DataError(f"the sound takes {seconds:.1f} s, {most:g} at most; its text cannot be cut with it, so raise "
                        "`max_seconds` or leave the row out")  # fmt: skip


def _decibels(state: State) -> Tensor:
    """A standard deviation of each band: a vocoder's frames are logarithms of amplitudes, all others of powers."""
    return torch.tensor(state["std"]) * (20.0 if "vocoder" in state else 10.0)
