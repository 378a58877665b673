"""ConFIG's update is its paper's, from the Gramian alone."""

import pytest
import torch
from hypothesis import given, settings
from torchjd.aggregation import ConFIG as TheirConFIG

from balancers.gradients import (
    assert_same_direction,
    conflicting_rows,
    cosines_with,
    gramian_of,
    jacobians,
    pair,
    random_rows,
)
from trunkline.balancers import ConFIG
from trunkline.balancers.conflict_free import config_weights
from trunkline.balancers.imtl_g import imtl_g_weights


def papers_update(rows: torch.Tensor) -> torch.Tensor:
    """Equations 2 and 3."""
    unit = rows / rows.norm(dim=1, keepdim=True)
    direction = torch.linalg.pinv(unit) @ torch.ones(len(rows), dtype=torch.float64)
    direction /= direction.norm()
    return (rows @ direction).sum() * direction


def assert_equal_cosines(rows: torch.Tensor, tolerance: float) -> None:
    """The same positive cosine for all tasks, and the length of the sum of their projections."""
    update = config_weights(gramian_of(rows)) @ rows
    cosines = cosines_with(rows, update)
    assert cosines.min() > 0
    assert cosines.max() - cosines.min() < tolerance
    assert float(update.norm() / (rows.norm(dim=1) * cosines).sum()) == pytest.approx(1.0, abs=tolerance)


@pytest.mark.parametrize("tasks", [1, 2, 3, 10, 40, 100])
def test_equal_cosines(tasks):
    for seed in range(5):
        assert_equal_cosines(random_rows(seed, tasks, 3 * tasks), 1e-8)
        assert_equal_cosines(conflicting_rows(seed, tasks, pull=0.9), 1e-8)


@pytest.mark.parametrize("ratio", [1e-3, 1.0, 1e3])
def test_equal_cosines_of_a_nearly_opposed_pair(ratio):
    assert_equal_cosines(pair(-0.99, ratio), 1e-6)


@given(jacobians(independent=True))
@settings(max_examples=100, deadline=None)
def test_equal_cosines_of_anything(rows):
    assert_equal_cosines(rows, 1e-6)


@pytest.mark.parametrize("tasks", [1, 2, 5, 20])
def test_equals_the_papers_equations_and_torchjd(tasks):
    for seed in range(5):
        rows = random_rows(seed, tasks, 2 * tasks + 1)
        update = config_weights(gramian_of(rows)) @ rows
        torch.testing.assert_close(update, papers_update(rows), rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(update, TheirConFIG()(rows), rtol=1e-8, atol=1e-10)


def test_more_tasks_than_dimensions_is_the_nearest_to_equal_cosines():
    for seed in range(5):
        rows = random_rows(seed, 6, 3)
        torch.testing.assert_close(config_weights(gramian_of(rows)) @ rows, papers_update(rows), rtol=1e-6, atol=1e-8)


def test_direction_is_that_of_imtl_g():
    for seed in range(10):
        rows = conflicting_rows(seed, 6, ratio=100.0)
        gramian = gramian_of(rows)
        assert_same_direction(config_weights(gramian) @ rows, imtl_g_weights(gramian) @ rows)


def test_opposed_gradients_cancel():
    rows = torch.stack([random_rows(0)[0], -2 * random_rows(0)[0]])
    assert (config_weights(gramian_of(rows)) @ rows).norm() < 1e-10


def test_class_is_the_function():
    gramian = gramian_of(random_rows(4))
    assert torch.equal(ConFIG().weigh(gramian, list("abcde")), config_weights(gramian))
