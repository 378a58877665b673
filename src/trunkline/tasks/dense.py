"""Regression on every pixel of a picture: depth, surface normals, disparity, heat.

Shape legend: `n` rows, `C` channels, 1 or 3, `H, W` pixels: of the picture, or as the encoder sees them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from trunkline.arrays.maps import MapAnswers
from trunkline.contexts import Context, GridContext
from trunkline.errors import ConfigError
from trunkline.showing import Answer, Shown, plain, ramp, shown_picture
from trunkline.tasks.contract import Target, Task, on_host
from trunkline.tasks.dense_cells import read_map, with_unknown
from trunkline.tasks.dense_head import DirectionErrors, DirectionHead, ValueErrors, ValueHead, angles_between
from trunkline.tasks.dense_scales import (
    MAPS,
    Learn,
    as_learned,
    as_reported,
    averages,
    check_channels,
    choose_learn,
    fit_maps,
    turned,
)
from trunkline.tasks.pixels import check_size, tiled
from trunkline.types import Choices, State


class Dense(Task):
    """A number or a direction for every pixel of the picture named in `of:`.

    Cells are paths to `.npy` files (floats or integers, `[height, width]` or with 1 or 3 channels last), to grey
    pictures of 8 or 16 bits (of floats, too, in TIFF), or to RGB pictures of 8 bits; or arrays. Pixels that are not
    finite are not known: they are not learned and not judged.

    Args:
        scale: units of the file in one that is reported: 1000 where files have millimetres and metres are wanted.
        missing: what stands in the file where nothing was measured, 0 in many depth maps; in all channels.
        learn: `values`: standardised; `log`: their standardised logarithm, for values over several magnitudes;
            `directions`: unit vectors, such as surface normals, as they are or as colours (`2 p / 255 − 1`). They are
            of the camera's frame, x to the right, and turn with the picture where training turns or mirrors it;
            those of a fixed frame are `values`. By default chosen from the training maps.
        y: where the second number of directions points: `down` as the rows of a picture are counted and as OpenCV's
            camera has it, or `up` as OpenGL's and most colour-coded maps have it.
    """

    reads = "pyramid"
    joins = True
    best = 0.0
    reads_files = True
    choose_sample = MAPS

    def __init__(
        self,
        *,
        scale: float = 1.0,
        missing: float | None = None,
        learn: Learn | None = None,
        y: Literal["down", "up"] = "down",
    ) -> None:
        self.scale = scale
        self.missing = missing
        self.learn = learn
        self.y = y

    @property
    def primary(self) -> str:
        """The mean angle of directions; of all else the root of the mean square."""
        return "angle_mean" if self.learn == "directions" else "rmse"

    def read(self, cell: Any) -> np.ndarray:
        """`[H, W, C]` float32 in the reported unit, NaN where a pixel is not known.

        A map of which no pixel is known teaches nothing, and counted as a label it would be in the way: tables say
        absence with an empty cell, and so labels are counted without opening a file.

        Raises:
            DataError: it is no map, is damaged, or no pixel is known.
        """
        if not self.scale > 0:
            raise ConfigError(f"scale: {self.scale:g} units of the file cannot be one; give more than 0")
        return with_unknown(read_map(cell), missing=self.missing, scale=self.scale)

    def check_place(self, cell: Any, size: tuple[int, int]) -> Iterable[str]:
        """Is it as large as its picture?"""
        check_size("map", read_map(cell).shape[:2], size)
        return ()

    def choose(self, values: Sequence[np.ndarray]) -> Choices:
        """What is learned, by what the maps hold."""
        return choose_learn(values) if len(values) > 0 else {}

    def fit(self, values: Iterable[np.ndarray]) -> State:
        """Mean and spread of each channel, over known pixels; of directions their mean direction, and how they are
        written.
        """
        return fit_maps(values, self.learn)

    def prepare(self, value: np.ndarray, state: State, context: Context | None) -> Tensor:
        """`[C, H, W]` float32 as it is learned, cut, mirrored and turned as the picture was, and directions with it.

        The nearest pixel counts: between two depths lies a depth that nothing has, and beside an unknown one nothing.
        What lies beyond the picture's edges is not known.
        """
        assert isinstance(context, GridContext), "a map is bound to a picture"
        check_size("map", value.shape[:2], context.original)
        check_channels(value, len(averages(state)))
        seen = context.apply(torch.from_numpy(value).movedim(-1, 0), mode="nearest")
        learned = as_learned(seen, state)
        return turned(learned, context, self.y) if state["learn"] == "directions" else learned

    def join(self, items: Sequence[Tensor], places: Sequence[tuple[int, int]], size: tuple[int, int]) -> Tensor:
        """The maps where their pictures lie, `[C, H, W]`."""
        return tiled(items, places, size, torch.nan)

    def collate(self, items: Sequence[Sequence[Tensor]]) -> Target:
        """`{"values": [n, C, H, W]}`, NaN where a pixel is not known."""
        return {"values": torch.stack([row[0] for row in items])}

    def build(self, states: Sequence[State], width: int) -> ValueHead | DirectionHead:
        """The decoder; starts at the training mean."""
        head = DirectionHead if states[0]["learn"] == "directions" else ValueHead
        return head(torch.tensor(averages(states[0])), width)

    def metric(self, states: Sequence[State]) -> ValueErrors:
        """Errors in the reported unit at the encoder's resolution; of directions the angle, too."""
        return (DirectionErrors if states[0]["learn"] == "directions" else ValueErrors)(states[0])

    @property
    def answers(self) -> MapAnswers:
        """What outputs say."""
        return MapAnswers()

    def decode(
        self, output: Tensor, states: Sequence[State], contexts: Sequence[Context | None]
    ) -> list[list[np.ndarray]]:
        """The picture's own pixels in the reported unit, `[H, W]` or `[H, W, 3]` float32; NaN where it was cut off."""
        return self.answers.decode(on_host(output), states, contexts)

    def show(self, said: np.ndarray, true: np.ndarray | None, state: State, of: np.ndarray) -> Answer:
        """Dark for the least and bright for the most of the true map; of three channels each is a colour."""
        answer = said[:, :, None] if said.ndim == 2 else said
        truth = None if true is None else reported_map(true, state)
        low, high = shown_range(answer if truth is None else truth, state)
        told = coloured(answer, low, high, state)
        if truth is None:
            return Answer(told)
        return Answer(told, coloured(truth, low, high, state), None, error_of(answer, truth, state))

    def show_target(self, target: Target, state: State, of: np.ndarray) -> Shown:
        """The same colours of what training learns from."""
        value = as_reported(target["values"][None], state)[0].movedim(0, -1).numpy()
        return coloured(value, *shown_range(value, state), state)

    def baseline(self, states: Sequence[State], target: Target) -> Tensor:
        """The training mean, or the mean direction, everywhere: `[n, C, H, W]`."""
        values = target["values"]
        return torch.tensor(averages(states[0]), device=values.device).view(1, -1, 1, 1).expand_as(values)


