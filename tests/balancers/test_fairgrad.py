"""FairGrad solves its paper's equation for every α, and is Nash-MTL at α = 1."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchjd.aggregation import FairGradWeighting

from balancers.gradients import (
    assert_same_direction,
    conflicting_rows,
    cosines_with,
    gramian_of,
    jacobians,
    pair,
    random_rows,
)
from trunkline.balancers import FairGrad, fairness
from trunkline.balancers.fairgrad import fairgrad_weights
from trunkline.balancers.mgda import mgda_weights
from trunkline.balancers.nash_mtl import nash_mtl_weights
from trunkline.errors import ConfigError


def assert_fair(rows: torch.Tensor, alpha: float, tolerance: float) -> None:
    """Equation 4: `(G w)_t w_t^(1/α) = 1`, `w > 0`; at small α up to the rounding of `(G w)_t`."""
    gramian, norms = gramian_of(rows), rows.norm(dim=1)
    w = fairgrad_weights(gramian, alpha=alpha)
    wanted = w ** (-1 / alpha)
    assert w.min() > 0
    rounding = 1e-14 * norms * (norms * w).sum()
    assert ((gramian @ w - wanted).abs() <= tolerance * wanted + rounding).all()


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("tasks", [1, 2, 3, 10, 40, 100])
def test_equation(tasks, alpha):
    for seed in range(5):
        assert_fair(random_rows(seed, tasks, 3 * tasks), alpha, 1e-8)
        assert_fair(conflicting_rows(seed, tasks, pull=0.9), alpha, 1e-8)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("ratio", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("others", [0, 5])
def test_equation_of_a_nearly_opposed_pair(alpha, ratio, others):
    rows = torch.zeros(2 + others, 9, dtype=torch.float64)
    rows[:2, :2] = pair(-0.99, ratio)
    rows[2:, 2:] = random_rows(1, others, 7)
    assert_fair(rows, alpha, 1e-6)


@given(jacobians(independent=True, ratio=100.0), st.floats(0.2, 10.0))
@settings(max_examples=100, deadline=None)
def test_equation_of_anything(rows, alpha):
    assert_fair(rows, alpha, 1e-6)


@given(jacobians(), st.floats(0.2, 10.0))
@settings(max_examples=60, deadline=None)
def test_weights_are_finite_where_there_is_no_solution(rows, alpha):
    assert fairgrad_weights(gramian_of(rows), alpha=alpha).isfinite().all()


@pytest.mark.parametrize("tasks", [1, 2, 3, 10, 40])
def test_alpha_one_is_nash(tasks):
    for seed in range(5):
        gramian = gramian_of(conflicting_rows(seed, tasks, ratio=10.0))
        torch.testing.assert_close(fairgrad_weights(gramian), nash_mtl_weights(gramian), rtol=1e-9, atol=0)


def test_alpha_zero_is_the_sum():
    assert fairgrad_weights(gramian_of(random_rows(0)), alpha=0).tolist() == [1.0] * 5


def test_large_alpha_approaches_the_direction_of_mgda():
    """Section 4: max-min fairness at the limit."""
    rows = conflicting_rows(0, 4, pull=0.5)
    shortest = mgda_weights(gramian_of(rows)) @ rows
    apart = [
        (1 - torch.cosine_similarity(fairgrad_weights(gramian_of(rows), alpha=a) @ rows, shortest, dim=0)).item()
        for a in (1.0, 10.0, 100.0)
    ]
    assert apart[0] > 10 * apart[1] > 100 * apart[2]


def test_equals_torchjd():
    for alpha in (0.5, 1.0, 2.0):
        for seed in range(5):
            gramian = gramian_of(random_rows(seed, 6, 18))
            theirs = FairGradWeighting(alpha=alpha)(gramian)
            torch.testing.assert_close(fairgrad_weights(gramian, alpha=alpha), theirs, rtol=1e-5, atol=0)


@pytest.mark.parametrize("scale", [1e-15, 1e6])
def test_scaling_all_gradients_keeps_the_direction(scale):
    rows = conflicting_rows(0, 5, ratio=10.0)
    weights = fairgrad_weights(gramian_of(rows), alpha=2.0)
    assert_same_direction(fairgrad_weights(gramian_of(scale * rows), alpha=2.0), weights)


def test_multiplying_a_loss_changes_the_direction_unless_alpha_is_one():
    rows = conflicting_rows(1, 3)
    scaled = torch.tensor([[10.0], [1.0], [1.0]], dtype=torch.float64) * rows
    cosine = {
        alpha: torch.cosine_similarity(
            fairgrad_weights(gramian_of(rows), alpha=alpha) @ rows,
            fairgrad_weights(gramian_of(scaled), alpha=alpha) @ scaled,
            dim=0,
        ).item()
        for alpha in (1.0, 2.0)
    }
    assert 1 - cosine[1.0] < 1e-12
    assert 1 - cosine[2.0] > 1e-5


def test_every_task_gains():
    rows = conflicting_rows(5, 6, ratio=100.0)
    for alpha in (0.5, 1.0, 2.0):
        assert cosines_with(rows, fairgrad_weights(gramian_of(rows), alpha=alpha) @ rows).min() > 0


def test_a_task_without_gradient_gets_no_weight():
    rows = conflicting_rows(3, 4)
    weights = fairgrad_weights(gramian_of(torch.cat([rows, torch.zeros_like(rows[:1])])), alpha=2.0)
    assert weights[4] == 0
    torch.testing.assert_close(weights[:4], fairgrad_weights(gramian_of(rows), alpha=2.0))


def test_class_is_the_function():
    gramian = gramian_of(random_rows(4))
    assert torch.equal(FairGrad(2.0).weigh(gramian, list("abcde")), fairgrad_weights(gramian, alpha=2.0))
    with pytest.raises(ConfigError, match=r"balancer.alpha: -1 cannot be"):
        FairGrad(-1).start(["a"])
    with pytest.raises(ConfigError, match=r"balancer.alpha: 0.001 cannot be"):
        FairGrad(0.001).start(["a"])


@pytest.mark.parametrize("alpha", [0.5, 2.0, 10.0])
@pytest.mark.parametrize("angle", [1e-2, 1e-3, 1e-4])
def test_long_solutions_are_found_in_few_steps(monkeypatch, alpha, angle):
    """Of a pair that is nearly opposed; Newton's steps alone would double the weights one after the other."""
    monkeypatch.setattr(fairness, "STEPS", 12)
    gramian = gramian_of(pair(-((1 - angle**2) ** 0.5), 3.0))
    weights = fairgrad_weights(gramian, alpha=alpha)
    torch.testing.assert_close(gramian @ weights * weights ** (1 / alpha), torch.ones(2).double(), rtol=1e-6, atol=1e-6)
