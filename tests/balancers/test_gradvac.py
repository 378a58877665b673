"""GradVac on the Gramian is its paper's algorithm on the gradients; targets belong to pairs of names."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchjd.aggregation import GradVacWeighting

from balancers.gradients import conflicting_rows, gramian_of, jacobians, pair, random_rows
from trunkline.balancers import GradVac
from trunkline.balancers.gradvac import gradvac_weights
from trunkline.balancers.orders import RandomOrders
from trunkline.balancers.pcgrad import pcgrad_weights
from trunkline.errors import ConfigError
from trunkline.testing import check_balancer

NAMES = [f"t{i}" for i in range(100)]


def papers_step(rows: torch.Tensor, targets: np.ndarray, orders: np.ndarray, beta: float):
    """Algorithm 1, word by word: the update and the new targets."""
    turned, targets = rows.clone(), targets.copy()
    for i, others in enumerate(orders):
        for j in others:
            phi = float(turned[i] @ rows[j] / turned[i].norm() / rows[j].norm())
            goal = targets[i, j]
            if phi < goal:
                sine, goal_sine = (1 - phi**2) ** 0.5, (1 - goal**2) ** 0.5
                share = turned[i].norm() * (goal * sine - phi * goal_sine) / (rows[j].norm() * goal_sine)
                turned[i] += share * rows[j]
            targets[i, j] = (1 - beta) * targets[i, j] + beta * phi
    return turned.sum(0), targets


@given(jacobians(independent=True, ratio=100.0), st.integers(0, 1000), st.floats(0.0, 1.0))
@settings(max_examples=100, deadline=None)
def test_is_the_papers_algorithm(rows, seed, beta):
    size = len(rows)
    targets = np.random.default_rng(seed).uniform(-0.5, 0.9, (size, size))
    orders = RandomOrders(seed).draw(NAMES[:size])
    weights, new = gradvac_weights(gramian_of(rows), targets, orders, beta=beta)
    update, expected = papers_step(rows, targets, orders, beta)
    torch.testing.assert_close(weights @ rows, update, rtol=1e-6, atol=1e-7 * float(update.norm() + rows.norm()))
    np.testing.assert_allclose(new, expected, atol=1e-6)


def test_equation_two_makes_the_cosine_the_target():
    rows = pair(-0.3, 5.0)
    weights, _ = gradvac_weights(gramian_of(rows), np.full((2, 2), 0.4), np.array([[1], [0]]), beta=0.01)
    for own, other in ((0, 1), (1, 0)):
        turned = rows[own] + (weights[other] - 1) * rows[other]
        torch.testing.assert_close(torch.cosine_similarity(turned, rows[other], dim=0).item(), 0.4)


@pytest.mark.parametrize("tasks", [1, 2, 3, 10, 40])
def test_equals_torchjd_in_its_order(tasks):
    theirs, targets = GradVacWeighting(beta=0.3, eps=0.0), np.zeros((tasks, tasks))
    torch.manual_seed(3)
    steps = []
    for step in range(3):
        drawn = [torch.randperm(tasks - 1).numpy() for _ in range(tasks)]
        orders = [np.delete(np.arange(tasks), i)[order] for i, order in enumerate(drawn)]
        gramian = gramian_of(conflicting_rows(step, tasks, pull=0.5, ratio=10.0))
        steps.append((gramian, np.array(orders, dtype=np.intp).reshape(tasks, tasks - 1)))
    torch.manual_seed(3)
    for gramian, orders in steps:
        ours, targets = gradvac_weights(gramian, targets, orders, beta=0.3)
        torch.testing.assert_close(ours, theirs(gramian), rtol=1e-7, atol=1e-9)


def test_first_step_is_that_of_pcgrad():
    for seed in range(5):
        gramian, orders = gramian_of(conflicting_rows(seed, 6, ratio=10.0)), RandomOrders(seed).draw(NAMES[:6])
        weights, _ = gradvac_weights(gramian, np.zeros((6, 6)), orders, beta=0.5)
        torch.testing.assert_close(weights, pcgrad_weights(gramian, orders), rtol=1e-9, atol=1e-12)


def test_targets_become_the_usual_cosines():
    rows = pair(0.7)
    balancer = GradVac(0.1)
    balancer.start(NAMES[:2])
    for _ in range(300):
        balancer.begin_step()
        balancer.weigh(gramian_of(rows), NAMES[:2])
    np.testing.assert_allclose(balancer.targets.values[[0, 1], [1, 0]], 0.7, atol=1e-9)


@pytest.mark.parametrize("rows", [[1, -1], [1, -2, 1], [0, 1, -1], [0, 0, 0], [1, 1, 1]])
@pytest.mark.parametrize("target", [-1.0, 0.0, 1.0])
def test_degenerate_gradients_give_finite_weights(rows, target):
    rows = torch.tensor(rows, dtype=torch.float64).unsqueeze(1) * random_rows(0, 1)
    size = len(rows)
    orders = RandomOrders(0).draw(NAMES[:size])
    weights, targets = gradvac_weights(gramian_of(rows), np.full((size, size), target), orders, beta=0.5)
    assert weights.isfinite().all()
    assert np.isfinite(targets).all() and np.abs(targets).max() <= 1


def test_a_pair_without_gradient_keeps_its_target():
    rows = torch.cat([random_rows(0, 2), torch.zeros(1, 11, dtype=torch.float64)])
    _, targets = gradvac_weights(gramian_of(rows), np.full((3, 3), 0.2), RandomOrders(0).draw(NAMES[:3]), beta=0.5)
    assert (targets[2, :2] == 0.2).all() and (targets[:2, 2] == 0.2).all()
    assert targets[0, 1] != 0.2


def test_an_absent_task_keeps_its_targets():
    balancer = GradVac(0.5)
    balancer.start(NAMES[:3])
    balancer.weigh(gramian_of(random_rows(0, 3)), NAMES[:3])
    before = balancer.targets.values.copy()
    balancer.begin_step()
    balancer.weigh(gramian_of(random_rows(1, 2)), [NAMES[2], NAMES[0]])
    changed = balancer.targets.values != before
    assert changed.tolist() == [[False, False, True], [False, False, False], [True, False, False]]


def test_parts_of_a_step_share_targets_and_orders_and_move_the_targets_once():
    gramians = [gramian_of(conflicting_rows(seed, 4, pull=0.5)) for seed in range(4)]
    balancer, orders = GradVac(0.3), RandomOrders(0)
    balancer.start(NAMES[:4])
    targets = np.zeros((4, 4))
    for step in range(3):
        balancer.begin_step()
        orders.begin_step()
        found = []
        for gramian in gramians[: step + 1]:
            weights, new = gradvac_weights(gramian, targets, orders.draw(NAMES[:4]), beta=0.3)
            torch.testing.assert_close(balancer.weigh(gramian, NAMES[:4]), weights)
            found.append(new)
        targets = np.mean(found, 0)
        np.testing.assert_allclose(balancer.targets.values, targets, atol=1e-12)
    assert np.abs(targets).max() > 0.1


@pytest.mark.parametrize("beta", [0.01, 0.9])
def test_contract_where_targets_move_fast(beta):
    check_balancer(GradVac(beta))


def test_a_gramian_in_float32_is_reckoned_with_in_float64():
    gramian = gramian_of(conflicting_rows(0, 40, pull=0.9)).float()
    orders, targets = RandomOrders(0).draw(NAMES[:40]), np.full((40, 40), 0.2)
    weights, found = gradvac_weights(gramian, targets, orders, beta=0.1)
    expected, expected_targets = gradvac_weights(gramian.double(), targets, orders, beta=0.1)
    assert weights.dtype == torch.float32 and torch.equal(weights, expected.float())
    np.testing.assert_array_equal(found, expected_targets)
    assert torch.equal(pcgrad_weights(gramian, orders), pcgrad_weights(gramian.double(), orders).float())


def test_beta_is_a_share():
    with pytest.raises(ConfigError, match=r"balancer.beta: 1.5 is no share"):
        GradVac(1.5).start(["a"])
