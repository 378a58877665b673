"""Scales on which numbers are learned, and the choice of one from the training labels."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from trunkline.types import Choices, State

Scale = Literal["standard", "robust", "log"]
Loss = Literal["squared", "huber", "absolute"]

MIDDLE_HALF = 1.349  # standard deviations of a normal distribution between its quartiles
SKEWED = 2.0  # skewness that calls for a logarithm, if that halves it and leaves less than this
HEAVY, HEAVY_LOG = 2.0, 1.5  # standard deviation ÷ robust one: of tails that outliers make


def choose_scale_and_loss(values: np.ndarray, given: Scale | None) -> Choices:
    """What the tails of these values allow.

    Positive values with a long tail that a logarithm straightens (prices, counts, durations) are learned on a
    logarithmic scale; other heavy tails on a robust one. Where outliers remain, they pull with limited force.

    Args:
        values: of the training split, at least one.
        given: a scale that is not to be chosen.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # of numbers too large for a scale, which is told later
        skew, heaviness = skewness(values), values.std() / robust_std(values)
    squeezed = squeeze(values, unit_of(values))
    shape = f"skewness {skew:.1f}, standard deviation {heaviness:.1f} times that of the middle half"
    scale: tuple[Scale, str] = ("standard", f"no heavy tails: {shape}")
    if values.min() >= 0 and skew > SKEWED and abs(skewness(squeezed)) < min(SKEWED, skew / 2):
        scale = "log", f"a long tail of positive values ({shape}) that a logarithm straightens"
    elif heaviness > HEAVY:
        scale = "robust", f"outliers ({shape}) must not stretch the scale"
    chosen = given or scale[0]
    learned = squeezed if chosen == "log" else values
    rest = learned.std() / robust_std(learned)
    if rest > (HEAVY_LOG if chosen == "log" else HEAVY):
        return {
            "scale": scale,
            "loss": ("huber", f"outliers remain on the {chosen} scale; they pull with limited force"),
        }
    return {"scale": scale, "loss": ("squared", f"no outliers on the {chosen} scale")}


def skewness(values: np.ndarray) -> float:
    """Third standardised moment; 0 for a constant."""
    centred = values - values.mean()
    std = centred.std()
    return float(((centred / std) ** 3).mean()) if std > 0 else 0.0


def robust_std(values: np.ndarray) -> float:
    """Standard deviation of the normal distribution with the same middle half.

    Where over half of the values are equal, that of the others' distances from them; 1 for a constant.
    """
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    if high > low:
        return float((high - low) / MIDDLE_HALF)
    distances = np.abs(values - median)
    return float(np.median(distances[distances > 0])) if distances.any() else 1.0


def unit_of(values: np.ndarray) -> float:
    """Where the logarithmic scale goes over into a linear one: a small value of those that are not 0."""
    sizes = np.abs(values[values != 0])
    return float(np.quantile(sizes, 0.1)) if len(sizes) else 1.0


def squeeze(values: np.ndarray, unit: float) -> np.ndarray:
    """`± log(1 + |x| / unit)`: a logarithm of what is large, and 0 stays 0."""
    return np.sign(values) * np.log1p(np.abs(values) / unit)


def scaled(value: float, state: State) -> float:
    """In the column's units → as it is learned."""
    learned = math.copysign(math.log1p(abs(value) / state["unit"]), value) if "unit" in state else value
    return (learned - state["mean"]) / state["std"]


def in_units(values: Tensor, state: State, *, is_limited: bool = True) -> Tensor:
    """As it is learned → in the column's units.

    Args:
        values: float64.
        state: of the task.
        is_limited: keep what comes from a logarithm within the training range: a step too far is a factor.
    """
    learned = values * state["std"] + state["mean"]
    if "unit" not in state:
        return learned
    learned = learned.clamp(*state["limits"]) if is_limited else learned
    return learned.sign() * state["unit"] * torch.expm1(learned.abs())
