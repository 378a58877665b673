"""Numbers in standard deviations from the mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from trunkline.arrays.contract import State

FARTHEST = 1e12  # its square is far from the largest float32, so that no normalisation of layers overflows


def standardised(values: Any, state: State) -> np.ndarray:
    """Numbers of any shape → float32, by `mean` and `std`, and no farther than `FARTHEST`.

    Example:
        >>> standardised([3.0, -1e300], {"mean": 1.0, "std": 2.0})
        array([ 1.e+00, -1.e+12], dtype=float32)
    """
    with np.errstate(over="ignore"):
        return near((np.asarray(values, np.float64) - state["mean"]) / state["std"])


def near(values: Any) -> np.ndarray:
    """Standardised numbers as float32, and no farther than `FARTHEST`."""
    return np.clip(np.asarray(values, np.float64), -FARTHEST, FARTHEST).astype(np.float32)
