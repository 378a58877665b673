"""One call on losses that stand, against one backward a task."""

import pytest
import torch
from tests.engine.engine_oracles import F64, Fixed, Net, assert_equal, data, gradient, jacobian
from torch import nn

from trunkline.balancers import Equal, UPGrad
from trunkline.engine import LEVELS, Engine
from trunkline.errors import ConfigError

torch.set_num_threads(1)
W = torch.tensor([0.3, -2.0, 5.0], dtype=F64)
FIXED = dict(zip("abc", W.tolist()))


def assert_balanced(net, x, y):
    losses = net.losses(dict.fromkeys("abc", net.features(x)), y)
    assert_equal(gradient(net.shared()), W @ jacobian(losses.values(), net.shared()))
    for task, head in net.heads.items():
        assert_equal(gradient(head.parameters()), jacobian([losses[task]], list(head.parameters()))[0])


@pytest.mark.parametrize("level", LEVELS[1:])
def test_features_give_what_the_boundary_gives(level):
    """At every level: the same Gramian, the same update."""
    net, (x, y) = Net(), data()
    engine = Engine(Fixed(**FIXED), list("abc"), level=level, last_shared=[net.trunk[2]])
    features = net.features(x)
    engine.backward(net.losses(dict.fromkeys("abc", features), y), features=features)
    assert_balanced(net, x, y)
    other = Net()
    inside = Engine(Fixed(), list("abc"), level=level, last_shared=[other.trunk[2]])
    inside.total(other.losses(inside.split(other.features(x)), y)).backward()
    assert_equal(engine.balancer.seen, inside.balancer.seen)


@pytest.mark.parametrize("level", ["trunk", "trunk-lean"])
def test_shared_parameters_are_balanced_and_all_others_have_their_own(level):
    net, (x, y) = Net(), data()
    engine = Engine(Fixed(**FIXED), list("abc"), level=level)
    losses = net.losses(dict.fromkeys("abc", net.features(x)), y)
    engine.backward(list(losses.values()), shared=iter(net.shared()))
    assert_balanced(net, x, y)
    rows = jacobian(net.losses(dict.fromkeys("abc", net.features(x)), y).values(), net.shared())
    assert_equal(engine.balancer.seen, rows @ rows.T)
    assert engine.report()["weights"] == pytest.approx(FIXED)


def test_a_task_without_a_loss_has_no_say_and_gradients_add_up():
    net, (x, y) = Net(), data()
    engine = Engine(UPGrad(), list("abc"), level="trunk")
    for _ in range(2):
        losses = net.losses(dict.fromkeys("abc", net.features(x)), y)
        del losses["b"]
        engine.backward(losses, shared=net.shared())
    assert net.heads["b"].weight.grad is None
    assert engine.report()["weights"].keys() == {"a", "c"}
    twice = gradient(net.parameters())
    net.zero_grad()
    losses = net.losses(dict.fromkeys("abc", net.features(x)), y)
    del losses["b"]
    engine.backward(losses, shared=net.shared())
    assert_equal(twice, 2 * gradient(net.parameters()))


def test_several_features_some_of_which_are_leaves_and_some_unread():
    x = torch.randn(4, 3, dtype=F64, requires_grad=True)
    layer, unread = nn.Linear(3, 2).double(), torch.ones(4, 2, dtype=F64, requires_grad=True)
    late = layer(x.detach())
    engine = Engine(Fixed(a=2.0, b=3.0), ["a", "b"])
    losses = {"a": (x * 2).sum() + late.sum(), "b": late.square().sum()}
    engine.backward(losses, features=[x, late, unread])
    assert_equal(x.grad, torch.full_like(x, 4.0))
    late = layer(x.detach())
    (expected,) = torch.autograd.grad(2 * late.sum() + 3 * late.square().sum(), layer.weight)
    assert_equal(layer.weight.grad, expected)
    assert unread.grad is None


