"""What holds between balancers from the Gramian, and for all of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from balancers.gradients import assert_same_direction, conflicting_rows, gramian_of, jacobians, pair, random_rows
from trunkline.balancers import CATALOG, GramianBalancer

GRAMIAN = [name for name, balancer in CATALOG.items() if issubclass(balancer, GramianBalancer)]
NAMES = [f"t{i}" for i in range(100)]

# Which methods do not mind that one loss is multiplied by a constant; the others do.
SCALE_FREE = {"config", "imtl_g", "nash_mtl", "fairgrad"}  # FairGrad at α = 1
HARMLESS = ["mgda", "dualproj", "upgrad"]


def update_of(name: str, rows: Tensor) -> Tensor:
    """The first update of a balancer."""
    return weights_of(name, rows) @ rows


def weights_of(name: str, rows: Tensor, names: list[str] | None = None, *, steps: int = 1) -> Tensor:
    balancer = CATALOG[name]()
    assert isinstance(balancer, GramianBalancer)
    names = NAMES[: len(rows)] if names is None else names
    balancer.start(names)
    for _ in range(steps):
        balancer.begin_step()
        weights = balancer.weigh(gramian_of(rows), names)
    return weights


@given(st.floats(-0.99, 0.99), st.floats(1e-3, 1e3))
@settings(max_examples=100, deadline=None)
def test_two_tasks_have_one_bisector(cosine, ratio):
    """T = 2: Nash-MTL, FairGrad(1), IMTL-G, ConFIG have the same direction, that of `u_1 + u_2`."""
    rows = pair(cosine, ratio)
    bisector = (rows / rows.norm(dim=1, keepdim=True)).sum(0)
    for name in ("nash_mtl", "fairgrad", "imtl_g", "config"):
        assert_same_direction(update_of(name, rows), bisector, 1e-7)


@given(st.floats(-1.0, 1.0), st.floats(1e-3, 1e3))
@settings(max_examples=100, deadline=None)
def test_two_tasks_upgrad_is_half_of_pcgrad(cosine, ratio):
    rows = pair(cosine, ratio)
    torch.testing.assert_close(weights_of("pcgrad", rows) / 2, weights_of("upgrad", rows), rtol=1e-12, atol=0)


@given(jacobians(independent=True))
@settings(max_examples=60, deadline=None)
def test_equal_cosines(rows):
    """IMTL-G and ConFIG have the same direction for any number of tasks."""
    assert_same_direction(update_of("imtl_g", rows), update_of("config", rows), 1e-6)


@pytest.mark.parametrize("name", HARMLESS)
@given(rows=jacobians())
@settings(max_examples=100, deadline=None)
def test_no_task_gets_worse(name, rows):
    """`J d >= 0`, in units of each gradient and of the longest one."""
    gains = rows @ update_of(name, rows) / rows.norm(dim=1).clamp(min=1e-300) / rows.norm(dim=1).max()
    assert gains.min() > -1e-6


@pytest.mark.parametrize("name", ["nash_mtl", "imtl_g", "config", "fairgrad"])
@given(rows=jacobians(independent=True, ratio=100.0))
@settings(max_examples=60, deadline=None)
def test_every_task_gains_where_the_equation_says_so(name, rows):
    assert (rows @ update_of(name, rows)).min() > 0


@pytest.mark.parametrize(("name", "weight"), [("upgrad", 0.2), ("dualproj", 0.2), ("pcgrad", 1.0), ("gradvac", 1.0)])
def test_without_conflict_the_plain_mean_or_sum(name, weight):
    assert weights_of(name, random_rows(0).abs()).tolist() == [weight] * 5


@pytest.mark.parametrize("name", GRAMIAN)
def test_multiplying_one_loss_keeps_the_direction_or_not(name):
    apart = []
    for seed in range(5):
        rows = conflicting_rows(seed, 4)
        scaled = torch.tensor([[100.0], [1.0], [1.0], [1.0]], dtype=torch.float64) * rows
        one, other = update_of(name, rows), update_of(name, scaled)
        apart.append(1 - torch.cosine_similarity(one, other, dim=0).item())
    if name in SCALE_FREE:
        assert max(apart) < 1e-9
    else:
        assert max(apart) > 1e-4


@pytest.mark.parametrize("name", GRAMIAN)
@pytest.mark.parametrize("scale", [1e-15, 1e-3, 1e4])
def test_multiplying_all_losses_keeps_the_direction(name, scale):
    rows = conflicting_rows(0, 5, ratio=10.0)
    assert_same_direction(update_of(name, scale * rows), update_of(name, rows), 1e-8)


@pytest.mark.parametrize("name", GRAMIAN)
@given(rows=jacobians(independent=True, ratio=100.0), seed=st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_permuting_tasks_permutes_weights(name, rows, seed):
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    weights = weights_of(name, rows)
    permuted = weights_of(name, rows[order], [NAMES[i] for i in order])
    torch.testing.assert_close(permuted, weights[order], rtol=1e-5, atol=1e-7 * float(weights.abs().max()))


@pytest.mark.parametrize("name", GRAMIAN)
def test_weights_follow_the_gradients(name):
    rows = conflicting_rows(0, 4)
    other = torch.cat([-9 * rows[:1], rows[1:]])
    assert (weights_of(name, rows, steps=2) - weights_of(name, other, steps=2)).abs().max() > 1e-3


@pytest.mark.parametrize("name", GRAMIAN)
@given(rows=jacobians(most=12))
@settings(max_examples=50, deadline=None)
def test_weights_are_always_finite(name, rows):
    for some in (rows, rows.float().double(), rows * (torch.arange(len(rows)) % 2).unsqueeze(1)):
        assert weights_of(name, some).isfinite().all()


@pytest.mark.parametrize("name", GRAMIAN)
def test_one_task_is_left_in_its_direction(name):
    row = random_rows(0, 1)
    assert_same_direction(update_of(name, row), row[0], 1e-14)


@pytest.mark.parametrize("name", GRAMIAN)
def test_a_gramian_is_not_written_into(name):
    gramian = gramian_of(conflicting_rows(0, 5))
    before = gramian.clone()
    balancer = CATALOG[name]()
    assert isinstance(balancer, GramianBalancer)
    balancer.start(NAMES[:5])
    weights = balancer.weigh(gramian, NAMES[:5])
    assert torch.equal(gramian, before)
    assert weights.dtype == gramian.dtype and weights.shape == (5,)


@pytest.mark.parametrize("name", sorted(SCALE_FREE))
def test_a_task_without_gradient_gets_no_weight_and_has_no_say(name):
    rows = conflicting_rows(3, 4)
    weights = weights_of(name, torch.cat([rows, torch.zeros_like(rows[:1])]))
    assert weights[4] == 0
    torch.testing.assert_close(weights[:4], weights_of(name, rows))
    assert weights_of(name, torch.zeros(2, 5, dtype=torch.float64)).tolist() == [0, 0]
