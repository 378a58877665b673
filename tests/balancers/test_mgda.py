"""MGDA is the shortest vector of the hull: its optimality, and what follows from it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torchjd.aggregation import MGDAWeighting

from balancers.gradients import conflicting_rows, gramian_of, jacobians, pair, random_rows
from trunkline.balancers import MGDA
from trunkline.balancers.mgda import mgda_weights, min_norm_weights


def assert_shortest(rows: torch.Tensor, tolerance: float) -> None:
    """`(G α)_t >= αᵀ G α`, with equality where `α_t > 0`, in units of the norms of the two vectors compared."""
    gramian = gramian_of(rows)
    alpha = mgda_weights(gramian)
    norms, length = rows.norm(dim=1), (alpha @ rows).norm().clamp(min=1e-6 * rows.norm(dim=1).min())
    slack = (gramian @ alpha - alpha @ gramian @ alpha) / norms / length
    assert alpha.sum().sub(1).abs() < 1e-12
    assert alpha.min() >= 0
    assert slack.min() > -tolerance
    assert (slack * alpha * norms / norms.min()).abs().max() < tolerance


@pytest.mark.parametrize("tasks", [1, 2, 3, 10, 40, 100])
def test_optimality(tasks):
    for seed in range(5):
        assert_shortest(random_rows(seed, tasks, 3 * tasks), 1e-8)
        assert_shortest(conflicting_rows(seed, tasks, pull=0.9), 1e-8)


@pytest.mark.parametrize("ratio", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("others", [0, 1, 5])
def test_optimality_of_a_nearly_opposed_pair(ratio, others):
    rows = torch.zeros(2 + others, 9, dtype=torch.float64)
    rows[:2, :2] = pair(-0.99, ratio)
    rows[2:] = random_rows(1, others, 9)
    assert_shortest(rows, 1e-6)


@given(jacobians(independent=True))
@settings(max_examples=60, deadline=None)
def test_optimality_of_anything(rows):
    assert_shortest(rows, 1e-6)


@given(jacobians())
@settings(max_examples=60, deadline=None)
def test_no_point_of_the_hull_is_shorter(rows):
    alpha = mgda_weights(gramian_of(rows))
    others = torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(len(rows)), 50))
    shortest = (alpha @ rows).norm()
    for other in (*others, *torch.eye(len(rows), dtype=torch.float64)):
        assert shortest <= (other @ rows).norm() + 1e-6 * rows.norm(dim=1).min()


def test_closed_form_of_two_tasks():
    """Sener and Koltun, algorithm 1: `γ = (g_2 - g_1)·g_2 / ‖g_1 - g_2‖²`, within 0 and 1."""
    for seed in range(20):
        rows = random_rows(seed, 2, 3)
        a, b = rows
        share = ((b - a) @ b / (a - b).square().sum()).clamp(0, 1)
        torch.testing.assert_close(mgda_weights(gramian_of(rows)), torch.stack([share, 1 - share]))


def test_pair_equals_the_general_solver():
    for seed in range(20):
        rows = torch.cat([random_rows(seed, 2, 3), torch.zeros(2, 1, dtype=torch.float64)], 1)
        far = torch.tensor([[0.0, 0.0, 0.0, 1e6]], dtype=torch.float64)  # too long to have weight
        three = min_norm_weights(gramian_of(torch.cat([rows, far])))
        np.testing.assert_allclose(three[:2], min_norm_weights(gramian_of(rows)), atol=1e-9)


def test_torchjd_comes_near_it_with_many_steps():
    """Frank and Wolfe's steps go on for ever: what they reach is longer than the shortest vector."""
    for seed in range(5):
        rows = random_rows(seed, 5, 15)
        gramian = gramian_of(rows)
        exact = (mgda_weights(gramian) @ rows).norm()
        patient = (MGDAWeighting(epsilon=1e-12, max_iters=5000)(gramian) @ rows).norm()
        assert exact <= patient * (1 + 1e-12)
        torch.testing.assert_close(exact, patient, rtol=1e-3, atol=0)


def test_two_opposed_gradients_meet_at_zero():
    rows = torch.stack([random_rows(0)[0], -3 * random_rows(0)[0]])
    torch.testing.assert_close(mgda_weights(gramian_of(rows)), torch.tensor([0.75, 0.25], dtype=torch.float64))


def test_colinear_gradients_share():
    row = random_rows(0)[:1]
    weights = mgda_weights(gramian_of(row.repeat(4, 1)))
    torch.testing.assert_close(weights, torch.full_like(weights, 0.25), rtol=0, atol=1e-2)  # by a ridge of 1e-12


def test_a_zero_gradient_is_stationary():
    rows = torch.cat([random_rows(0, 2), torch.zeros(2, 11, dtype=torch.float64)])
    assert mgda_weights(gramian_of(rows)).tolist() == [0, 0, 0.5, 0.5]


def test_class_is_the_function():
    gramian = gramian_of(random_rows(4))
    assert torch.equal(MGDA().weigh(gramian, list("abcde")), mgda_weights(gramian))
