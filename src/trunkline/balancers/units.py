"""A Gramian taken apart into the lengths of the gradients and their cosines, in which no ratio of norms is left.

`T` tasks, of which `A` have a gradient that is not zero.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

TOLERANCE = 1e-12  # in units of cosines; float64 products of unit vectors are good to about 1e-15


class Units(NamedTuple):
    """Gradients of length one, and their lengths.

    Attributes:
        active: `[A]`, the tasks whose gradient is not zero.
        norms: `[A]`.
        cosines: `[A, A]`, ones on the diagonal.
        size: `T`.
    """

    active: NDArray[np.intp]
    norms: Array
    cosines: Array
    size: int

    def spread(self, weights: Array, rest: float = 0.0) -> Array:
        """`[T]` from the `[A]` weights of the active tasks; the others have `rest`."""
        if len(self.active) == self.size:
            return weights
        whole = np.full(self.size, rest)
        whole[self.active] = weights
        return whole


def as_array(gramian: Tensor) -> Array:
    """`[T, T]` in float64 on the host."""
    array: Array = gramian.detach().cpu().double().numpy()
    return array


def as_weights(weights: Array, gramian: Tensor) -> Tensor:
    """Where the Gramian is, and in its precision."""
    return torch.from_numpy(weights).to(gramian)


def as_units(gramian: Array) -> Units:
    """The same without its norms.

    Args:
        gramian: `[T, T]`, symmetric positive semi-definite up to rounding, finite.
    """
    size = len(gramian)
    norms = np.sqrt(np.maximum(gramian.diagonal(), 0.0))
    active = norms.nonzero()[0]
    if len(active) < size:
        norms, gramian = norms[active], gramian[np.ix_(active, active)]
    cosines = gramian / norms / norms[:, None]  # one after the other: their product may be too small a number
    return Units(active, norms, np.minimum(np.maximum(cosines, -1.0), 1.0), size)


def strictly_convex(cosines: Array) -> Array:
    """Cosines that are positive definite, unchanged where they are so by more than their rounding.

    A Gramian of float32 products may be indefinite by its rounding. A ridge of that size makes the problem strictly
    convex, so that colinear gradients share their weight and nothing cycles.
    """
    try:
        if np.linalg.cholesky(cosines).diagonal().min() ** 2 > TOLERANCE:
            return cosines
    except np.linalg.LinAlgError:
        pass
    return cosines + (TOLERANCE - min(0.0, float(np.linalg.eigvalsh(cosines)[0]))) * np.eye(len(cosines))
