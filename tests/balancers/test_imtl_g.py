"""IMTL-G's update has the same cosine with every gradient; what its equation does with mixed signs and dependence."""

import pytest
import torch
from hypothesis import given, settings
from torchjd.aggregation import IMTLGWeighting

from balancers.gradients import (
    assert_same_direction,
    conflicting_rows,
    cosines_with,
    gramian_of,
    jacobians,
    pair,
    random_rows,
)
from trunkline.balancers import IMTLG
from trunkline.balancers.imtl_g import imtl_g_weights


def assert_equal_projections(rows: torch.Tensor, tolerance: float) -> None:
    """`d·u_i = d·u_j`, and the weights' sum is 1 but for its sign."""
    weights = imtl_g_weights(gramian_of(rows))
    cosines = cosines_with(rows, weights @ rows)
    assert cosines.min() > 0
    assert cosines.max() - cosines.min() < tolerance
    assert weights.sum().abs().sub(1).abs() < 1e-9 * weights.abs().sum()


@pytest.mark.parametrize("tasks", [1, 2, 3, 10, 40, 100])
def test_equal_projections(tasks):
    for seed in range(5):
        assert_equal_projections(random_rows(seed, tasks, 3 * tasks), 1e-8)
        assert_equal_projections(conflicting_rows(seed, tasks, pull=0.9), 1e-8)


@pytest.mark.parametrize("ratio", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("others", [0, 5])
def test_equal_projections_of_a_nearly_opposed_pair(ratio, others):
    rows = torch.zeros(2 + others, 9, dtype=torch.float64)
    rows[:2, :2] = pair(-0.99, ratio)
    rows[2:, 2:] = random_rows(1, others, 7)
    assert_equal_projections(rows, 1e-6)


@given(jacobians(independent=True))
@settings(max_examples=100, deadline=None)
def test_equal_projections_of_anything(rows):
    assert_equal_projections(rows, 1e-6)


def test_closed_form_of_the_paper():
    """`[α_2 … α_T] = g_1 Uᵀ (D Uᵀ)⁻¹` with `D = g_1 - g_t`, `U = u_1 - u_t`."""
    rows = random_rows(0, 5, 9)
    unit = rows / rows.norm(dim=1, keepdim=True)
    differences, directions = rows[0] - rows[1:], unit[0] - unit[1:]
    others = rows[0] @ directions.T @ torch.linalg.inv(differences @ directions.T)
    torch.testing.assert_close(imtl_g_weights(gramian_of(rows)), torch.cat([1 - others.sum(0, keepdim=True), others]))


def mixed_signs() -> torch.Tensor:
    """The third unit gradient lies within the others' cone, so its weight is negative; it is short, so it is large."""
    a, b = torch.eye(2, 3, dtype=torch.float64)
    return torch.stack([a, b, 1e-3 * (a + b + torch.tensor([0.0, 0.0, 0.1], dtype=torch.float64))])


def test_where_the_papers_update_makes_every_loss_rise_ours_does_not():
    rows = mixed_signs()
    theirs, ours = IMTLGWeighting()(gramian_of(rows)), imtl_g_weights(gramian_of(rows))
    assert cosines_with(rows, theirs @ rows).max() < 0
    assert cosines_with(rows, ours @ rows).min() > 0
    torch.testing.assert_close(ours, -theirs, rtol=1e-9, atol=0)


def test_equals_torchjd():
    for seed in range(10):
        gramian = gramian_of(random_rows(seed, 6, 20))
        torch.testing.assert_close(imtl_g_weights(gramian), IMTLGWeighting()(gramian), rtol=1e-9, atol=0)


def test_dependent_gradients_have_the_shortest_solution():
    rows = random_rows(0, 3, 9)
    rows = torch.cat([rows, 2 * rows[:1]])
    assert_equal_projections(rows, 1e-7)
    weights = imtl_g_weights(gramian_of(rows))
    torch.testing.assert_close(weights[0], 2 * weights[3])  # alike in units of their norms
    single = imtl_g_weights(gramian_of(rows[:3]))
    assert_same_direction(weights @ rows, single @ rows[:3], 1e-7)


@pytest.mark.parametrize("rows", [[1, -1], [1, -2], [1, 1, -2]])
def test_no_direction_serves_opposed_gradients(rows):
    rows = torch.tensor(rows, dtype=torch.float64).unsqueeze(1) * random_rows(0, 1)
    weights = imtl_g_weights(gramian_of(rows))
    assert weights.isfinite().all()
    assert (weights @ rows).norm() <= rows.norm(dim=1).max()


def test_class_is_the_function():
    gramian = gramian_of(random_rows(4))
    assert torch.equal(IMTLG().weigh(gramian, list("abcde")), imtl_g_weights(gramian))
