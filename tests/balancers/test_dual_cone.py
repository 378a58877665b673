"""The solver against its optimality conditions and against quadprog, float64."""

import numpy as np
import pytest
import quadprog
import torch

from trunkline.balancers.dual_cone import project_weights
from trunkline.balancers.least_squares import nnls


def random_rows(seed: int, tasks: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((tasks, width))


def weights_of(rows: np.ndarray) -> np.ndarray:
    return project_weights(torch.from_numpy(rows @ rows.T))


def assert_projections(rows: np.ndarray, tolerance: float) -> None:
    """The conditions that define the projection `d_i` of `g_i` onto `{d : J d >= 0}`, each in units of cosines."""
    weights = weights_of(rows)
    norms = np.linalg.norm(rows, axis=1)
    safe = np.where(norms > 0, norms, 1.0)
    updates = weights @ rows
    slack = updates @ rows.T / safe / safe[:, None]  # [i, j]: what d_i does for task j
    added = (weights - np.eye(len(rows))) * safe / safe[:, None]
    assert np.isfinite(weights).all()
    assert added.min() >= 0.0
    assert slack.min() >= -tolerance
    assert np.abs(added * slack).max() <= tolerance


@pytest.mark.parametrize("tasks", [1, 2, 3, 10, 40])
@pytest.mark.parametrize("width", [2, 5, 1000])
def test_optimality(tasks, width):
    for seed in range(5):
        assert_projections(random_rows(seed, tasks, width), 1e-9)


def test_optimality_of_a_hundred_tasks():
    assert_projections(random_rows(0, 100, 30), 1e-9)
    assert_projections(random_rows(0, 100, 1000), 1e-9)


@pytest.mark.parametrize("cosine", [-0.9, -0.99, -0.999999, -1.0, 0.99, 1.0])
@pytest.mark.parametrize("ratio", [1.0, 1e3, 1e8])
@pytest.mark.parametrize("others", [0, 3])
def test_ill_conditioned_pairs(cosine, ratio, others):
    pair = np.array([[1.0, 0.0, 0.0], [ratio * cosine, ratio * np.sqrt(1 - cosine**2), 0.0]])
    assert_projections(np.concatenate([pair, random_rows(0, others, 3)]), 1e-5 if abs(cosine) == 1.0 else 1e-8)


def test_colinear_duplicated_and_zero_rows():
    a, b = random_rows(0, 2, 6)
    for rows in ([a, a, -a], [a, 2 * a, -3 * a, b], [a, a, a], [a, 0 * a, -a], [a, -a, b, -b, 0 * a]):
        assert_projections(np.stack(rows), 1e-6)


@pytest.mark.parametrize(("tasks", "width"), [(4, 1), (10, 3), (40, 12), (100, 20)])
@pytest.mark.parametrize("ratio", [1.0, 1e3])
def test_gradients_that_cancel_project_to_nothing(tasks, width, ratio):
    """More tasks than dimensions: no direction serves all, and none but 0 is left."""
    for seed in range(3):
        rows = random_rows(seed, tasks, width)
        rows[-1] = -rows[:-1].sum(0)  # so that a positive combination is zero
        rows *= ratio ** np.random.default_rng(seed).uniform(0, 1, (tasks, 1))
        assert np.abs(weights_of(rows) @ rows).max() < 1e-7 * np.linalg.norm(rows, axis=1).max()
        assert_projections(rows, 1e-7)


def test_a_task_apart_from_those_that_cancel_is_left_alone():
    a, b = np.eye(2)
    weights = weights_of(np.stack([a, 2 * a, -a, b]))
    np.testing.assert_allclose(weights[3], [0, 0, 0, 1])


def test_zero_gradients_neither_help_nor_hinder():
    a, b = random_rows(3, 2, 4)
    with_zero = weights_of(np.stack([a, 0 * a, b]))
    without = weights_of(np.stack([a, b]))
    np.testing.assert_array_equal(with_zero[np.ix_([0, 2], [0, 2])], without)
    np.testing.assert_array_equal(with_zero[1], [0, 1, 0])
    np.testing.assert_array_equal(project_weights(torch.from_numpy(np.zeros((3, 3)))), np.eye(3))


def test_two_tasks_in_closed_form():
    a, b = np.array([1.0, 0.0]), np.array([-3.0, 4.0])
    weights = weights_of(np.stack([a, b]))
    np.testing.assert_allclose(weights, [[1, 3 / 25], [3, 1]], rtol=1e-14)


def test_pair_formula_equals_the_general_solver():
    a, b = np.array([1.0, 0.0, 0.0]), np.array([-3.0, 4.0, 0.0])
    rows = np.stack([a, b, [0.0, 0.0, 7.0]])  # the third is orthogonal, so it changes nothing
    np.testing.assert_allclose(weights_of(rows)[:2, :2], [[1, 3 / 25], [3, 1]], rtol=1e-10)


def test_gramian_that_is_indefinite_by_the_rounding_of_float32():
    for seed in range(10):
        rows = random_rows(seed, 8, 3).astype(np.float32)
        gramian = (rows @ rows.T).astype(np.float64)
        assert np.linalg.eigvalsh(gramian)[0] < 0
        weights = project_weights(torch.from_numpy(gramian))
        norms = np.linalg.norm(rows, axis=1)
        assert (weights @ gramian / norms / norms[:, None]).min() > -1e-4


def test_nnls_equals_quadprog():
    for seed in range(20):
        rows = random_rows(seed, 8, 12)
        system, target = rows @ rows.T, random_rows(seed + 100, 1, 8)[0]
        expected = quadprog.solve_qp(system, target, np.eye(8), np.zeros(8))[0]
        np.testing.assert_allclose(nnls(system, target), expected, atol=1e-9)


def test_projections_equal_quadprog():
    for seed in range(20):
        rows = random_rows(seed, 6, 15)
        gramian = rows @ rows.T
        eye = np.eye(6)
        expected = [quadprog.solve_qp(gramian, np.zeros(6), eye, eye[i])[0] for i in range(6)]
        np.testing.assert_allclose(project_weights(torch.from_numpy(gramian)), expected, atol=1e-9)
