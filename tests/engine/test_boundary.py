"""The update: `wᵀJ` for what is shared, the plain gradient for each head."""

import gc
import weakref

import pytest
import torch
from tests.engine.engine_oracles import F64, Fixed, Net, assert_equal, data, gradient, jacobian
from torch import nn

from trunkline.balancers import Equal, Uncertainty, UPGrad
from trunkline.engine import LEVELS, Engine, Sketch

torch.set_num_threads(1)
W = torch.tensor([0.3, -2.0, 5.0], dtype=F64)  # any weights, not only those of a sensible balancer
FIXED = dict(zip("abc", W.tolist()))


def step(engine, net, x, y):
    views = engine.split(net.features(x))
    engine.total(net.losses(views, y)).backward()


@pytest.mark.parametrize("level", LEVELS[1:])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_shared_gradient_is_weighted_and_head_gradient_plain(level, seed):
    net, (x, y) = Net(seed=seed), data(seed=seed)
    step(Engine(Fixed(**FIXED), list("abc"), level=level, last_shared=[net.trunk[2]]), net, x, y)
    losses = net.losses(dict.fromkeys("abc", net.features(x)), y)
    assert_equal(gradient(net.shared()), W @ jacobian(losses.values(), net.shared()))
    for task, head in net.heads.items():
        assert_equal(gradient(head.parameters()), jacobian([losses[task]], list(head.parameters()))[0])


def test_preferences_have_mean_one_and_multiply_the_balancers_weights():
    net, (x, y) = Net(), data()
    engine = Engine(Fixed(**FIXED), list("abc"), preferences={"a": 4.0})
    step(engine, net, x, y)
    preferred = W * torch.tensor([2.0, 0.5, 0.5], dtype=F64)
    losses = net.losses(dict.fromkeys("abc", net.features(x)), y)
    assert_equal(gradient(net.shared()), preferred @ jacobian(losses.values(), net.shared()))
    assert list(engine.report()["weights"].values()) == preferred.tolist()


def test_weight_zero_keeps_a_task_out_of_the_shared_part():
    net, (x, y) = Net(), data()
    step(Engine(Fixed(), list("abc"), preferences={"a": 0.0, "b": 0.0}), net, x, y)
    plain = jacobian([net.losses(dict.fromkeys("abc", net.features(x)), y)["c"]], net.shared())[0]
    assert_equal(gradient(net.shared()), 3 * plain)


@pytest.mark.parametrize("level", LEVELS[1:])
def test_upgrad_never_makes_a_task_worse_at_its_level(level):
    net, (x, y) = Net(), data()
    engine = Engine(UPGrad(), list("abc"), level=level, last_shared=[net.trunk[2]])
    features = net.features(x).detach().requires_grad_() if level == "features" else net.features(x)
    engine.total(net.losses(engine.split(features), y)).backward()
    below = {"features": [features], "last": list(net.trunk[2].parameters())}.get(level, net.shared())
    losses = net.losses(dict.fromkeys("abc", features if level == "features" else net.features(x)), y)
    assert (jacobian(losses.values(), below) @ gradient(below)).min() >= -1e-9


def test_several_taps_each_read_by_some_tasks():
    """Task a reads both taps, b the first, c the second, and a third tap is read by nobody."""
    net, (x, y) = Net(), data()
    third = nn.Linear(5, 2).double()

    def losses(views):
        read = {"a": views["a"][0] * 2 + views["a"][1].sum(2), "b": views["b"][0], "c": views["c"][1].sum(2)}
        return {t: (net.heads[t](read[t]) - y[t]).square().mean() for t in "abc"}

    def taps():
        hidden = net.features(x)
        return [hidden, torch.stack([hidden**2, hidden.sin()], 2), third(x)]

    balancer = Fixed(**FIXED)
    engine = Engine(balancer, list("abc"))
    engine.total(losses(engine.split(taps()))).backward()
    plain = taps()
    own = losses(dict.fromkeys("abc", plain))
    assert_equal(gradient(net.shared()), W @ jacobian(own.values(), net.shared()))
    leaves = [tap.detach().requires_grad_() for tap in plain[:2]]  # the second depends on the first
    boundary = jacobian(losses(dict.fromkeys("abc", leaves)).values(), leaves)
    assert_equal(balancer.seen, boundary @ boundary.T)
    assert third.weight.grad is None


def test_what_no_shared_parameter_can_change_does_not_count():
    """A tap without gradient goes through untouched; so do all taps where gradients are off."""
    engine, frozen = Engine(UPGrad(), ["a", "b"]), torch.ones(3, 2)
    live = torch.ones(3, 2, requires_grad=True)
    assert engine.split([frozen, live])["a"][0] is frozen
    assert engine.split(frozen)["a"] is frozen
    with torch.no_grad():
        assert engine.split(live)["b"] is live


def test_the_same_tap_twice():
    x = torch.randn(4, 3, dtype=F64, requires_grad=True)
    engine = Engine(Fixed(a=2.0, b=3.0), ["a", "b"])
    views = engine.split([x, x])
    engine.total({"a": (views["a"][0] * views["a"][1]).sum(), "b": views["b"][1].sum()}).backward()
    assert_equal(x.grad, 2 * 2 * x.detach() + 3)


def test_loss_balancers_have_no_boundary():
    features = torch.ones(3, 2, requires_grad=True)
    for balancer in (Equal(), Uncertainty()):
        views = Engine(balancer, ["a", "b"]).split(features)
        assert all(view is features for view in views.values())


