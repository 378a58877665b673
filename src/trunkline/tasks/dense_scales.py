"""What is learned of a map, and on which scale: numbers, their logarithms, or directions.

Shape legend: `H, W` pixels, `C` channels, 1 or 3, `P` known pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trunkline.contexts import GridContext
from trunkline.errors import DataError
from trunkline.tasks.scales import in_units, squeeze, unit_of
from trunkline.types import Choices, State

Learn = Literal["values", "log", "directions"]

MAPS, PIXELS = 64, 2_000  # that are looked at for a choice; pixels of each map
CODES = (255, 65535, 1)  # largest level of coded directions: of 8 and 16 bits, and of floats from 0 to 1
NEAR, MOST = 0.1, 0.9  # how far from 1 a length may be, and in how many of the pixels it must not be further
WIDE = 100  # how many times the smallest the largest values must be to be learned as logarithms
SHORT = 1e-6  # a vector with less has no direction


def choose_learn(values: Iterable[np.ndarray]) -> Choices:
    """What these maps can be, by some pixels of the first of them."""
    pixels = sample_pixels(islice(values, MAPS))
    if pixels.shape[1] == 3:
        code, share = find_code(pixels)
        if share >= MOST:
            coded = "as they are" if code is None else f"coded as 2 p / {code} − 1"
            return {"learn": ("directions", f"{share:.0%} of the pixels are unit vectors, {coded}")}
    low, high = np.quantile(pixels, [0.01, 0.99])
    if pixels.min() > 0 and high >= WIDE * low:
        return {"learn": ("log", f"positive values over {math.log10(high / low):.1f} orders of magnitude")}
    return {"learn": ("values", "of about one magnitude" if pixels.min() > 0 else "not all are positive")}


def sample_pixels(values: Iterable[np.ndarray]) -> np.ndarray:
    """Some known pixels of each map, `[P, C]`.

    Raises:
        DataError: there is no map, or not all have the same number of channels.
    """
    found = []
    for value in values:
        known = known_pixels(value)
        found.append(known[:: max(1, len(known) // PIXELS)])
        check_channels(value, found[0].shape[1])
    if not found:
        raise DataError("a dense task needs maps in the training rows, found none")
    return np.concatenate(found)


def check_channels(value: np.ndarray, wanted: int) -> None:
    """A map of another kind than the first.

    Raises:
        DataError: it is.
    """
    if value.shape[2] != wanted:
        raise DataError(f"the map has {value.shape[2]} channels, the first map of the training rows {wanted}")


def known_pixels(value: np.ndarray) -> np.ndarray:
    """`[H, W, C]` → `[P, C]`."""
    return value[np.isfinite(value[:, :, 0])]


def find_code(pixels: np.ndarray) -> tuple[int | None, float]:
    """How directions `[P, 3]` are written, and the share that then has a length near 1.

    `None` for vectors as they are, else the level that stands for 1, where 0 stands for -1. One way excludes the
    others: what is of unit length as it is would be near (-1, -1, -1) if it were levels up to 255. Pixels of nothing
    but zeros, which stand for no direction in both, do not count.
    """
    told = pixels[(pixels != 0).any(1)]
    if not len(told):
        return None, 0.0
    shares = {code: _near_one(decoded(told, code)) for code in (None, *CODES)}
    code = max(shares, key=lambda code: shares[code])
    return code, shares[code]


def _near_one(vectors: np.ndarray) -> float:
    return float((np.abs(np.linalg.norm(vectors, axis=1) - 1) < NEAR).mean())


def decoded(pixels: np.ndarray, code: int | None) -> np.ndarray:
    """Vectors `[…, 3]` from levels."""
    return pixels if code is None else 2 * pixels / np.float32(code) - 1


def as_directions(value: np.ndarray, code: int | None) -> np.ndarray:
    """`[…, 3]` → unit vectors; NaN where there is no direction.

    Levels stand for unit vectors, so those that are far from one stand for none, as black does.
    """
    vectors = decoded(value, code)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    is_one = length > SHORT if code is None else (length > 0.5) & (length < 1.5)
    return np.where(is_one, vectors / np.where(is_one, length, 1), np.nan).astype(np.float32)


class Moments:
    """Mean, spread and limits of each of `C` channels, a map at a time (Chan, Golub and LeVeque, 1979)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: np.ndarray = np.zeros(1)
        self.squares: np.ndarray = np.zeros(1)
        self.low: np.ndarray = np.full(1, np.inf)
        self.high: np.ndarray = np.full(1, -np.inf)

    def add(self, pixels: np.ndarray) -> None:
        """`[P, C]`."""
        if not len(pixels):
            return
        pixels = pixels.astype(np.float64)
        count, mean = len(pixels), pixels.mean(0)
        step, share = mean - self.mean, count / (self.count + count)
        self.squares = self.squares + ((pixels - mean) ** 2).sum(0) + step**2 * self.count * share
        self.mean = self.mean + step * share
        self.count += count
        self.low, self.high = np.minimum(self.low, pixels.min(0)), np.maximum(self.high, pixels.max(0))

    def std(self) -> np.ndarray:
        """1 where all are equal up to rounding."""
        std = np.sqrt(self.squares / self.count)
        return np.where(std > 1e-7 * np.abs(self.mean) + np.finfo(np.float64).tiny, std, 1.0)


