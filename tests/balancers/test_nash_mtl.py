"""Nash-MTL solves its paper's equation, whatever the angles and norms."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from scipy.optimize import minimize

from balancers.gradients import (
    assert_same_direction,
    conflicting_rows,
    cosines_with,
    gramian_of,
    jacobians,
    pair,
    random_rows,
)
from trunkline.balancers import NashMTL
from trunkline.balancers.nash_mtl import nash_mtl_weights
from trunkline.errors import ConfigError


def assert_bargain(rows: torch.Tensor, tolerance: float) -> None:
    """Claim 3.1: `α_t (G α)_t = 1` for all tasks, `α > 0`; so `‖Jᵀ α‖² = T`."""
    gramian = gramian_of(rows)
    alpha = nash_mtl_weights(gramian)
    assert alpha.min() > 0
    assert (alpha * (gramian @ alpha) - 1).abs().max() < tolerance
    assert abs(float((alpha @ rows).norm()) - len(rows) ** 0.5) < tolerance * len(rows)


@pytest.mark.parametrize("tasks", [1, 2, 3, 10, 40, 100])
def test_equation(tasks):
    for seed in range(5):
        assert_bargain(random_rows(seed, tasks, 3 * tasks), 1e-8)
        assert_bargain(conflicting_rows(seed, tasks, pull=0.9), 1e-8)


@pytest.mark.parametrize("cosine", [-0.9, -0.99, -0.999])
@pytest.mark.parametrize("ratio", [1e-3, 1e-2, 1.0, 1e2, 1e3])
@pytest.mark.parametrize("others", [0, 1, 5])
def test_equation_of_a_nearly_opposed_pair(cosine, ratio, others):
    rows = torch.zeros(2 + others, 9, dtype=torch.float64)
    rows[:2, :2] = pair(cosine, ratio)
    rows[2:, 2:] = random_rows(1, others, 7)
    assert_bargain(rows, 1e-6)


@given(jacobians(independent=True))
@settings(max_examples=100, deadline=None)
def test_equation_of_anything(rows):
    assert_bargain(rows, 1e-6)


@pytest.mark.parametrize("scale", [1e-15, 1e-6, 1e6])
def test_tiny_and_huge_losses(scale):
    assert_bargain(scale * conflicting_rows(0, 6), 1e-8)


def test_is_the_maximum_of_the_product_of_gains():
    """The bargaining problem itself: no `d` of length 1 has a larger `Σ log g_t · d`."""
    rows = conflicting_rows(0, 4, pull=0.5)
    update = nash_mtl_weights(gramian_of(rows)) @ rows

    def loss(d: np.ndarray) -> float:
        gains = rows.numpy() @ d / np.linalg.norm(d)
        return -np.log(gains).sum() if gains.min() > 0 else np.inf

    found = minimize(loss, update.numpy() + 1e-3, method="Nelder-Mead", options={"maxiter": 4000})
    assert loss(update.numpy()) <= found.fun + 1e-9


def test_pair_equals_the_general_solver():
    for seed in range(10):
        rows = torch.cat([random_rows(seed, 2, 4), torch.zeros(2, 1, dtype=torch.float64)], 1)
        aside = torch.tensor([[0.0] * 4 + [7.0]], dtype=torch.float64)  # orthogonal: bargains alone
        three = nash_mtl_weights(gramian_of(torch.cat([rows, aside])))
        torch.testing.assert_close(three[:2], nash_mtl_weights(gramian_of(rows)), rtol=1e-10, atol=0)
        torch.testing.assert_close(three[2].item(), 1 / 7)


def test_each_gains_alike_where_the_convex_solver_of_the_authors_fails():
    """cos -0.9, norms 1 : 100. Their solver's `α_1 (G α)_1` is 69 times the other task's there."""
    rows = pair(-0.9, 100.0)
    alpha = nash_mtl_weights(gramian_of(rows))
    gains = alpha * (gramian_of(rows) @ alpha)
    torch.testing.assert_close(gains[0], gains[1], rtol=1e-10, atol=0)


@pytest.mark.parametrize("rows", [[1, -1], [1, -2, 1], [1, 1, -1], [1, -1, 0]])
def test_without_a_bargain_weights_are_finite_and_the_update_no_longer(rows):
    direction = random_rows(0, 1)
    rows = torch.tensor(rows, dtype=torch.float64).unsqueeze(1) * direction
    for noise in (0.0, 1e-9):
        noisy = rows + noise * random_rows(1, len(rows)) * (rows != 0)
        alpha = nash_mtl_weights(gramian_of(noisy))
        assert alpha.isfinite().all()
        assert (alpha @ noisy).norm() <= len(rows) ** 0.5 * (1 + 1e-6)


def test_more_tasks_than_dimensions():
    for seed in range(5):
        rows = random_rows(seed, 40, 12)
        alpha = nash_mtl_weights(gramian_of(rows))
        assert alpha.isfinite().all() and alpha.min() > 0
        assert (alpha @ rows).norm() <= 40**0.5 * (1 + 1e-6)


def test_gramian_of_float32_products():
    for seed in range(5):
        rows = conflicting_rows(seed, 8, pull=0.9, ratio=1e3).float()
        gramian = gramian_of(rows).double()
        alpha = nash_mtl_weights(gramian)
        assert (alpha * (gramian @ alpha) - 1).abs().max() < 1e-8
        assert cosines_with(rows.double(), alpha @ rows.double()).min() > 0


def test_multiplying_a_loss_changes_nothing():
    rows = conflicting_rows(1, 5)
    scales = torch.tensor([1e-3, 1.0, 2.0, 1e3, 7.0], dtype=torch.float64)
    weights = nash_mtl_weights(gramian_of(rows))
    scaled = nash_mtl_weights(gramian_of(scales.unsqueeze(1) * rows))
    torch.testing.assert_close(scaled * scales, weights, rtol=1e-9, atol=0)


def test_max_norm_is_a_norm():
    rows = conflicting_rows(2, 5)
    gramian = gramian_of(rows)
    full, short = nash_mtl_weights(gramian), nash_mtl_weights(gramian, max_norm=1.0)
    torch.testing.assert_close((short @ rows).norm().item(), 1.0)
    assert_same_direction(full, short)
    assert torch.equal(nash_mtl_weights(gramian, max_norm=3.0), full)


def test_class_is_the_function():
    gramian = gramian_of(random_rows(4))
    assert torch.equal(NashMTL().weigh(gramian, list("abcde")), nash_mtl_weights(gramian))
    assert torch.equal(NashMTL(1.0).weigh(gramian, list("abcde")), nash_mtl_weights(gramian, max_norm=1.0))
    with pytest.raises(ConfigError, match=r"balancer.max_norm: 0 is no length"):
        NashMTL(0).start(["a"])