def test_a_loss_balancers_total_is_differentiated_as_written():
    net, (x, y) = Net(), data()
    engine = Engine(Uncertainty(), list("abc"), preferences={"b": 2.5}).double()
    s = engine.balancer.log_variances.values
    s.data = torch.tensor([0.3, -1.0, 2.0], dtype=F64)
    step(engine, net, x, y)
    own = [*net.parameters(), s]
    measured = gradient(own)
    losses = torch.stack(list(net.losses(dict.fromkeys("abc", net.features(x)), y).values()))
    preferences = torch.tensor([1.0, 2.5, 1.0], dtype=F64) / 1.5
    assert_equal(measured, jacobian([(preferences * ((-s).exp() * losses + s / 2)).sum()], own)[0])


def test_one_task_gets_its_plain_gradient():
    for level in LEVELS[1:]:
        net, (x, y) = Net("a"), data("a")
        step(Engine(UPGrad(), ["a"], level=level, last_shared=[net.trunk[2]]), net, x, y)
        assert_equal(gradient(net.shared()), jacobian([net.losses({"a": net.features(x)}, y)["a"]], net.shared())[0])


def test_accumulation_adds_steps():
    net = Net()
    engine = Engine(UPGrad(), list("abc"))
    single = []
    for seed in (1, 2):
        net.zero_grad()
        step(engine, net, *data(seed=seed))
        single.append(gradient(net.parameters()))
    net.zero_grad()
    for seed in (1, 2):
        step(engine, net, *data(seed=seed))
    assert_equal(gradient(net.parameters()), single[0] + single[1])


def test_gradients_of_scaled_losses_are_scaled():
    net, (x, y) = Net(), data()
    step(Engine(UPGrad(), list("abc")), net, x, y)
    plain = gradient(net.parameters())
    net.zero_grad()
    engine = Engine(UPGrad(), list("abc"))
    (engine.total(net.losses(engine.split(net.features(x)), y)) * 2.0**16).backward()
    assert_equal(gradient(net.parameters()) / 2.0**16, plain)


@pytest.mark.parametrize("where", ["input", "target"])
@pytest.mark.parametrize("level", LEVELS[1:])
def test_overflow_shows_in_the_gradients(level, where):
    """And its weights do not serve the next step."""
    net, (x, y) = Net(), data()
    whole = x.clone(), {task: target.clone() for task, target in y.items()}
    (x if where == "input" else y["b"])[0] = float("inf")
    sketch = Sketch(share=0.5, least=2)
    engine = Engine(UPGrad(), list("abc"), level=level, last_shared=[net.trunk[2]], sketch=sketch, every=2)
    step(engine, net, x, y)
    assert not gradient(net.shared()).isfinite().all()
    net.zero_grad()
    step(engine, net, *whole)
    assert gradient(net.shared()).isfinite().all()
    assert engine.report()["conflicts"] is not None
    net.zero_grad()
    step(engine, net, x, y)
    assert not gradient(net.shared()).isfinite().all()


@pytest.mark.parametrize("level", LEVELS[1:])
def test_bf16_autocast(level):
    """Half precision networks, products in float32, also where backward runs under autocast."""
    net, (x, y) = Net(dtype=torch.float32), data(dtype=torch.float32, rows=64)
    balancer = Fixed(**FIXED)
    engine = Engine(balancer, list("abc"), level=level, last_shared=[net.tail[1]])
    with torch.autocast("cpu", torch.bfloat16):
        features = net.features(x)
        assert features.dtype == torch.bfloat16
        engine.total(net.losses(engine.split(features), y)).backward()
    measured = gradient(net.shared())
    with torch.autocast("cpu", torch.bfloat16):
        features = net.features(x)
        losses = net.losses(dict.fromkeys("abc", features), y).values()
        boundary = jacobian(losses, [features]).double()
        rows = jacobian(losses, net.shared())
    assert (measured - W.float() @ rows).norm() < 0.02 * measured.norm()
    if level == "features":
        torch.testing.assert_close(balancer.seen.double(), boundary @ boundary.T, rtol=1e-5, atol=1e-9)
    else:
        weights = (rows[:, -24:] if level == "last" else rows).double()
        torch.testing.assert_close(balancer.seen.double(), weights @ weights.T, rtol=0.03, atol=1e-4)


class _Graph(torch.autograd.Function):
    """Notices when the graph that it stands in is gone."""

    @staticmethod
    def forward(ctx, x, token):
        ctx.token = token
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


class _Token:
    pass


@pytest.mark.parametrize("level", LEVELS[1:])
def test_no_graph_outlives_its_step(level):
    net, (x, y) = Net(), data()
    engine = Engine(UPGrad(), list("abc"), level=level, last_shared=[net.trunk[2]])
    token = _Token()
    gone = weakref.ref(token)
    hidden = _Graph.apply(net.trunk(x), token)
    del token
    engine.total(net.losses(engine.split(net.tail(hidden)), y)).backward()
    del hidden
    gc.collect()
    assert gone() is None
    assert engine.report()["weights"]


def test_writing_into_a_copy_in_place_is_refused():
    features = torch.ones(3, 2, requires_grad=True) * 1
    views = Engine(UPGrad(), ["a", "b"]).split(features)
    with pytest.raises(RuntimeError, match="modified inplace"):
        views["a"].relu_()


def test_backward_twice_through_a_retained_graph():
    for level in LEVELS[1:]:
        net, (x, y) = Net(), data()
        engine = Engine(UPGrad(), list("abc"), level=level, last_shared=[net.trunk[2]])
        total = engine.total(net.losses(engine.split(net.features(x)), y))
        total.backward(retain_graph=True)
        once = gradient(net.parameters())
        total.backward()
        assert_equal(gradient(net.parameters()), 2 * once)