def fit_maps(values: Iterable[np.ndarray], learn: Learn | None) -> State:
    """`{"learn": "directions", "code", "average" [3]}`, or `{"learn", "channels"}`: of each what `in_units` takes.

    Raises:
        DataError: there is no map, or they are of different kinds, or what shall be learned is not in them.
    """
    values = iter(values)
    first = list(islice(values, MAPS))
    pixels = sample_pixels(first)
    learn = choose_learn(first)["learn"][0] if learn is None else learn
    if learn == "directions":
        if pixels.shape[1] != 3:
            raise DataError("learn: directions have three channels, these maps have one")
        return _fit_directions(chain(first, values), find_code(pixels)[0])
    units = [unit_of(column) for column in pixels.T]
    plain, logs = Moments(), Moments()
    for value in chain(first, values):
        check_channels(value, len(units))
        known = known_pixels(value)
        plain.add(known)
        if learn == "log":
            columns = known.T.astype(np.float64)
            logs.add(np.stack([squeeze(column, unit) for column, unit in zip(columns, units)], 1))
    if learn == "values":
        pairs = zip(plain.mean.tolist(), plain.std().tolist())
        return {"learn": learn, "channels": [{"mean": mean, "std": std} for mean, std in pairs]}
    names = ("mean", "std", "unit", "limits", "average")
    limits = np.stack([logs.low, logs.high], 1)
    told = (logs.mean.tolist(), logs.std().tolist(), units, limits.tolist(), plain.mean.tolist())
    return {"learn": learn, "channels": [dict(zip(names, channel)) for channel in zip(*told)]}


def _fit_directions(values: Iterable[np.ndarray], code: int | None) -> State:
    moments = Moments()
    for value in values:
        check_channels(value, 3)
        moments.add(known_pixels(as_directions(value, code)))
    if not moments.count:
        raise DataError("no pixel of the training maps has a direction")
    length = max(SHORT, float(np.linalg.norm(moments.mean)))
    return {"learn": "directions", "code": code, "average": (moments.mean / length).tolist()}


def as_learned(values: Tensor, state: State) -> Tensor:
    """`[C, H, W]` as read → as it is learned, float32; NaN stays NaN."""
    if state["learn"] == "directions":
        return torch.from_numpy(as_directions(values.movedim(0, -1).numpy(), state["code"])).movedim(-1, 0)
    return torch.stack([_scaled(one.double(), channel) for one, channel in zip(values, state["channels"])]).float()


def _scaled(values: Tensor, channel: State) -> Tensor:
    if "unit" in channel:
        values = values.sign() * torch.log1p(values.abs() / channel["unit"])
    return (values - channel["mean"]) / channel["std"]


def as_reported(values: Tensor, state: State, *, is_limited: bool = True) -> Tensor:
    """`[n, C, H, W]` as it is learned → in the map's units, float64; directions are unit vectors.

    Args:
        values: what a head says, or the target.
        state: of the task.
        is_limited: see `in_units`.
    """
    if state["learn"] == "directions":
        return F.normalize(values.double(), dim=1)
    columns = zip(values.double().unbind(1), state["channels"])
    return torch.stack([in_units(one, channel, is_limited=is_limited) for one, channel in columns], 1)


def averages(state: State) -> Sequence[float]:
    """As they are learned, what a guess would say: the training mean of each channel."""
    if state["learn"] == "directions":
        return state["average"]
    return [
        float(_scaled(torch.tensor(channel["average"], dtype=torch.float64), channel)) if "average" in channel else 0.0
        for channel in state["channels"]
    ]


def turned(vectors: Tensor, context: GridContext, y: Literal["down", "up"]) -> Tensor:
    """Directions `[3, H, W]` in the original picture's frame → in the frame of what the encoder sees.

    A mirrored picture has its x mirrored; one that is turned by an angle has x and y turned by it.

    Args:
        vectors: x to the right, then y, then z.
        context: what was done to the picture.
        y: where y points.
    """
    cos, sin = math.cos(math.radians(context.angle)), math.sin(math.radians(context.angle))
    sin = sin if y == "down" else -sin
    mirror = -1.0 if context.flipped else 1.0
    right, along, ahead = vectors
    return torch.stack([mirror * (cos * right + sin * along), cos * along - sin * right, ahead])
