"""GradNorm: its loss by autograd, where its weights go, and what it does when tasks come and go."""

import numpy as np
import pytest
import torch

from balancers.gradients import gramian_of, random_rows
from trunkline.balancers import GradNorm
from trunkline.balancers.gradnorm import adam_step, gradnorm_slopes
from trunkline.engine import Engine
from trunkline.errors import ConfigError, RunError

NAN = float("nan")


def started(tasks: list[str], *args: float, **options: float) -> GradNorm:
    balancer = GradNorm(*args, **options)
    balancer.start(tasks)
    return balancer


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


def test_weights_start_at_one_and_keep_their_sum():
    balancer, gramian = started(["a", "b", "c"]), gramian_of(random_rows(0, 3))
    balancer.watch(tensor(1, 2, 3), ["a", "b", "c"])
    assert balancer.weigh(gramian, ["a", "b", "c"]).tolist() == [1, 1, 1]
    for step in range(50):
        balancer.watch(tensor(1, 2, 3) / (step + 1), ["a", "b", "c"])
        weights = balancer.weigh(gramian, ["a", "b", "c"])
        assert weights.min() > 0
        torch.testing.assert_close(weights.sum().item(), 3.0)


def settle(alpha: float, losses: torch.Tensor) -> torch.Tensor:
    """Weighted norms after many steps with gradients of lengths 1, 2 and 8."""
    balancer, tasks = started(["a", "b", "c"], alpha, rate=0.002), ["a", "b", "c"]
    gramian = torch.diag(tensor(1, 2, 8) ** 2)
    balancer.watch(tensor(1, 1, 1), tasks)
    for _ in range(6000):
        balancer.watch(losses, tasks)
        weights = balancer.weigh(gramian, tasks)
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
        balancer, rows = started(["a", "b", "c"]), random_rows(0, 3)
        for step in range(20):
            balancer.watch(scale * tensor(1, 1 / (1 + step), 2), ["a", "b", "c"])
            weights = balancer.weigh(gramian_of(scale * rows), ["a", "b", "c"])
        results.append(weights)
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=0)
    torch.testing.assert_close(results[2], results[1], rtol=1e-9, atol=0)


def test_an_absent_task_keeps_its_weight_and_the_others_their_sum():
    balancer, rows = started(["a", "b", "c"]), random_rows(0, 3)
    for _ in range(5):
        balancer.watch(tensor(1, 2, 3), ["a", "b", "c"])
        before = balancer.weigh(gramian_of(rows), ["a", "b", "c"])
    before = balancer.learned.of(["a", "b", "c"])[:, 0]
    balancer.watch(tensor(3, 1), ["c", "a"])
    balancer.weigh(gramian_of(rows[[2, 0]]), ["c", "a"])
    after = balancer.learned.of(["a", "b", "c"])[:, 0]
    assert after[1] == before[1] and after[0] != before[0]
    np.testing.assert_allclose(after.sum(), before.sum())


@pytest.mark.parametrize("losses", [(NAN, 1, 2), (NAN, NAN, NAN), (float("inf"), 1, 2), (0, 0, 0), (0, 1, 2)])
def test_losses_that_say_nothing(losses):
    balancer = started(["a", "b", "c"])
    for _ in range(3):
        balancer.watch(tensor(*losses), ["a", "b", "c"])
        weights = balancer.weigh(gramian_of(random_rows(0, 3)), ["a", "b", "c"])
        assert weights.isfinite().all()
    balancer.watch(tensor(1, 2, 3), ["a", "b", "c"])
    assert balancer.weigh(torch.zeros(3, 3, dtype=torch.float64), ["a", "b", "c"]).isfinite().all()


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
