"""Non-negative least squares: many at once, one at a time, and against quadprog."""

import numpy as np
import pytest
import quadprog
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.balancers import least_squares
from trunkline.balancers.least_squares import lawson_hanson, nnls, solve_free


def problem(seed: int, tasks: int, width: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """A system with a unit diagonal, and targets that reach everywhere."""
    rng = np.random.default_rng(seed)
    unit = rng.standard_normal((tasks, width))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return unit @ unit.T + 1e-9 * np.eye(tasks), rng.standard_normal((rows, width)) @ unit.T


def assert_optimal(system: np.ndarray, targets: np.ndarray, solutions: np.ndarray, tolerance: float) -> None:
    slack = solutions @ system - targets
    assert solutions.min(initial=0) >= 0
    assert slack.min(initial=0) >= -tolerance
    assert np.abs(slack * solutions).max(initial=0) <= tolerance * max(1, solutions.max(initial=0))


@pytest.mark.parametrize("tasks", [1, 2, 5, 20])
def test_equals_quadprog(tasks):
    for seed in range(10):
        system, targets = problem(seed, tasks, 2 * tasks + 3, 6)
        expected = [quadprog.solve_qp(system, t, np.eye(tasks), np.zeros(tasks))[0] for t in targets]
        np.testing.assert_allclose(nnls(system, targets), expected, atol=1e-10)


def test_one_problem_is_as_in_a_batch():
    system, targets = problem(0, 12, 30, 5)
    np.testing.assert_allclose(nnls(system, targets), [nnls(system, t) for t in targets], rtol=0, atol=1e-13)


def test_pivoting_equals_lawson_and_hanson():
    for seed in range(10):
        system, targets = problem(seed, 15, 40, 5)
        np.testing.assert_allclose(nnls(system, targets), [lawson_hanson(system, t) for t in targets], atol=1e-11)


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 14), st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_optimality_of_anything(seed, tasks, width, rows):
    system, targets = problem(seed, tasks, width, rows)
    assert_optimal(system, targets, nnls(system, targets), 1e-7)  # of a condition of up to 1e9


def test_what_pivoting_does_not_solve_is_solved_all_the_same(monkeypatch):
    monkeypatch.setattr(least_squares, "EXCHANGES", 1)
    system, targets = problem(3, 12, 30, 5)
    assert_optimal(system, targets, nnls(system, targets), 1e-10)


def test_a_guess_does_not_change_the_solution():
    system, targets = problem(1, 12, 30, 5)
    solutions = nnls(system, targets)
    for guess in (solutions > 0, np.zeros_like(solutions, dtype=bool), np.ones_like(solutions, dtype=bool)):
        np.testing.assert_allclose(nnls(system, targets, guess), solutions, atol=1e-12)


def test_nothing_free_is_zero():
    system, targets = problem(0, 4, 9, 3)
    assert (nnls(system, -np.ones((3, 4)) * 9) == 0).all()
    assert nnls(system, targets[:0]).shape == (0, 4)


def test_large_batches_are_solved_in_parts(monkeypatch):
    system, targets = problem(2, 10, 25, 9)
    free = targets > 0
    whole = solve_free(system, targets, free)
    for small in (0, 24):
        for largest in (0, 200):
            monkeypatch.setattr(least_squares, "LARGEST", largest)
            monkeypatch.setattr(least_squares, "SMALL", small)
            np.testing.assert_allclose(solve_free(system, targets, free), whole, atol=1e-13)
