"""CAGrad solves its paper's problem: optimality, bounds, and what it becomes at c = 0 and with 0 in the hull."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from balancers.gradients import (
    assert_same_direction,
    conflicting_rows,
    gramian_of,
    jacobians,
    pair,
    random_rows,
)
from trunkline.balancers import CAGrad
from trunkline.balancers.cagrad import cagrad_weights
from trunkline.balancers.dualproj import dualproj_weights
from trunkline.balancers.mgda import mgda_weights
from trunkline.errors import ConfigError


def assert_worst_off_gains_most(rows: torch.Tensor, c: float, tolerance: float) -> None:
    """The conditions of `max_d min_t g_t·d` in the ball: `d - g_0` has its length and is a positive combination of the
    gradients of those who gain least."""
    weights = cagrad_weights(gramian_of(rows), c=c)
    mean, update, norms = rows.mean(0), weights @ rows, rows.norm(dim=1)
    added = weights - 1 / len(rows)
    gains = rows @ update / norms.min() / update.norm()
    assert (update - mean).norm() / (c * mean.norm()) == pytest.approx(1.0, abs=tolerance)
    assert added.min() >= -1e-15
    share = added * norms / (added * norms).sum()
    assert (share * (gains - gains.min()) * norms.min() / norms).max() < tolerance


@pytest.mark.parametrize("c", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("tasks", [2, 3, 10, 40, 100])
def test_optimality(tasks, c):
    for seed in range(4):
        assert_worst_off_gains_most(random_rows(seed, tasks, 3 * tasks), c, 1e-8)
        assert_worst_off_gains_most(conflicting_rows(seed, tasks, pull=0.9), c, 1e-8)


@pytest.mark.parametrize("c", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("ratio", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("others", [0, 1, 5])
def test_optimality_of_a_nearly_opposed_pair(c, ratio, others):
    rows = torch.zeros(2 + others, 9, dtype=torch.float64)
    rows[:2, :2] = pair(-0.99, ratio)
    rows[2:] = random_rows(1, others, 9)
    assert_worst_off_gains_most(rows, c, 1e-6)


@given(jacobians(independent=True), st.floats(0.01, 0.99))
@settings(max_examples=100, deadline=None)
def test_optimality_of_anything(rows, c):
    assert_worst_off_gains_most(rows, c, 1e-6)


@given(jacobians(), st.floats(0.01, 0.99))
@settings(max_examples=100, deadline=None)
def test_bounds_of_anything(rows, c):
    """Within the ball, and no task is worse off than the worst off with the mean."""
    weights = cagrad_weights(gramian_of(rows), c=c)
    mean, update = rows.mean(0), weights @ rows
    assert weights.isfinite().all()
    assert (update - mean).norm() <= c * mean.norm() * (1 + 1e-6)
    scale = rows.norm(dim=1).max() * mean.norm()
    assert (rows @ update).min() >= (rows @ mean).min() - 1e-6 * scale


@pytest.mark.parametrize("tasks", [2, 4, 8])
def test_equals_the_papers_dual_problem(tasks):
    """Algorithm 1, solved as the authors' code solves it: `w` minimises `g_w·g_0 + √φ ‖g_w‖` over the simplex."""
    for seed in range(5):
        rows, c = conflicting_rows(seed, tasks, pull=0.5).numpy(), 0.4
        gramian, mean = rows @ rows.T, rows.mean(0)
        root_phi = c * np.linalg.norm(mean)

        def loss(w: np.ndarray) -> float:
            return float(w @ rows @ mean + root_phi * math.sqrt(w @ gramian @ w))  # noqa: B023

        sum_is_one = {"type": "eq", "fun": lambda w: w.sum() - 1}
        start = np.full(tasks, 1 / tasks)
        theirs = minimize(loss, start, bounds=[(0, 1)] * tasks, constraints=sum_is_one, tol=1e-14).x
        ours = cagrad_weights(torch.from_numpy(gramian), c=c).numpy() - 1 / tasks
        ours /= ours.sum()
        assert loss(ours) <= loss(theirs) + 1e-12
        np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_c_zero_is_the_mean():
    assert cagrad_weights(gramian_of(random_rows(0)), c=0).tolist() == [0.2] * 5


def test_c_near_one_is_the_direction_of_mgda():
    """Section 3.1: with growing c the update turns to MGDA's."""
    rows = conflicting_rows(0, 4, pull=0.5)
    update, shortest = (
        weigh(gramian_of(rows)) @ rows for weigh in (lambda g: cagrad_weights(g, c=100.0), mgda_weights)
    )
    assert torch.cosine_similarity(update, shortest, dim=0) > 1 - 1e-3


def test_one_task():
    row = random_rows(0, 1)
    torch.testing.assert_close(cagrad_weights(gramian_of(row), c=0.5).item(), 1.5)  # the ball's farthest point


def test_where_zero_is_in_the_hull_it_is_the_projected_mean():
    """All that no task gets worse with are equally good; the nearest to the mean is DualProj's."""
    for seed in range(5):
        rows = conflicting_rows(seed, 5, pull=0.3)
        rows = torch.cat([rows, -rows[:1] - 0.5 * rows[1:2]])
        gramian = gramian_of(rows)
        projected, update = dualproj_weights(gramian) @ rows, cagrad_weights(gramian, c=0.99) @ rows
        torch.testing.assert_close(update, projected, rtol=0, atol=1e-5)
        assert (rows @ update).min() > -1e-5


@pytest.mark.parametrize("rows", [[1, -1], [1, 1, -1], [1, 1, 1], [1, 0, -1], [0, 0, 0], [1, 0, 0]])
def test_degenerate_gradients_give_finite_weights(rows):
    rows = torch.tensor(rows, dtype=torch.float64).unsqueeze(1) * random_rows(0, 1)
    weights = cagrad_weights(gramian_of(rows), c=0.5)
    assert weights.isfinite().all()
    assert (weights @ rows).norm() <= 1.5 * rows.mean(0).norm() + 1e-9


@pytest.mark.parametrize("scale", [1e-15, 1e6])
def test_scaling_all_gradients_changes_no_weight(scale):
    rows = conflicting_rows(0, 5, ratio=10.0)
    torch.testing.assert_close(
        cagrad_weights(gramian_of(scale * rows)), cagrad_weights(gramian_of(rows)), rtol=1e-9, atol=0
    )


def test_multiplying_a_loss_changes_the_direction():
    rows = conflicting_rows(1, 3)
    scaled = torch.tensor([[10.0], [1.0], [1.0]], dtype=torch.float64) * rows
    one, other = (cagrad_weights(gramian_of(r)) @ r for r in (rows, scaled))
    assert torch.cosine_similarity(one, other, dim=0) < 0.99
    assert_same_direction(one, cagrad_weights(gramian_of(3 * rows)) @ rows)


def test_class_is_the_function():
    gramian = gramian_of(random_rows(4))
    assert torch.equal(CAGrad(0.3).weigh(gramian, list("abcde")), cagrad_weights(gramian, c=0.3))
    with pytest.raises(ConfigError, match=r"balancer.c: 1.0 is out of range"):
        CAGrad(1.0).start(["a"])
