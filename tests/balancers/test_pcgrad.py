"""PCGrad on the Gramian is its paper's algorithm on the gradients."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torchjd.aggregation import PCGradWeighting

from balancers.gradients import conflicting_rows, gramian_of, jacobians, pair, random_rows
from trunkline.balancers import PCGrad
from trunkline.balancers.orders import RandomOrders
from trunkline.balancers.pcgrad import pcgrad_weights

NAMES = [f"t{i}" for i in range(100)]


def papers_update(rows: torch.Tensor, orders: np.ndarray) -> torch.Tensor:
    """Algorithm 1, word by word."""
    projected = rows.clone()
    for i, others in enumerate(orders):
        for j in others:
            if projected[i] @ rows[j] < 0:
                projected[i] -= projected[i] @ rows[j] / rows[j].square().sum() * rows[j]
    return projected.sum(0)


@given(jacobians(independent=True))
@settings(max_examples=100, deadline=None)
def test_is_the_papers_algorithm(rows):
    orders = RandomOrders(0).draw(NAMES[: len(rows)])
    update = pcgrad_weights(gramian_of(rows), orders) @ rows
    torch.testing.assert_close(update, papers_update(rows, orders), rtol=1e-6, atol=1e-9 * float(rows.norm()))


@pytest.mark.parametrize("tasks", [1, 2, 3, 10, 40, 100])
def test_equals_torchjd_in_its_order(tasks):
    rows = conflicting_rows(0, tasks, ratio=10.0)
    torch.manual_seed(3)
    drawn = [torch.randperm(tasks).numpy() for _ in range(tasks)]
    orders = np.array([order[order != i] for i, order in enumerate(drawn)], dtype=np.intp).reshape(tasks, tasks - 1)
    torch.manual_seed(3)
    theirs = PCGradWeighting()(gramian_of(rows))
    torch.testing.assert_close(pcgrad_weights(gramian_of(rows), orders), theirs, rtol=1e-9, atol=1e-12)


def test_orders_matter_for_three_tasks():
    rows = conflicting_rows(0, 3, pull=0.99)
    first = pcgrad_weights(gramian_of(rows), np.array([[1, 2], [0, 2], [0, 1]]))
    second = pcgrad_weights(gramian_of(rows), np.array([[2, 1], [2, 0], [1, 0]]))
    assert (first - second).abs().max() > 1e-3


def test_is_the_sum_without_conflict():
    balancer = PCGrad()
    balancer.start(NAMES[:5])
    assert balancer.weigh(gramian_of(random_rows(0).abs()), NAMES[:5]).tolist() == [1.0] * 5


@pytest.mark.parametrize("ratio", [1e-3, 1.0, 1e3])
def test_nearly_opposed_pair(ratio):
    rows = pair(-0.99, ratio)
    update = pcgrad_weights(gramian_of(rows), np.array([[1], [0]])) @ rows
    torch.testing.assert_close(update, papers_update(rows, np.array([[1], [0]])), rtol=1e-9, atol=0)


@pytest.mark.parametrize("rows", [[1, -1], [1, -2, 1], [0, 1, -1], [0, 0, 0], [1, 1, 1]])
def test_degenerate_gradients_give_finite_weights(rows):
    rows = torch.tensor(rows, dtype=torch.float64).unsqueeze(1) * random_rows(0, 1)
    orders = RandomOrders(0).draw(NAMES[: len(rows)])
    assert pcgrad_weights(gramian_of(rows), orders).isfinite().all()


def test_steps_draw_anew_and_a_checkpoint_goes_on():
    gramian = gramian_of(conflicting_rows(0, 8, pull=0.99))
    balancer, restored = PCGrad(seed=1), PCGrad(seed=1)
    balancer.start(NAMES[:8])
    restored.start(NAMES[:8])

    def step(balancer: PCGrad) -> torch.Tensor:
        balancer.begin_step()
        return balancer.weigh(gramian, NAMES[:8])

    first, second = step(balancer), step(balancer)
    assert not torch.equal(first, second)
    assert torch.equal(balancer.weigh(gramian, NAMES[:8]), second)  # of another part of the step
    assert torch.equal(step(restored), first)
    restored.load_state_dict(balancer.state_dict())
    assert torch.equal(step(restored), step(balancer))
