"""GradNorm: its loss by autograd, where its weights go, and what it does when tasks come and go."""

import numpy as np
import pytest
import torch

from balancers.gradients import gramian_of, random_rows
from trunkline.balancers import GradNorm
from trunkline.balancers.gradnorm import SMALLEST, adam_step, gradnorm_slopes, scaled_to_sum
from trunkline.engine import Engine
from trunkline.errors import ConfigError, RunError
from trunkline.testing import check_balancer

NAN = float("nan")
TASKS = ["a", "b", "c"]


def started(tasks: list[str], *args: float, **options: float) -> GradNorm:
    balancer = GradNorm(*args, **options)
    balancer.start(tasks)
    return balancer


def step(balancer: GradNorm, losses: torch.Tensor, *gramians: torch.Tensor, tasks: list[str] = TASKS) -> torch.Tensor:
    """Weights of the last part."""
    balancer.begin_step()
    for gramian in gramians:
        balancer.watch(losses, tasks)
        weights = balancer.weigh(gramian, tasks)
    return weights


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("alpha", [0.0, 0.12, 1.5, 3.0])
def test_slopes_are_those_of_equation_two(alpha):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        weights, norms, ratios = rng.uniform(0.1, 3, (3, 5))
        w = torch.tensor(weights, requires_grad=True)
        weighted = w * torch.from_numpy(norms)
        rates = torch.from_numpy(ratios / ratios.mean())
        loss = (weighted - (weighted.mean() * rates**alpha).detach()).abs().sum()
        slopes = gradnorm_slopes(weights, norms, ratios, alpha=alpha)
        np.testing.assert_allclose(slopes, torch.autograd.grad(loss, w)[0].numpy(), rtol=1e-12)


