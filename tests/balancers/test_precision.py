"""Gramians of float32 products: what they are not good enough to tell must not decide.

Each method's own bound on its update is held for the gradients as they are, whatever their products were rounded to.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from balancers.gradients import gramian_of, pair, random_rows
from trunkline.balancers import CATALOG, GramianBalancer

ANGLES = [10 ** (-k / 4) for k in range(2, 20)]  # from .3 to 2e-5
RANKED = ["aligned_mtl", "config", "imtl_g"]


def update_of(name: str, rows: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """From products in a precision; the gradients are those of float32."""
    balancer, names = CATALOG[name](), [f"t{i}" for i in range(len(rows))]
    assert isinstance(balancer, GramianBalancer)
    balancer.start(names)
    exact = rows.float().double()
    return balancer.weigh(gramian_of(rows.float().to(dtype)), names).double() @ exact


def nearly_opposed(angle: float, others: int, seed: int = 0) -> Tensor:
    """Two gradients opposed but for an angle, beside others, turned at random so that products are rounded."""
    rows = torch.cat([pair(-math.cos(angle)), torch.zeros(2, 20)], 1)
    turn = torch.linalg.qr(random_rows(seed, 22, 22)).Q
    return torch.cat([rows @ turn, random_rows(seed + 1, others, 22) / 22**0.5])


def degenerate(seed: int) -> list[Tensor]:
    """More tasks than dimensions, some twice, all alike, some opposed."""
    rows = random_rows(seed, 4, 30)
    return [
        random_rows(seed, 6, 3) @ random_rows(seed + 1, 3, 200),
        torch.cat([rows, rows[:2]]),
        rows[:1].expand(5, -1) * torch.arange(1.0, 6.0, dtype=torch.float64).unsqueeze(1),
        torch.cat([rows, -rows[:1]]),
    ]


SETS = [nearly_opposed(angle, others, seed) for seed, angle in enumerate(ANGLES) for others in (0, 1, 5)]
SETS += [rows for seed in range(5) for rows in degenerate(seed)]
SETS += [rows * 1000.0 ** torch.linspace(0, 1, len(rows)).double().unsqueeze(1) for rows in SETS[::2]]


@pytest.mark.parametrize("name", ["nash_mtl", "fairgrad"])
def test_bargains_are_no_longer_than_their_equation_says(name):
    """`Σ α_t (G α)_t = T`."""
    for rows in SETS:
        assert update_of(name, rows).norm() <= len(rows) ** 0.5 * (1 + 1e-5)


@pytest.mark.parametrize("name", ["upgrad", "dualproj", "mgda"])
def test_projections_are_no_longer_than_what_is_projected(name):
    """And the shortest vector of a hull is not longer than its corners."""
    for rows in SETS:
        lengths = rows.norm(dim=1)
        most = {"upgrad": lengths.mean(), "dualproj": rows.mean(0).norm(), "mgda": lengths.min()}[name]
        assert update_of(name, rows).norm() <= most + 1e-3 * lengths.max()


def test_cagrad_gives_the_nearest_harmless_update_where_none_serves_all():
    """Where 0 is in the hull of the gradients; with exact products that is seen at 1e-14."""
    for seed in range(20):
        rows = random_rows(seed, 8, 3) @ random_rows(seed + 1, 3, 200)
        shares = torch.from_numpy(np.random.default_rng(seed).uniform(0.2, 3.0, (1, 8)))
        rows = torch.cat([rows, -shares @ rows]).float().double()  # a combination of all is zero; the mean is not
        exact = update_of("cagrad", rows, torch.float64)
        assert (update_of("cagrad", rows) - exact).norm() < 2e-2 * rows.norm(dim=1).max()


def test_imtl_g_does_not_divide_by_a_sum_that_is_rounding():
    """Weights of both signs whose sum is 0: there is no scale at which they sum to 1."""
    rows = (
        torch.cat([pair(0.6), torch.tensor([[0.9, 0.9]]) / 1.2], 0).double() @ torch.linalg.qr(random_rows(0, 9, 2)).Q.T
    )
    rows = torch.cat([rows, torch.zeros(3, 1)], 1) + 0.1 * torch.eye(3, 10).double().flip(1)
    unit = rows / rows.norm(dim=1, keepdim=True)
    y = torch.linalg.solve(unit @ unit.T, torch.ones(3).double())
    assert y.min() < 0 < y.max()
    negative, positive = y.clamp(max=0).sum(), y.clamp(min=0).sum()
    lengths = torch.where(y < 0, -negative / positive, torch.ones(3).double())  # Σ y / ‖g‖ = 0
    assert update_of("imtl_g", unit * lengths.unsqueeze(1)).norm() < 10


def test_cagrad_stays_in_its_ball():
    for rows in SETS:
        mean = rows.float().double().mean(0)
        away = (update_of("cagrad", rows) - mean).norm()
        assert away <= 0.5 * mean.norm() + 1e-3 * rows.norm(dim=1).max()


@pytest.mark.parametrize("name", RANKED)
def test_dependent_gradients_have_their_rank(name):
    """The pseudo-inverse of float32 products is that of exact ones where gradients are dependent."""
    for seed in range(20):
        rows = degenerate(seed)[0].float().double()
        exact = update_of(name, rows, torch.float64)
        assert (update_of(name, rows) - exact).norm() < 1e-3 * rows.norm(dim=1).max()


@pytest.mark.parametrize("name", [n for n, b in CATALOG.items() if issubclass(b, GramianBalancer)])
def test_independent_gradients_are_weighed_alike(name):
    """In both precisions, up to that of float32."""
    rows = random_rows(3, 5, 40)
    single, double = update_of(name, rows), update_of(name, rows, torch.float64)
    assert (single - double).norm() < 1e-4 * double.norm()
