"""Sounds that are said: from frames, by the vocoder that needs no network, or as a network made them.

Shape legend: `n` rows, `S` samples, `T` frames, `M` mel bands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trunkline.arrays.contract import Answers, State
from trunkline.arrays.mel import Bands
from trunkline.arrays.sounds import Sound
from trunkline.arrays.vocoder import waves_of
from trunkline.contexts import Context


@dataclass(frozen=True)
class SpeechAnswers(Answers):
    """`frames [n, T, M]` and `sizes [n]`, with a network that is a vocoder also `wave [n, S]` → sounds.

    Attributes:
        rate: samples a second.
        mels: bands.
        hop: samples from frame to frame.
        window: samples of a frame.
        steps: of the vocoder.
    """

    rate: int
    mels: int
    hop: int
    window: int
    steps: int

    def decode(
        self, output: Mapping[str, np.ndarray], states: Sequence[State], contexts: Sequence[Context | None]
    ) -> list[list[Sound]]:
        """The sounds, `wave [S]` from -1 to 1."""
        (state,) = states
        sizes = output["sizes"].tolist()
        if "wave" in output:
            made = [wave[: size * state["vocoder"]["hop"]] for wave, size in zip(output["wave"], sizes)]
        else:
            frames = [np.minimum(unscaled(row[:size], state), 0) for row, size in zip(output["frames"], sizes)]
            made = waves_of(frames, Bands(self.rate, self.mels, self.hop, self.window), steps=self.steps)
        return [[Sound(wave.astype(np.float32), self.rate, len(wave)) for wave in made]]


def unscaled(frames: np.ndarray, state: State) -> np.ndarray:
    """Log-mel frames `[…, M]` from standardised ones, float32."""
    mean, std = np.array(state["mean"], np.float32), np.array(state["std"], np.float32)
    return frames.astype(np.float32) * std + mean