def reported_map(value: np.ndarray, state: State) -> np.ndarray:
    """`[H, W, C]` as read → as it is reported: numbers are already."""
    if state["learn"] != "directions":
        return value
    return as_learned(torch.from_numpy(value).movedim(-1, 0), state).movedim(0, -1).numpy()


def shown_range(value: np.ndarray, state: State) -> tuple[float, float]:
    """From the least to the most of a map, `[H, W, C]`; of parts of a direction there is."""
    if state["learn"] == "directions" or not np.isfinite(value).any():
        return -1.0, 1.0
    return float(np.nanmin(value)), float(np.nanmax(value))


def coloured(value: np.ndarray, low: float, high: float, state: State) -> Shown:
    """A map `[H, W, C]` as a picture; black where nothing is known."""
    caption = "" if state["learn"] == "directions" else f"{plain(low)} to {plain(high)}"
    share = (value - low) / max(high - low, 1e-30)
    levels = ramp(share[:, :, 0]) if value.shape[2] == 1 else 255 * share.clip(0, 1)
    return shown_picture(np.nan_to_num(levels).round().astype(np.uint8), caption=caption)


def error_of(said: np.ndarray, true: np.ndarray, state: State) -> float | None:
    """One row's: degrees between directions, else mean standard deviations; `None` where nothing is known of both."""
    known = np.isfinite(said[:, :, 0]) & np.isfinite(true[:, :, 0])
    if not known.any():
        return None
    pair = [torch.from_numpy(one[known].astype(np.float64)) for one in (said, true)]  # [P, C]
    if state["learn"] == "directions":
        return float(angles_between(pair[0], pair[1]).mean())
    learned = [as_learned(one.T[:, None].float(), state) for one in pair]
    return float((learned[0] - learned[1]).abs().mean())
