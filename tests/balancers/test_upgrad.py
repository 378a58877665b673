"""UPGrad's theorems, on random Jacobians in float64."""

import numpy as np
import pytest
import quadprog
import torch
from torchjd.aggregation import UPGradWeighting
from torchjd.linalg import DualConeProjector

from trunkline.balancers import UPGrad
from trunkline.balancers.upgrad import upgrad_weights

torch.set_num_threads(1)


def jacobian(seed: int, tasks: int = 5, width: int = 9) -> torch.Tensor:
    return torch.randn(tasks, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Quadprog(DualConeProjector):
    """TorchJD's own projector without the ridge of 1e-4 that it adds to the Gramian."""

    def __call__(self, U, G):  # noqa: N803
        zero, eye = np.zeros(len(G)), np.eye(len(G))
        return torch.from_numpy(np.stack([quadprog.solve_qp(G.numpy(), zero, eye, u)[0] for u in U.numpy()]))


@pytest.mark.parametrize("tasks", [1, 2, 3, 7, 20])
def test_equals_torchjd(tasks):
    oracle = UPGradWeighting(projector=Quadprog())
    for seed in range(10):
        rows = jacobian(seed, tasks, 2 * tasks + 3)
        gramian = rows @ rows.T
        torch.testing.assert_close(upgrad_weights(gramian), oracle(gramian), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("width", [2, 4, 50])
def test_no_task_gets_worse(width):
    for seed in range(20):
        rows = jacobian(seed, 6, width)
        update = upgrad_weights(rows @ rows.T) @ rows
        assert (rows @ update).min() >= -1e-9


def test_is_the_mean_without_conflict():
    rows = jacobian(0).abs()
    assert upgrad_weights(rows @ rows.T).tolist() == [0.2] * 5


def test_is_pcgrad_over_t_for_two_tasks():
    a, b = rows = torch.tensor([[1.0, 0.5], [-2.0, 0.3]], dtype=torch.float64)
    pcgrad = (a - (a @ b) / (b @ b) * b) + (b - (a @ b) / (a @ a) * a)
    torch.testing.assert_close(upgrad_weights(rows @ rows.T) @ rows, pcgrad / 2, rtol=0, atol=1e-14)


def test_permuting_tasks_permutes_weights():
    for seed in range(10):
        rows, order = jacobian(seed), torch.randperm(5, generator=torch.Generator().manual_seed(seed))
        gramian = rows @ rows.T
        torch.testing.assert_close(
            upgrad_weights(gramian[order][:, order]), upgrad_weights(gramian)[order], rtol=0, atol=1e-10
        )


@pytest.mark.parametrize("scale", [1e-10, 1e-3, 1e5, 1e12])
def test_scaling_all_gradients_scales_the_update(scale):
    gramian = jacobian(1) @ jacobian(1).T
    torch.testing.assert_close(upgrad_weights(scale**2 * gramian), upgrad_weights(gramian), rtol=1e-9, atol=0)


def test_update_grows_linearly_in_each_gradient():
    """Section 4 of the paper: `c ↦ A(diag(c) J)` is linear."""
    rows = jacobian(2)
    scales, others = torch.rand(2, 5, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def update(c):
        return upgrad_weights((c * rows) @ (c * rows).T) @ (c * rows)

    torch.testing.assert_close(update(2 * scales + 3 * others), 2 * update(scales) + 3 * update(others))


def test_a_hundred_tasks():
    rows = jacobian(0, 100, 40)
    weights = upgrad_weights(rows @ rows.T)
    norms = rows.norm(dim=1)
    assert (rows @ (weights @ rows) / norms).min() >= -1e-8


def test_degenerate_gramians_give_finite_weights():
    zero = torch.zeros(3, 3, dtype=torch.float64)
    torch.testing.assert_close(upgrad_weights(zero), torch.full((3,), 1 / 3, dtype=torch.float64))
    a = jacobian(0, 1)[0]
    for rows in ([a, -a], [a, a, -a], [a, 0 * a, -1000 * a]):
        update = upgrad_weights(torch.stack(rows) @ torch.stack(rows).T) @ torch.stack(rows)
        assert update.abs().max() < 1e-5 * a.norm()


def test_class_is_the_function():
    gramian = jacobian(4) @ jacobian(4).T
    assert torch.equal(UPGrad().weigh(gramian, list("abcde")), upgrad_weights(gramian))
