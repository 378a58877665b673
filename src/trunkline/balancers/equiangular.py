"""The combination of unit gradients that has the same cosine with all of them."""

from __future__ import annotations

import numpy as np

from trunkline.balancers.units import Array, Units, are_independent


def equiangular(units: Units) -> Array:
    """`y [A]` with `C y = 1`; of all such, or of those nearest to that, the shortest: `C⁺ 1`."""
    cosines = units.cosines
    if len(cosines) == 2:
        (_, cosine), _ = cosines.tolist()
        return np.full(2, 1.0 / (1.0 + cosine) if 1.0 + cosine > units.noise else 0.0)
    ones = np.ones(len(cosines))
    if are_independent(units):
        return np.linalg.solve(cosines, ones).astype(np.float64, copy=False)
    values, vectors = np.linalg.eigh(cosines)
    kept = values > units.noise * values.max()
    shortest: Array = vectors[:, kept] @ (vectors[:, kept].sum(0) / values[kept])
    return shortest
