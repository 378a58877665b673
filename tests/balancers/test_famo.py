"""FAMO against the paper's algorithm by autograd, TorchJD, and torch's own Adam; float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchjd import scalarization as torchjd

from trunkline.balancers import FAMO, FAMOLagged
from trunkline.balancers.famo import famo_gradient, famo_terms, famo_weights

F64 = torch.float64
TASKS = ["a", "b.c", "d e"]
LEVEL = torch.ones(3, dtype=F64)


def started(balancer, tasks=TASKS):
    balancer.start(tasks)
    return balancer.double()


def descend(balancer, steps, *, tasks=TASKS, seed=0):
    """Plain gradient descent of two parameters on positive losses; returns logits after each step."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randn(len(tasks), 2, generator=generator, dtype=F64)
    x = torch.zeros(2, dtype=F64)
    logits = []
    for _ in range(steps):
        leaf = x.clone().requires_grad_()
        losses = (leaf - targets).square().sum(1) + 0.1
        balancer.observe(losses.detach(), tasks)
        logits.append(balancer.logits(tasks).clone())
        balancer.weigh(losses, tasks)[0].sum().backward()
        x = x - 0.05 * leaf.grad
        if balancer.needs_losses_after_step:
            balancer.after_step((x - targets).square().sum(1) + 0.1, tasks)
    return torch.stack(logits)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 8), st.integers(0, 10_000))
def test_terms_weights_and_the_logits_gradient(tasks, seed):
    generator = torch.Generator().manual_seed(seed)
    gaps = (torch.rand(tasks, generator=generator, dtype=F64) + 1e-3).requires_grad_()
    after = torch.rand(tasks, generator=generator, dtype=F64) + 1e-3
    logits = torch.randn(tasks, generator=generator, dtype=F64).requires_grad_()
    shares = logits.detach().softmax(0)
    c = 1 / (shares / gaps.detach()).sum()
    total = (c * shares * gaps.log()).sum()
    torch.testing.assert_close(famo_terms(gaps, logits.detach()).sum(), total)
    (weights,) = torch.autograd.grad(total, gaps)
    torch.testing.assert_close(famo_weights(gaps.detach(), logits.detach()), weights)
    torch.testing.assert_close(weights.sum(), torch.ones((), dtype=F64))
    progress = gaps.detach().log() - after.log()
    (gradient,) = torch.autograd.grad(logits.softmax(0), logits, grad_outputs=progress)
    torch.testing.assert_close(famo_gradient(gaps.detach(), after, logits.detach()), gradient)


def test_steps_are_those_of_torchjd():
    ours, theirs = started(FAMO(0.01)), torchjd.FAMO(3, weight_decay=0.01).double()
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        before, after = torch.rand(2, 3, generator=generator, dtype=F64) + 0.1
        leaves = before.clone().requires_grad_()
        (expected,) = torch.autograd.grad(theirs(leaves), leaves)
        theirs.update(after)
        ours.observe(before, TASKS)
        weights = ours.weigh(before, TASKS)[1]
        ours.after_step(after, TASKS)
        torch.testing.assert_close(weights, expected, rtol=1e-6, atol=0)  # theirs adds 1e-8 to each loss


def test_lower_bounds_are_taken_from_the_losses():
    gaps = torch.tensor([1.0, 2.0, 3.0], dtype=F64)
    plain, bounded = started(FAMO()), started(FAMO(minima={"a": -4.0, "d e": 1.0}))
    losses = gaps + torch.tensor([-4.0, 0.0, 1.0], dtype=F64)
    for a, b in zip(plain.weigh(gaps, TASKS), bounded.weigh(losses, TASKS), strict=True):
        torch.testing.assert_close(a, b)


def test_lagged_is_the_same_where_every_step_has_all_rows():
    exact, lagged = descend(started(FAMO()), 100), descend(started(FAMOLagged()), 100)
    assert exact[-1].abs().max() > 0.1
    torch.testing.assert_close(exact, lagged, rtol=0, atol=1e-14)


def test_lagged_is_another_where_rows_change():
    exact, lagged = started(FAMO()), started(FAMOLagged())
    for factor in (1.0, 5.0, 1.0):  # harder rows, and no progress on any
        losses = torch.tensor([1.0, 1.0, factor], dtype=F64)
        for balancer in (exact, lagged):
            balancer.observe(losses, TASKS)
        exact.after_step(losses, TASKS)
    assert exact.logits(TASKS).tolist() == [0.0, 0.0, 0.0]
    assert lagged.logits(TASKS).abs().max() > 0.01


def test_lagged_tells_a_rare_task_from_one_that_gets_better_faster():
    """All lose 1 % a step; the last task is in every tenth."""
    balancer = started(FAMOLagged(0.0))
    for number in range(200):
        tasks = TASKS if number % 10 == 0 else TASKS[:2]
        losses = torch.full((len(tasks),), 0.99**number, dtype=F64)
        balancer.observe(losses, tasks)
    assert balancer.logits.times.values.tolist() == [199, 199, 19]
    torch.testing.assert_close(balancer.weigh(LEVEL, TASKS)[1], torch.full((3,), 1 / 3, dtype=F64), rtol=0, atol=1e-6)


def test_decay_pulls_logits_back():
    balancer = started(FAMO(1.0))
    balancer.logits.values.set(TASKS, torch.tensor([1.0, -1.0, 0.0]))
    losses = torch.ones(3, dtype=F64)
    for _ in range(300):
        balancer.observe(losses, TASKS)
        balancer.after_step(losses, TASKS)
    assert balancer.logits(TASKS).abs().max() < 0.02


def test_the_task_that_gets_better_faster_loses_weight():
    balancer = started(FAMO(0.0))
    before = torch.ones(3, dtype=F64)
    balancer.observe(before, TASKS)
    balancer.after_step(torch.tensor([0.5, 1.0, 0.9], dtype=F64), TASKS)
    logits = balancer.logits(TASKS)  # Adam's first step: the signs of the gradient alone
    assert logits[0] < 0 < logits[1]
    gradient = famo_gradient(before, torch.tensor([0.5, 1.0, 0.9], dtype=F64), torch.zeros(3, dtype=F64))
    assert gradient[0] > gradient[2] > gradient[1]


@pytest.mark.parametrize("make", [FAMO, FAMOLagged])
def test_absent_tasks_keep_their_logits_and_moments(make):
    balancer = started(make())
    descend(balancer, 5)
    kept = {name: value.clone() for name, value in balancer.state_dict().items() if name.endswith("d e")}
    descend(balancer, 5, tasks=TASKS[:2], seed=1)
    after = balancer.state_dict()
    assert all(torch.equal(after[name], value) for name, value in kept.items())


@pytest.mark.parametrize("make", [FAMO, FAMOLagged])
def test_state_comes_back_by_name(make):
    balancer, other = started(make()), started(make(), TASKS[::-1])
    descend(balancer, 5)
    other.load_state_dict(balancer.state_dict())
    torch.testing.assert_close(descend(other, 5, seed=2), descend(balancer, 5, seed=2), rtol=0, atol=0)
