"""Masks and maps: what is said of every pixel, in the picture's own pixels.

Shape legend: `K` classes, `C` channels, `h, w` of what a head says, `H, W` pixels of the original picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trunkline.arrays.answers import in_units
from trunkline.arrays.contract import Answers, State
from trunkline.arrays.seeing import restored
from trunkline.contexts import Context, GridContext

VOID = 255  # the index of pixels without a label
LEAST = 1e-12  # length of a direction


@dataclass(frozen=True)
class MaskAnswers(Answers):
    """`[n, K, h, w]` → the picture's own pixels `[H, W]`: indices as in the masks, `VOID` where the crop cut off."""

    def decode(
        self, output: np.ndarray, states: Sequence[State], contexts: Sequence[Context | None]
    ) -> list[list[np.ndarray]]:
        """See the class."""
        indices = np.array(states[0]["indices"])
        return [[restored_indices(logits, context, indices) for logits, context in zip(output, contexts)]]


@dataclass(frozen=True)
class MapAnswers(Answers):
    """`[n, C, h, w]` → the picture's own pixels in the reported unit, `[H, W]` or `[H, W, 3]` float32; NaN where it was
    cut off.
    """

    def decode(
        self, output: np.ndarray, states: Sequence[State], contexts: Sequence[Context | None]
    ) -> list[list[np.ndarray]]:
        """See the class."""
        return [[self._of_picture(row, states[0], context) for row, context in zip(output, contexts)]]

    def _of_picture(self, row: np.ndarray, state: State, context: Context | None) -> np.ndarray:
        assert isinstance(context, GridContext), "a map is bound to a picture"

        def in_its_units(part: np.ndarray) -> np.ndarray:
            values = part.astype(np.float64)
            if state["learn"] == "directions":
                values = values / np.maximum(np.sqrt(np.square(values).sum(0)), LEAST)
                values[0] *= -1 if context.flipped else 1  # mirrored back, where it was
            else:
                values = np.stack([in_units(one, channel) for one, channel in zip(values, state["channels"])])
            return values.astype(np.float32)

        values = restored(row, context, in_its_units)
        return values[0] if len(values) == 1 else np.moveaxis(values, 0, -1)


def restored_indices(logits: np.ndarray, context: Context | None, indices: np.ndarray) -> np.ndarray:
    """`logits [K, h, w]` → the most likely class's index for each pixel of the original picture."""
    assert isinstance(context, GridContext), "a mask is bound to a picture"

    def likeliest(part: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(part[0]), VOID, indices[part.argmax(0)]).astype(np.uint16)

    mask = restored(logits, context, likeliest)
    return mask.astype(np.uint8) if mask.max() <= VOID else mask