def test_a_loss_balancer_is_one_plain_backward():
    net, (x, y) = Net(), data()
    Engine(Equal(), list("abc")).backward(net.losses(dict.fromkeys("abc", net.features(x)), y), shared=net.shared())
    by_hand = Net()
    sum(by_hand.losses(dict.fromkeys("abc", by_hand.features(x)), y).values()).backward()
    assert_equal(gradient(net.parameters()), gradient(by_hand.parameters()))


def test_calls_that_cannot_work():
    net, (x, y) = Net(), data()
    losses = net.losses(dict.fromkeys("abc", net.features(x)), y)
    with pytest.raises(ConfigError, match="give `features`, or `shared` parameters"):
        Engine(UPGrad(), list("abc")).backward(losses)
    with pytest.raises(ConfigError, match="level 'trunk' does, not 'features'"):
        Engine(UPGrad(), list("abc")).backward(losses, shared=net.shared())
    engine = Engine(UPGrad(), list("abc"), rates={"a": 0.1})
    engine.begin([1, 1, 1], 8)
    with pytest.raises(ConfigError, match="no rates"):
        engine.backward(losses, features=net.features(x))
    with pytest.raises(ConfigError, match="one of `features` and `shared`, not both"):
        Engine(UPGrad(), list("abc"), level="trunk").backward(losses, features=x, shared=net.shared())


def test_a_feature_made_of_another_is_refused():
    """Its gradient would be counted along both ways."""
    first = torch.randn(4, 3, dtype=F64, requires_grad=True) * 1.0
    second = first.tanh()
    losses = {"a": first.sum() + second.sum(), "b": second.square().sum()}
    with pytest.raises(ConfigError, match="made of another"):
        Engine(UPGrad(), ["a", "b"]).backward(losses, features=[first, second])


def test_parameters_named_twice_or_frozen_are_no_trouble():
    net, (x, y) = Net(), data()
    frozen = torch.zeros(2, dtype=F64)
    engine = Engine(Fixed(**FIXED), list("abc"), level="trunk")
    losses = net.losses(dict.fromkeys("abc", net.features(x)), y)
    engine.backward(losses, shared=[*net.shared(), *net.shared(), frozen])
    assert_balanced(net, x, y)
    assert not engine.balancer.seen.requires_grad


def test_private_gradients_have_memory_of_their_own():
    """What is summed has the same gradient, and a constant one has no memory at all: clipping in place must work."""
    shared = torch.randn(3, dtype=F64, requires_grad=True)
    a, b, c = (torch.randn(3, dtype=F64, requires_grad=True) for _ in range(3))
    losses = {"a": ((shared + a + b) ** 2).sum(), "b": c.sum() + shared.sum()}
    Engine(UPGrad(), ["a", "b"], level="trunk").backward(losses, shared=[shared])
    assert a.grad.data_ptr() != b.grad.data_ptr()
    norm = torch.nn.utils.clip_grad_norm_([shared, a, b, c], 0.1)
    assert torch.isfinite(norm)


def test_losses_that_went_through_split_are_refused():
    """They would be weighed twice."""
    net, (x, y) = Net(), data()
    engine = Engine(UPGrad(), list("abc"), level="trunk")
    losses = net.losses(engine.split(net.features(x)), y)
    with pytest.raises(ConfigError, match="went through `split`"):
        engine.backward(losses, shared=net.shared())
    engine.total(losses).backward()  # nothing is lost


@pytest.mark.parametrize("level", ["features", "trunk"])
def test_a_parameter_above_and_below_the_features_is_refused(level):
    """Its gradient from above would go down through the features as well."""
    layer, x = nn.Linear(4, 4).double(), torch.randn(3, 4).double()
    features = layer(x)
    losses = {"a": (features @ layer.weight).sin().sum(), "b": features.square().sum()}
    with pytest.raises(ConfigError, match="the loss of 'a' depends on a parameter of the shared part otherwise"):
        Engine(Fixed(a=2.0), ["a", "b"], level=level).backward(losses, features=features)
