"""DualProj is the nearest point to the mean gradient with which no task gets worse."""

import numpy as np
import pytest
import quadprog
import torch
from hypothesis import given, settings
from torchjd.aggregation import DualProjWeighting
from torchjd.linalg import DualConeProjector

from balancers.gradients import conflicting_rows, gramian_of, jacobians, pair, random_rows
from trunkline.balancers import DualProj
from trunkline.balancers.dualproj import dualproj_weights, project_mean


def assert_projection(rows: torch.Tensor, tolerance: float) -> None:
    """Equation 11's conditions, scale-free: `J d >= 0`, weights of at least 1/T, and more only where `(J d)_t = 0`."""
    weights = dualproj_weights(gramian_of(rows))
    norms, mean = rows.norm(dim=1), rows.mean(0)
    slack = rows @ (weights @ rows) / norms / norms.max()
    added = (weights - 1 / len(rows)) * norms / norms.max()
    assert added.min() >= -1e-15
    assert slack.min() > -tolerance
    assert (slack * added).abs().max() < tolerance
    assert (weights @ rows).norm() <= mean.norm() * (1 + 1e-9)


@pytest.mark.parametrize("tasks", [1, 2, 3, 10, 40, 100])
def test_conditions(tasks):
    for seed in range(5):
        assert_projection(random_rows(seed, tasks, 3 * tasks), 1e-8)
        assert_projection(conflicting_rows(seed, tasks, pull=0.9), 1e-8)


@pytest.mark.parametrize("ratio", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("others", [0, 3])
def test_conditions_of_a_nearly_opposed_pair(ratio, others):
    rows = torch.zeros(2 + others, 9, dtype=torch.float64)
    rows[:2, :2] = pair(-0.99, ratio)
    rows[2:] = random_rows(1, others, 9)
    assert_projection(rows, 1e-6)


@given(jacobians(independent=True))
@settings(max_examples=60, deadline=None)
def test_conditions_of_anything(rows):
    assert_projection(rows, 1e-6)


def test_equals_quadprog():
    for seed in range(20):
        rows = conflicting_rows(seed, 6)
        gramian = gramian_of(rows).numpy()
        expected = quadprog.solve_qp(gramian, np.zeros(6), np.eye(6), np.full(6, 1 / 6))[0]
        np.testing.assert_allclose(project_mean(torch.from_numpy(gramian)), expected, atol=1e-8)


class Quadprog(DualConeProjector):
    """TorchJD's own projector without the ridge of 1e-4 of the trace that it adds to the Gramian."""

    def __call__(self, U, G):  # noqa: N803
        return torch.from_numpy(quadprog.solve_qp(G.numpy(), np.zeros(len(G)), np.eye(len(G)), U.numpy().copy())[0])


def test_equals_torchjd():
    for seed in range(5):
        gramian = gramian_of(conflicting_rows(seed, 6))
        torch.testing.assert_close(
            dualproj_weights(gramian), DualProjWeighting(projector=Quadprog())(gramian), rtol=0, atol=1e-8
        )


def test_pair_equals_the_general_solver():
    for seed in range(20):
        rows = torch.cat([random_rows(seed, 2, 2), torch.zeros(2, 1, dtype=torch.float64)], 1)
        aside = torch.tensor([[0.0, 0.0, 1e-3]], dtype=torch.float64)
        three = project_mean(gramian_of(torch.cat([rows, aside])))[:2] * 3 / 2
        np.testing.assert_allclose(three, project_mean(gramian_of(rows)), atol=1e-9)


def test_is_the_mean_without_conflict():
    assert dualproj_weights(gramian_of(random_rows(0).abs())).tolist() == [0.2] * 5


def test_zero_gradients_neither_help_nor_hinder():
    rows = conflicting_rows(3, 4)
    with_zero = dualproj_weights(gramian_of(torch.cat([rows, torch.zeros_like(rows[:1])])))
    torch.testing.assert_close(with_zero[:4] * 5 / 4, dualproj_weights(gramian_of(rows)), rtol=0, atol=1e-12)
    assert with_zero[4] == 0.2
    assert dualproj_weights(torch.zeros(3, 3, dtype=torch.float64)).tolist() == [1 / 3] * 3


def test_class_is_the_function():
    gramian = gramian_of(random_rows(4))
    assert torch.equal(DualProj().weigh(gramian, list("abcde")), dualproj_weights(gramian))
