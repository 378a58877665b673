"""Hooks on parameters and activations, and what a pass below the boundary leaves behind, at the deep levels."""

import pytest
import torch
from tests.engine.engine_oracles import F64, Fixed, Net, assert_equal, data, gradient, jacobian
from torch import nn

from trunkline.engine import Engine, Sketch

torch.set_num_threads(1)
W = torch.tensor([0.3, -2.0, 5.0], dtype=F64)
FIXED = dict(zip("abc", W.tolist()))
DEEP = ["sketch", "trunk", "trunk-lean"]


def stepped(net, x, y, level, **options):
    engine = Engine(Fixed(**FIXED), list("abc"), level=level, **options)
    engine.total(net.losses(engine.split(net.features(x)), y)).backward()
    return engine


def plain_rows(net, x, y):
    return jacobian(net.losses(dict.fromkeys("abc", net.features(x)), y).values(), net.shared())


@pytest.mark.parametrize("level", DEEP)
def test_a_parameters_hook_runs_once_on_the_combined_gradient(level):
    """And changes what is added to `.grad`, not the Gramian."""
    net, (x, y) = Net(), data()
    rows = plain_rows(net, x, y)
    seen = []
    handles = [p.register_hook(lambda g: seen.append(g) or 3 * g) for p in net.shared()]
    engine = stepped(net, x, y, level)
    assert len(seen) == len(handles)
    assert_equal(engine.balancer.seen, rows @ rows.T)
    assert_equal(gradient(net.shared()), 3 * W @ rows)
    for handle in handles:
        handle.remove()
    net.zero_grad()
    stepped(net, x, y, level)
    assert_equal(gradient(net.shared()), W @ rows)


def test_a_parameters_hook_does_not_run_in_one_call():
    net, (x, y) = Net(), data()
    rows = plain_rows(net, x, y)
    net.trunk[0].weight.register_hook(lambda g: 3 * g)
    engine = Engine(Fixed(**FIXED), list("abc"), level="trunk")
    engine.backward(net.losses(dict.fromkeys("abc", net.features(x)), y), shared=net.shared())
    assert_equal(engine.balancer.seen, rows @ rows.T)
    assert_equal(gradient(net.shared()), W @ rows)


class Hooked(Net):
    """A hook between its layers, on an activation, that changes gradients."""

    def features(self, x):
        hidden = self.trunk(x)
        if hidden.requires_grad:
            hidden.register_hook(lambda g: -2 * g)
        return self.tail(hidden)


@pytest.mark.parametrize("options", [{}, {"every": 2}])
@pytest.mark.parametrize("level", DEEP)
def test_an_activations_hook_is_part_of_every_tasks_gradient(level, options):
    net, (x, y) = Hooked(), data()
    rows = plain_rows(net, x, y)
    assert not torch.equal(rows, plain_rows(Net(), x, y))
    engine = stepped(net, x, y, level, **options)
    assert_equal(engine.balancer.seen, rows @ rows.T)
    assert_equal(gradient(net.shared()), W @ rows)


@pytest.mark.parametrize("level", DEEP)
def test_what_else_reads_the_shared_part_has_its_gradient(level):
    """A penalty on an activation goes past the boundary, in the same backward pass and in one of its own."""
    net, (x, y) = Net(), data()
    rows = plain_rows(net, x, y)
    (penalty,) = jacobian([net.features(x).square().sum()], net.shared())
    for is_apart in (False, True):
        net.zero_grad()
        engine = Engine(Fixed(**FIXED), list("abc"), level=level)
        features = net.features(x)
        total = engine.total(net.losses(engine.split(features), y))
        if is_apart:
            total.backward(retain_graph=True)
            features.square().sum().backward()
        else:
            (total + features.square().sum()).backward()
        assert_equal(gradient(net.shared()), W @ rows + penalty)


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("level", DEEP)
def test_what_the_graph_saved_is_freed_though_somebody_holds_the_features(level, every):
    net, (x, y) = Net(), data()
    engine = Engine(Fixed(**FIXED), list("abc"), level=level, every=every)
    features = net.features(x)
    total = engine.total(net.losses(engine.split(features), y))

    total.backward()
    with pytest.raises(RuntimeError, match="a second time"):
        features.sum().backward()


@pytest.mark.parametrize("level", DEEP)
def test_a_sparse_and_a_dense_gradient_of_one_parameter(level):
    """Task a looks the table up, b multiplies with it, c does both; twice, so that gradients add up."""
    torch.manual_seed(0)
    table = nn.Embedding(6, 4, sparse=True, dtype=F64)
    ids, x = torch.tensor([1, 4, 1]), torch.randn(3, 4, dtype=F64)
    taps = lambda: [table(ids), x @ table.weight.T]  # noqa: E731

    def losses(views):
        return {
            "a": views["a"][0].sin().sum(),
            "b": views["b"][1].square().sum(),
            "c": views["c"][0].sum() + views["c"][1].cos().sum(),
        }

    rows = jacobian(losses(dict.fromkeys("abc", taps())).values(), [table.weight])
    engine = Engine(Fixed(**FIXED), list("abc"), level=level, sketch=Sketch(share=1.0))
    for times in (1, 2):
        engine.total(losses(engine.split(taps()))).backward()
        assert_equal(engine.balancer.seen, rows @ rows.T, 1e-11)
        assert_equal(gradient([table.weight]), times * W @ rows, 1e-11)


def test_sparse_and_dense_gradients_of_one_parameter_in_one_call():
    torch.manual_seed(0)
    table = nn.Embedding(6, 4, sparse=True, dtype=F64)
    ids, x = torch.tensor([1, 4, 1]), torch.randn(3, 4, dtype=F64)
    losses = lambda: [table(ids).sin().sum(), (x @ table.weight.T).square().sum()]  # noqa: E731
    rows = jacobian(losses(), [table.weight])
    engine = Engine(Fixed(**FIXED), ["a", "b"], level="trunk")
    table(ids).sum().backward()
    (before,) = jacobian([table(ids).sum()], [table.weight])
    engine.backward(losses(), shared=[table.weight])
    assert_equal(engine.balancer.seen, rows @ rows.T)
    assert_equal(gradient([table.weight]), before + W[:2] @ rows)


def test_gradients_that_are_all_sparse_stay_sparse():
    table = nn.Embedding(6, 4, sparse=True, dtype=F64)
    engine = Engine(Fixed(**FIXED), ["a", "b"], level="trunk")
    views = engine.split(table(torch.tensor([1, 4, 1])))
    engine.total({"a": views["a"].sum(), "b": views["b"].square().sum()}).backward()
    assert table.weight.grad.is_sparse
