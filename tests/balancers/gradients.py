"""Gradients for the balancers' tests: random, ill-conditioned, degenerate. Float64; `rows [T, P]`, one a task."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor


def random_rows(seed: int, tasks: int = 5, width: int = 11) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((tasks, width)))


def gramian_of(rows: Tensor) -> Tensor:
    return rows @ rows.T


def pair(cosine: float, ratio: float = 1.0) -> Tensor:
    """Two gradients at an angle, the second `ratio` times as long."""
    return torch.tensor([[1.0, 0.0], [ratio * cosine, ratio * (1 - cosine**2) ** 0.5]], dtype=torch.float64)


def conflicting_rows(seed: int, tasks: int, *, pull: float = 0.95, ratio: float = 1.0) -> Tensor:
    """Unit gradients from which most of their mean is taken, then norms within 1 : `ratio`.

    The nearer `pull` is to 1, the nearer is 0 to their hull.
    """
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((tasks, 2 * tasks + 3))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows -= pull * rows.mean(0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return torch.from_numpy(rows * ratio ** rng.uniform(0, 1, (tasks, 1)))


@st.composite
def jacobians(draw: st.DrawFn, *, independent: bool = False, most: int = 8, ratio: float = 1000.0) -> Tensor:
    """Any number of tasks, near conflict or far from it, with norms of any ratio up to 1 : `ratio`."""
    tasks = draw(st.integers(1, most))
    seed = draw(st.integers(0, 10**6))
    if independent or draw(st.booleans()):
        pull = draw(st.floats(0, 0.99))
        return conflicting_rows(seed, tasks, pull=pull, ratio=draw(st.floats(1, ratio)))
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((tasks, draw(st.integers(1, tasks + 2))))  # dependent, most often
    return torch.from_numpy(rows * ratio ** rng.uniform(0, 1, (tasks, 1)))


def cosines_with(rows: Tensor, update: Tensor) -> Tensor:
    """What an update does for each task, `[T]`, whatever the norms."""
    return rows @ update / rows.norm(dim=1) / update.norm()


def assert_same_direction(first: Tensor, second: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(first / first.norm(), second / second.norm(), rtol=0, atol=tolerance)
