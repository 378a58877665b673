"""Each loss balancer against its paper's formula, written out anew, by autograd in float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchjd import scalarization as torchjd

from trunkline import testing
from trunkline.balancers import (
    CATALOG,
    DWA,
    FAMO,
    GLS,
    IMTLL,
    RLW,
    STCH,
    UWSO,
    FAMOLagged,
    GO4Align,
    LogSum,
    LossBalancer,
)
from trunkline.balancers.dwa import dwa_weights
from trunkline.balancers.gls import geometric_mean, gls_weights
from trunkline.balancers.go4align import go4align_indicators, group_means
from trunkline.balancers.rlw import normal_number
from trunkline.balancers.stch import smooth_maximum, stch_weights
from trunkline.balancers.uw_so import uw_so_weights
from trunkline.engine import Engine
from trunkline.errors import ConfigError, RunError

F64 = torch.float64
TASKS = ["a", "b.c", "d e"]
LOSSES = torch.tensor([2.0, 0.5, 3.0], dtype=F64)
EVERYONE = torch.ones(3, dtype=torch.bool)
POSITIVE = [UWSO, GLS, LogSum, IMTLL, FAMO, FAMOLagged, STCH, GO4Align]
losses_of = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=12).map(lambda v: torch.tensor(v, dtype=F64))


def started(balancer, tasks=TASKS):
    balancer.start(tasks)
    return balancer.double()


def step(balancer, losses, tasks=TASKS):
    """`(total, its derivatives by the losses, weights)`."""
    leaves = losses.clone().requires_grad_()
    balancer.observe(losses, tasks)
    terms, weights = balancer.weigh(leaves, tasks)
    (derivatives,) = torch.autograd.grad(terms.sum(), leaves)
    return terms.sum().detach(), derivatives, weights


def names(losses):
    return [f"t{k}" for k in range(len(losses))]


def assert_total(balancer, losses, formula, rtol=1e-12):
    """Value and derivatives are those of the formula."""
    leaves = losses.clone().requires_grad_()
    expected = formula(leaves)
    (by_autograd,) = torch.autograd.grad(expected, leaves)
    total, derivatives, weights = step(started(balancer, names(losses)), losses, names(losses))
    torch.testing.assert_close(total, expected.detach(), rtol=rtol, atol=1e-12)
    torch.testing.assert_close(derivatives, by_autograd, rtol=rtol, atol=0)
    torch.testing.assert_close(weights, by_autograd, rtol=rtol, atol=0)


@settings(deadline=None, max_examples=50)
@given(losses_of)
def test_log_sum(losses):
    assert_total(LogSum(), losses, lambda x: x.log().sum())


@settings(deadline=None, max_examples=50)
@given(losses_of)
def test_gls(losses):
    assert_total(GLS(), losses, lambda x: x.prod() ** (1 / len(x)), rtol=1e-9)
    torch.testing.assert_close(torchjd.GeometricMean()(losses), geometric_mean(losses), rtol=1e-9, atol=0)


def test_gls_of_a_hundred_tiny_losses():
    losses = torch.full((100,), 1e-30, dtype=F64)
    assert losses.prod() == 0
    torch.testing.assert_close(gls_weights(losses), torch.full((100,), 0.01, dtype=F64))


@settings(deadline=None, max_examples=50)
@given(losses_of, st.floats(0.1, 10))
def test_uw_so(losses, temperature):
    expected = torch.softmax(1 / losses / temperature, 0)
    torch.testing.assert_close(uw_so_weights(losses, temperature), expected, rtol=1e-9, atol=1e-300)
    _, _, weights = step(started(UWSO(temperature), names(losses)), losses, names(losses))
    torch.testing.assert_close(weights, expected, rtol=1e-9, atol=1e-300)


def test_uw_so_of_losses_too_small_to_be_divided_by():
    for dtype in (torch.float32, F64):
        tiny = torch.tensor([1e-42 if dtype == torch.float32 else 1e-320, 1.0], dtype=dtype)
        assert uw_so_weights(tiny, 0.5).tolist() == [1.0, 0.0]


def test_imtl_l_is_the_formula_and_stationary_where_scaled_losses_are_one():
    balancer, theirs = started(IMTLL()), torchjd.IMTLL(3).double()
    scales = torch.tensor([0.3, -1.0, 2.0], dtype=F64)
    balancer.scales.values.data[:] = scales
    next(theirs.parameters()).data[:] = scales
    total, derivatives, weights = step(balancer, LOSSES)
    torch.testing.assert_close(total, theirs(LOSSES).detach())
    torch.testing.assert_close(derivatives, scales.exp())
    torch.testing.assert_close(weights, scales.exp())
    balancer.scales.values.data = -LOSSES.log()
    balancer.weigh(LOSSES, TASKS)[0].sum().backward()
    assert balancer.scales.values.grad.abs().max() < 1e-12


def test_rlw_numbers_are_standard_normal_and_independent():
    drawn = np.array([[normal_number(7, step, task) for task in "abcd"] for step in range(20_000)])
    assert np.abs(drawn.mean(0)).max() < 0.03  # four standard errors
    assert np.abs(np.cov(drawn.T) - np.eye(4)).max() < 0.04
    assert abs(np.corrcoef(drawn[1:, 0], drawn[:-1, 0])[0, 1]) < 0.03
    quantiles = np.quantile(drawn, [0.025, 0.5, 0.975])
    np.testing.assert_allclose(quantiles, [-1.96, 0, 1.96], atol=0.03)


def test_rlw_is_the_softmax_of_its_numbers_and_new_in_each_step():
    balancer = started(RLW(3))
    for number in (1, 2):
        drawn = torch.tensor([normal_number(3, number, task) for task in TASKS], dtype=F64)
        torch.testing.assert_close(step(balancer, LOSSES)[2], drawn.softmax(0))
    assert normal_number(3, 1, "a") != normal_number(3, 2, "a") != normal_number(4, 2, "a")


def test_rlw_goes_on_with_the_same_numbers():
    balancer, other = started(RLW()), started(RLW(), TASKS[::-1])
    for _ in range(5):
        step(balancer, LOSSES)
    other.load_state_dict(balancer.state_dict())
    torch.testing.assert_close(step(other, LOSSES)[2], step(balancer, LOSSES)[2], rtol=0, atol=0)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 4), st.integers(0, 1000))
def test_dwa_is_the_paper_with_windows_for_epochs(window, seed):
    generator = torch.Generator().manual_seed(seed)
    balancer, theirs = started(DWA(1.5, window=window)), torchjd.DWA(1.5)
    for epoch in range(4):
        for _ in range(window):
            losses = torch.rand(3, generator=generator, dtype=F64) + 0.1
            total, _, weights = step(balancer, losses)
            torch.testing.assert_close(total, theirs(losses))
            assert epoch > 1 or weights.tolist() == [1.0, 1.0, 1.0]
        theirs.step()


def test_dwa_gives_more_weight_to_what_falls_more_slowly_and_sums_to_the_number_of_tasks():
    weights = dwa_weights(torch.tensor([1.0, 0.5, 0.8], dtype=F64), 2.0, EVERYONE)
    assert weights[0] > weights[2] > weights[1]
    torch.testing.assert_close(weights.sum(), torch.tensor(3.0, dtype=F64))


def test_dwa_counts_only_steps_in_which_a_task_was_present():
    balancer = started(DWA(2.0, window=2))
    for a in (4.0, 2.0, 1.0, 2.0):
        step(balancer, torch.tensor([a, a, 8.0], dtype=F64))
    step(balancer, torch.tensor([1.0], dtype=F64), ["a"])
    expected = dwa_weights(torch.tensor([0.5, 0.5, 1.0], dtype=F64), 2.0, EVERYONE)
    torch.testing.assert_close(step(balancer, LOSSES)[2], expected)
    half = started(DWA(2.0, window=1))
    step(half, LOSSES[:1], ["a"])
    step(half, LOSSES)
    assert step(half, LOSSES)[2].tolist() == [1.0, 1.0, 1.0]  # b.c and d e have one window only


@settings(deadline=None, max_examples=50)
@given(losses_of, st.floats(0.05, 5))
def test_stch_is_the_papers_scalarization(values, smoothness):
    preferences = torch.linspace(0.1, 1.0, len(values), dtype=F64)
    leaves = values.log().requires_grad_()
    theirs = torchjd.STCH(smoothness, weights=preferences)(leaves)
    torch.testing.assert_close(smooth_maximum(preferences * leaves, smoothness), theirs)
    (derivatives,) = torch.autograd.grad(theirs, leaves)
    ours = preferences * stch_weights(preferences * leaves.detach(), smoothness)
    torch.testing.assert_close(ours, derivatives, atol=1e-12, rtol=1e-9)


def test_stch_lies_between_the_maximum_and_mu_log_t_more():
    for smoothness in (1.0, 0.1, 1e-3):
        above = smooth_maximum(LOSSES, smoothness) - LOSSES.max()
        assert 0 <= above <= smoothness * math.log(3) + 1e-12


def test_stch_warms_up_with_log_sum_and_takes_the_nadir_from_the_window():
    balancer = started(STCH(0.5, warmup=2, window=2))
    seen = []
    for number in range(4):
        losses = LOSSES * (number + 1)
        total, derivatives, _ = step(balancer, losses)
        torch.testing.assert_close(total, losses.log().sum())
        torch.testing.assert_close(derivatives, 1 / losses)
        seen.append(losses)
    nadir = torch.stack(seen[2:]).mean(0)
    losses = torch.tensor([1.0, 0.9, 7.0], dtype=F64)
    leaves = losses.clone().requires_grad_()
    expected = 3 * 0.5 * ((leaves / nadir).log() / 0.5).exp().sum().log()  # as the paper's code has it
    (by_autograd,) = torch.autograd.grad(expected, leaves)
    total, derivatives, weights = step(balancer, losses)
    torch.testing.assert_close(total, expected.detach())
    torch.testing.assert_close(derivatives, by_autograd)
    torch.testing.assert_close(weights, by_autograd)
    torch.testing.assert_close(balancer.depths(TASKS), nadir)  # what comes later does not move it


def test_stch_with_known_ideals_and_nadirs_and_a_task_that_comes_late():
    balancer = started(STCH(ideals={"a": -1.0}, nadirs={"a": 2.0, "b.c": 3.0, "d e": 1.0}))
    leaves = LOSSES.clone().requires_grad_()
    gaps = leaves + torch.tensor([1.0, 0, 0], dtype=F64)
    expected = 3 * (gaps / torch.tensor([3.0, 3.0, 1.0], dtype=F64)).sum().log()  # 3 = n - z = 2 - -1
    total, derivatives, _ = step(balancer, LOSSES)
    torch.testing.assert_close(total, expected.detach())
    torch.testing.assert_close(derivatives, torch.autograd.grad(expected, leaves)[0])
    assert balancer.count.steps == 0 and not balancer.nadir_times.values.any()
    late = started(STCH(warmup=1, window=1))
    for _ in range(3):
        step(late, LOSSES[:2], TASKS[:2])
    step(late, LOSSES)
    step(late, 2 * LOSSES)
    torch.testing.assert_close(late.depths(TASKS), LOSSES)


def test_stch_does_not_change_direction_with_the_scale_of_a_loss_once_its_nadir_has_the_same():
    scales = torch.tensor([100.0, 1.0, 0.01], dtype=F64)
    weights = []
    for scale in (1.0, scales):
        balancer = started(STCH(warmup=0, window=1))
        step(balancer, LOSSES * scale)
        weights.append(step(balancer, torch.tensor([1.0, 2.0, 3.0], dtype=F64) * scale)[2] * scale)
    torch.testing.assert_close(weights[0], weights[1])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=7, unique=True), st.integers(1, 4))
def test_go4align_groups_are_the_best_of_all_partitions(values, num_groups):
    values = np.array(values)
    found = group_means(torch.from_numpy(values), min(num_groups, len(values))).numpy()
    best = min(_spread(values, labels) for labels in _labels(len(values), num_groups))
    assert ((values - found) ** 2).sum() <= best + 1e-9
    assert len(np.unique(found)) <= num_groups


def _labels(size, num_groups):
    return np.array(np.meshgrid(*[np.arange(num_groups)] * size)).reshape(size, -1).T


def _spread(values, labels):
    groups = [values[labels == g] for g in np.unique(labels)]
    return sum(((group - group.mean()) ** 2).sum() for group in groups)


def test_go4align_is_the_papers_code_over_steps():
    balancer = started(GO4Align(2, step_size=0.1))
    shares = torch.full((3,), 1 / 3, dtype=F64)
    for losses in (LOSSES, LOSSES / 2, LOSSES + 1):
        shares = shares * torch.exp(-0.1 * losses)
        shares = shares / shares.sum()
        indicators = losses.sum() / losses * shares
        torch.testing.assert_close(go4align_indicators(losses, balancer.log_shares(TASKS) - 0.1 * losses), indicators)
        weights = step(balancer, losses)[2]
        split = (indicators > indicators.median()) if indicators.argmax() != 1 else torch.tensor([False, True, False])
        expected = torch.where(split, indicators[split].mean(), indicators[~split].mean())
        torch.testing.assert_close(weights, expected)


def test_go4align_with_one_group_weighs_equally_and_with_one_a_task_by_the_indicators():
    assert len(set(step(started(GO4Align(1)), LOSSES)[2].tolist())) == 1
    shares = torch.softmax(-1e-4 * LOSSES, 0)
    torch.testing.assert_close(step(started(GO4Align(9)), LOSSES)[2], LOSSES.sum() / LOSSES * shares)


@pytest.mark.parametrize("make", [LogSum, GLS, FAMO, IMTLL])
def test_scale_of_a_loss_does_not_change_the_direction(make):
    """`w_t` times the scale is the weight of the unscaled gradient; IMTL-L at the optimum of its scales."""
    directions = []
    for scale in (1.0, torch.tensor([1e4, 1.0, 1e-3], dtype=F64)):
        balancer, losses = started(make()), LOSSES * scale
        if make is IMTLL:
            balancer.scales.values.data = -losses.log()
        if make is FAMO:
            balancer.logits.values.set(TASKS, torch.tensor([0.5, -1.0, 0.0]))
        weights = step(balancer, losses)[2] * scale
        directions.append(weights / weights.norm())
    torch.testing.assert_close(directions[0], directions[1])


@pytest.mark.parametrize("make", POSITIVE)
@pytest.mark.parametrize("value", [0.0, -0.5])
def test_a_loss_that_is_not_positive_is_named(make, value):
    engine = Engine(make(), TASKS)
    with pytest.raises(RunError, match=rf"{make.__name__}: the loss of task 'b.c' is {value:g}, and this method needs"):
        engine.total(dict(zip(TASKS, torch.tensor([1.0, value, 2.0]), strict=True)))


@pytest.mark.parametrize(
    ("balancer", "option"), [(FAMO(minima={"a": -4.0}), "minima"), (STCH(ideals={"a": -4.0}), "ideals")]
)
def test_a_loss_not_above_its_lower_bound_is_told_as_it_is(balancer, option):
    told = rf"the loss of task 'a' is -5, not above its lower bound -4; lower balancer.{option}.a"
    with pytest.raises(RunError, match=told):
        Engine(balancer, TASKS).total(dict(zip(TASKS, torch.tensor([-5.0, 1.0, 2.0]), strict=True)))


@pytest.mark.parametrize("make", POSITIVE)
def test_a_loss_that_is_no_number_raises_nothing_and_shows_in_the_total(make):
    losses = dict(zip(TASKS, torch.tensor([1.0, float("nan"), 2.0]), strict=True))
    assert Engine(make(), TASKS).total(losses).isnan()


@pytest.mark.parametrize("name", [name for name, kind in CATALOG.items() if issubclass(kind, LossBalancer)])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_tiny_and_huge_losses(name, dtype):
    balancer = CATALOG[name]()
    tasks = [f"t{k}" for k in range(6)]
    balancer.start(tasks)
    losses = torch.tensor([1e-30, 1e-12, 1e-3, 1.0, 1e3, 1e12], dtype=dtype)
    for _ in range(3):
        _, derivatives, weights = step(balancer, losses, tasks)
        if balancer.needs_losses_after_step:
            balancer.after_step(losses * 0.5, tasks)
        assert bool(weights.isfinite().all()) and bool(derivatives.isfinite().all()) and (weights >= 0).all()


@pytest.mark.parametrize(
    "balancer",
    [DWA(window=1), STCH(0.5, warmup=1, window=1), GO4Align(3, step_size=1.0), FAMO(1.0, lr=0.5), UWSO(0.1), RLW(5)],
    ids=lambda b: type(b).__name__,
)
def test_contract_where_state_matters_at_once(balancer):
    testing.check_balancer(balancer)


@pytest.mark.parametrize(
    ("balancer", "told"),
    [
        (UWSO(0), r"balancer.temperature: 0 cannot be"),
        (DWA(window=0), r"balancer.window: 0 cannot be"),
        (STCH(-1.0), r"balancer.smoothness: -1.0 cannot be"),
        (GO4Align(0), r"balancer.num_groups: 0 cannot be"),
        (FAMO(lr=0.0), r"balancer.lr: 0.0 cannot be"),
        (FAMO(minima={"b": 1.0}), r"balancer.minima: there is no task 'b'"),
        (STCH(ideals={"d": 1.0}), r"balancer.ideals: there is no task 'd'"),
        (STCH(nadirs={"x": 1.0}), r"balancer.nadirs: there is no task 'x'"),
        (STCH(nadirs={"b.d": 1.0}), r"balancer.nadirs: there is no task 'b.d'. Did you mean 'b.c'\?"),
        (STCH(nadirs={"a": 1.0, "d e": 1.0}), r"balancer.nadirs: task 'b.c' is missing"),
        (STCH(ideals={"a": 2.0}, nadirs=dict.fromkeys(TASKS, 2.0)), r"balancer.nadirs.a: 2.0 is not above the ideal"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_options_that_cannot_be_are_told(balancer, told):
    with pytest.raises(ConfigError, match=told):
        balancer.start(TASKS)


def test_a_term_that_depends_on_other_losses_is_caught_by_the_contract():
    class Coupled(LossBalancer):
        def weigh(self, losses, tasks):
            return losses.prod() ** (1 / len(losses)) / len(losses) * torch.ones_like(losses), gls_weights(
                losses.detach()
            )

    with pytest.raises(AssertionError, match="depends on the losses of others"):
        testing.check_balancer(Coupled())


@pytest.mark.parametrize(("steps", "begins"), [(400, 10), (5000, 100), (20_000, 400)])
def test_lengths_that_are_left_open_are_shares_of_the_run(steps, begins):
    """So that no run is over before its method begins."""
    stch, dwa, said = started(STCH()), started(DWA()), started(STCH(warmup=3, window=2))
    for balancer in (stch, dwa, said):
        balancer.expect_steps(steps)
    assert (stch.begins, stch.looks) == (begins, max(10, steps // 200))
    assert dwa.length == max(10, steps // 200)
    assert (said.begins, said.looks) == (3, 2)
    for _ in range(begins + stch.looks):
        _, derivatives, _ = step(stch, LOSSES)
        torch.testing.assert_close(derivatives, 1 / LOSSES)  # log-sum
    assert not torch.allclose(step(stch, 2 * LOSSES.flip(0))[1], 1 / (2 * LOSSES.flip(0)))