def test_adam_is_that_of_torch():
    slopes = np.random.default_rng(0).standard_normal((20, 4))
    weights = torch.ones(4, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([weights], lr=0.025, eps=0.0)
    ours, moments = np.ones(4), np.zeros((4, 3))
    for slope in slopes:
        weights.grad = torch.from_numpy(slope.copy())
        optimiser.step()
        taken, moments = adam_step(moments, slope, rate=0.025)
        ours -= taken
    np.testing.assert_allclose(ours, weights.detach().numpy(), rtol=1e-10)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_scaling_holds_the_sum_and_the_smallest_weight(scale):
    weights = np.array([SMALLEST, 1.1 * SMALLEST, 0.5, 3.0])
    scaled = scaled_to_sum(weights, weights.sum() / scale)
    np.testing.assert_allclose(scaled.sum(), weights.sum() / scale, rtol=1e-12)
    assert scaled.min() >= SMALLEST * (1 - 1e-12)
    np.testing.assert_allclose(scaled[3] / scaled[2], 6.0)
    np.testing.assert_allclose(scaled_to_sum(weights, 2 * weights.sum()), 2 * weights)


def test_weights_start_at_one_and_keep_their_sum():
    balancer, gramian = started(TASKS), gramian_of(random_rows(0, 3))
    assert step(balancer, tensor(1, 2, 3), gramian).tolist() == [1, 1, 1]
    for number in range(50):
        weights = step(balancer, tensor(1, 2, 3) / (number + 1), gramian)
        torch.testing.assert_close(weights.sum().item(), 3.0)
    assert (weights - 1).abs().max() > 0.1


def test_no_weight_falls_below_the_smallest():
    balancer = started(TASKS, rate=0.9)
    gramian = torch.diag(tensor(1, 1, 1000) ** 2)
    weights = torch.stack([step(balancer, tensor(1, 1, 1e-3) ** min(n, 1), gramian) for n in range(30)])
    assert weights.min() >= SMALLEST * (1 - 1e-12) and weights.min() < 2 * SMALLEST
    torch.testing.assert_close(weights.sum(1), torch.full((30,), 3.0, dtype=torch.float64))


def by_torch(losses: torch.Tensor, norms: torch.Tensor, alpha: float, rate: float) -> torch.Tensor:
    """Algorithm 1 by autograd and torch's Adam: the weights of each of the steps `[K, T]`."""
    weights = torch.ones(losses.shape[1], dtype=torch.float64, requires_grad=True)
    optimiser, seen = torch.optim.Adam([weights], lr=rate, eps=0.0), []
    for now, lengths in zip(losses, norms, strict=True):
        seen.append(weights.detach().clone())
        ratios = now / losses[0]
        weighted = weights * lengths
        target = weighted.mean() * (ratios / ratios.mean()) ** alpha
        (weights.grad,) = torch.autograd.grad((weighted - target.detach()).abs().sum(), weights)
        optimiser.step()
        weights.data *= losses.shape[1] / weights.data.sum()
    return torch.stack(seen)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_are_those_of_the_paper(parts, dtype):
    """With losses that move. Parts that agree are the step."""
    generator = torch.Generator().manual_seed(0)
    losses, norms = torch.rand(2, 40, 3, generator=generator, dtype=torch.float64) + 0.5
    balancer = started(TASKS, 1.5, rate=0.025)
    gramians = [torch.diag(lengths.square()).to(dtype) for lengths in norms]
    found = [step(balancer, now, *[gramian] * parts) for now, gramian in zip(losses, gramians, strict=True)]
    expected = by_torch(losses, norms, 1.5, 0.025)
    assert expected[-1].std() > 0.05
    tolerance = 1e-9 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(torch.stack(found).double(), expected, rtol=0, atol=tolerance)


def test_a_gramian_in_float32_is_reckoned_with_in_float64():
    one, other = started(TASKS), started(TASKS)
    for seed in range(5):
        gramian = gramian_of(random_rows(seed, 3)).float()
        step(one, tensor(1, 2, 3) / (1 + seed), gramian)
        step(other, tensor(1, 2, 3) / (1 + seed), gramian.double())
    np.testing.assert_array_equal(one.learned.values, other.learned.values)


def test_parts_of_a_step_have_its_weights_and_the_mean_of_their_norms_teaches():
    """A task that is in some of them only counts as 0 in the others; its loss is that of the step, told to each."""
    parts, whole = started(TASKS), started(TASKS)
    for number in range(5):
        losses = tensor(1, 2, 3) / (1 + number)
        parts.begin_step()
        parts.watch(losses, TASKS)
        first = parts.weigh(torch.diag(tensor(1, 2, 4) ** 2), TASKS)
        parts.watch(losses[:2], TASKS[:2])
        second = parts.weigh(torch.diag(tensor(3, number) ** 2), TASKS[:2])
        expected = step(whole, losses, torch.diag((tensor(4, 2 + number, 4) / 2) ** 2))
        torch.testing.assert_close(first, expected)
        torch.testing.assert_close(second, expected[:2])
    assert (first - 1).abs().max() > 0.02


def settle(alpha: float, losses: torch.Tensor) -> torch.Tensor:
    """Weighted norms after many steps with gradients of lengths 1, 2 and 8."""
    balancer = started(TASKS, alpha, rate=0.002)
    gramian = torch.diag(tensor(1, 2, 8) ** 2)
    step(balancer, tensor(1, 1, 1), gramian)
    for _ in range(6000):
        weights = step(balancer, losses, gramian)
    return weights * tensor(1, 2, 8)


def test_tasks_of_one_rate_get_gradients_of_one_length():
    weighted = settle(1.5, tensor(0.5, 0.5, 0.5))
    assert (weighted / weighted.mean() - 1).abs().max() < 0.05


def test_a_task_that_learned_less_gets_a_longer_gradient():
    """Equation 1 is met: `G_t = Ḡ r_t^α`, here with a mean of `r_t^α` of 1."""
    weighted = settle(1.0, tensor(0.2, 0.4, 0.6))
    assert (weighted / weighted.mean() - tensor(0.5, 1.0, 1.5)).abs().max() < 0.05
    flat = settle(0.0, tensor(0.2, 0.4, 0.6))
    assert (flat / flat.mean() - 1).abs().max() < 0.05


def test_scale_of_the_losses_does_not_matter():
    results = []
    for scale in (1e-12, 1.0, 1e6):
        balancer, rows = started(TASKS), random_rows(0, 3)
        for number in range(20):
            weights = step(balancer, scale * tensor(1, 1 / (1 + number), 2), gramian_of(scale * rows))
        results.append(weights)
    assert (results[1] - 1).abs().max() > 0.05
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=0)
    torch.testing.assert_close(results[2], results[1], rtol=1e-9, atol=0)


