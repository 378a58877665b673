"""A Gramian taken apart into the lengths of the gradients and their cosines, in which no ratio of norms is left.

Products taken in float32 leave cosines that are known to about 1e-7, and gradients that are dependent up to that are
dependent or not as the rounding has it. Weights that follow from it can be hundreds of times too large. So each problem
gets a ridge of the size of its rounding: with `C + ρ I >= C_exact` no update is longer than its method asks for.

`T` tasks, of which `A` have a gradient that is not zero.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

INDEPENDENT = 1e4  # times the noise: a squared distance of a unit gradient from the span of others
TOLERANCE = 1e-12  # in units of cosines; float64 products of unit vectors are good to about 1e-15


class Units(NamedTuple):
    """Gradients of length one, and their lengths.

    Attributes:
        active: `[A]`, the tasks whose gradient is not zero.
        norms: `[A]`.
        cosines: `[A, A]`, ones on the diagonal.
        size: `T`.
        rounding: of the cosines, where it is more than that of float64.
    """

    active: NDArray[np.intp]
    norms: Array
    cosines: Array
    size: int
    rounding: float

    @property
    def noise(self) -> float:
        """Below it, an eigenvalue of the cosines is nothing."""
        return max(TOLERANCE, self.rounding)

    @property
    def lifted(self) -> Array:
        """Cosines with a ridge of their rounding; as they are, where it is that of float64."""
        return self.cosines + self.rounding * np.eye(len(self.cosines)) if self.rounding else self.cosines

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


def as_units(gramian: Tensor) -> Units:
    """The same without its norms, in float64 on the host.

    Args:
        gramian: `[T, T]`, symmetric positive semi-definite up to rounding, finite, in the precision of its products.
    """
    array = as_array(gramian)
    size = len(array)
    norms = np.sqrt(np.maximum(array.diagonal(), 0.0))
    active = norms.nonzero()[0]
    if len(active) < size:
        norms, array = norms[active], array[np.ix_(active, active)]
    cosines = array / norms / norms[:, None]  # one after the other: their product may be too small a number
    return Units(active, norms, np.minimum(np.maximum(cosines, -1.0), 1.0), size, rounding_of(gramian))


def rounding_of(gramian: Tensor) -> float:
    """What its cosines are good to, beyond float64."""
    return 0.0 if gramian.dtype == torch.float64 else 8 * torch.finfo(gramian.dtype).eps


def are_independent(units: Units) -> bool:
    """Whether every unit gradient is away from the span of those before it, by far more than rounding."""
    try:
        pivots = np.linalg.cholesky(units.cosines).diagonal()
    except np.linalg.LinAlgError:
        return False
    return bool(pivots.min(initial=1.0) ** 2 > INDEPENDENT * units.noise)


def strictly_convex(units: Units) -> Array:
    """Cosines that are positive definite; in float64 unchanged where they are so by more than their rounding.

    The problem is strictly convex then, so that colinear gradients share their weight and nothing cycles. Cosines of
    pairs that nobody could compare are 0, and may make the others indefinite by more than any rounding.
    """
    lifted = units.lifted
    try:
        if np.linalg.cholesky(lifted).diagonal().min() ** 2 > TOLERANCE:
            return lifted
    except np.linalg.LinAlgError:
        pass
    return units.cosines + (units.noise - min(0.0, float(np.linalg.eigvalsh(units.cosines)[0]))) * np.eye(len(lifted))