@pytest.mark.parametrize("accident", [1e-12, 1e-30, 0.01])
def test_a_first_loss_next_to_nothing_is_forgotten(accident):
    """The task would count as the one that unlearned, and get all of the weight."""
    gramian = gramian_of(random_rows(0, 3))
    one, other = started(TASKS), started(TASKS)
    step(one, tensor(1, accident, 3), gramian)
    step(other, tensor(1, 1, 3), gramian)
    for number in range(3):
        losses = tensor(1, 1, 3) / (1 + number)
        step(one, losses, gramian)
        step(other, losses, gramian)
    np.testing.assert_array_equal(one.learned.of(TASKS)[:, 1:3], other.learned.of(TASKS)[:, 1:3])
    step(one, tensor(1, 9, 3), gramian)
    step(one, tensor(1, float("inf"), NAN), gramian)
    assert one.learned.of(TASKS)[:, 1].tolist() == [1, 1, 3]


def test_an_absent_task_keeps_its_weight_and_the_others_their_sum():
    balancer, rows = started(TASKS), random_rows(0, 3)
    for _ in range(5):
        step(balancer, tensor(1, 2, 3), gramian_of(rows))
    before = balancer.learned.of(TASKS)[:, 0]
    step(balancer, tensor(3, 1), gramian_of(rows[[2, 0]]), tasks=["c", "a"])
    after = balancer.learned.of(TASKS)[:, 0]
    assert after[1] == before[1] and after[0] != before[0]
    np.testing.assert_allclose(after.sum(), before.sum())


@pytest.mark.parametrize("losses", [(NAN, 1, 2), (NAN, NAN, NAN), (float("inf"), 1, 2), (0, 0, 0), (0, 1, 2)])
def test_losses_that_say_nothing(losses):
    balancer = started(TASKS)
    for _ in range(3):
        assert step(balancer, tensor(*losses), gramian_of(random_rows(0, 3))).isfinite().all()
    assert step(balancer, tensor(1, 2, 3), torch.zeros(3, 3, dtype=torch.float64)).isfinite().all()
    assert step(balancer, tensor(1, 2, 3), gramian_of(random_rows(0, 3))).isfinite().all()


@pytest.mark.parametrize(("alpha", "rate"), [(1.5, 0.025), (0.0, 0.5)])
def test_contract_where_weights_move_fast(alpha, rate):
    check_balancer(GradNorm(alpha, rate=rate))


def test_negative_losses_are_refused_by_name():
    with pytest.raises(RunError, match=r"gradnorm needs positive losses, and that of task 'b' is -0.5"):
        started(["a", "b"]).watch(tensor(1, -0.5), ["a", "b"])


def test_options_are_checked():
    with pytest.raises(ConfigError, match=r"balancer.alpha: -1"):
        started(["a"], -1)
    with pytest.raises(ConfigError, match=r"balancer.rate: 0"):
        started(["a"], rate=0)


def test_the_engine_tells_it_the_losses():
    """By the name of each task, as they stand in the total."""
    balancer = GradNorm()
    engine = Engine(balancer, ["a", "b", "c"])
    features = torch.randn(4, 3, requires_grad=True)
    views = engine.split(features)
    losses = {"c": views["c"].square().mean(), "a": 5 + views["a"].sum()}
    engine.total(losses).backward()
    first = balancer.learned.of(["a", "b", "c"])[:, 1]
    np.testing.assert_allclose(first, [losses["a"].item(), NAN, losses["c"].item()], rtol=1e-6)
