"""The Gramian of each level, against one backward a task."""

import pytest
import torch
from tests.engine.engine_oracles import F64, Fixed, Net, approximately, assert_equal, data, jacobian
from torch import nn

from trunkline.balancers import GradNorm, UPGrad
from trunkline.engine import Engine, choose_level, expected_rates, products, unseen_pairs, warn_unseen
from trunkline.errors import ConfigError

torch.set_num_threads(1)


def seen_gramian(engine, features, losses_of):
    engine.total(losses_of(engine.split(features))).backward()
    return engine.balancer.seen


def test_features_gramian_is_that_of_the_gradients_at_the_features():
    net, (x, y) = Net(), data()
    seen = seen_gramian(Engine(Fixed(), list("abc")), net.features(x), lambda v: net.losses(v, y))
    features = net.features(x)
    rows = jacobian(net.losses(dict.fromkeys("abc", features), y).values(), [features])
    assert_equal(seen, rows @ rows.T)


@pytest.mark.parametrize("rows", [3, 50])  # fewer and more than the layers are wide: both ways of taking products
@pytest.mark.parametrize("which", [["trunk.2"], ["trunk.0", "trunk.2"], ["tail.1"], ["trunk.0", "trunk.2", "tail.1"]])
def test_last_gramian_is_that_of_the_layers_weights(rows, which):
    """With something after the layer, several layers, with and without bias."""
    net, (x, y) = Net(), data(rows=rows)
    layers = [net.get_submodule(name) for name in which]
    engine = Engine(Fixed(), list("abc"), level="last", last_shared=layers)
    seen = seen_gramian(engine, net.features(x), lambda v: net.losses(v, y))
    parameters = [p for layer in layers for p in layer.parameters()]
    rows = jacobian(net.losses(dict.fromkeys("abc", net.features(x)), y).values(), parameters)
    assert_equal(seen, rows @ rows.T, 1e-11)


@pytest.mark.parametrize("rows", [1, 30])
def test_last_gramian_where_the_tap_is_the_layers_output_on_sequences_and_a_layer_called_twice(rows):
    torch.manual_seed(0)
    layer = nn.Linear(5, 5).double()
    heads = {t: nn.Linear(5, 1).double() for t in "ab"}
    x = torch.randn(rows, 3, 5, dtype=F64)

    def taps():
        return layer(torch.tanh(layer(x)))

    def losses(views):
        return {t: head(views[t]).square().mean() for t, head in heads.items()}

    seen = seen_gramian(Engine(Fixed(), ["a", "b"], level="last", last_shared=[layer]), taps(), losses)
    rows = jacobian(losses(dict.fromkeys("ab", taps())).values(), list(layer.parameters()))
    assert_equal(seen, rows @ rows.T, 1e-11)


def test_last_gramian_over_several_taps_of_which_one_lies_before_the_layer():
    net, (x, y) = Net(), data()

    def taps():
        early = net.trunk[0](x)
        late = net.trunk[2](early.tanh())
        return [early, late]

    def losses(views):
        return {t: (net.heads[t](views[t][1][:, :4]) * views[t][0][:, :1] - y[t]).square().mean() for t in "abc"}

    engine = Engine(Fixed(), list("abc"), level="last", last_shared=[net.trunk[2]])
    seen = seen_gramian(engine, taps(), losses)
    rows = jacobian(losses(dict.fromkeys("abc", taps())).values(), list(net.trunk[2].parameters()))
    assert_equal(seen, rows @ rows.T, 1e-11)


def planted(level):
    """Tasks a and b want the opposite of one layer, on rows of their own."""
    torch.manual_seed(0)
    layer = nn.Linear(3, 2).double()
    x = torch.randn(1, 3, dtype=F64).repeat(8, 1)
    engine = Engine(UPGrad(), ["a", "b"], level=level, last_shared=[layer])
    views = engine.split(layer(x), labelled=torch.tensor([[1, 0]] * 4 + [[0, 1]] * 4).bool())
    engine.total({"a": views["a"][:4].sum(), "b": -views["b"][4:].sum()}).backward()
    return engine.report(), layer.weight.grad


def test_features_do_not_know_about_tasks_on_different_rows():
    report, _ = planted("features")
    assert report["cosines"]["a"] == {"a": pytest.approx(1.0), "b": None}
    assert report["cosines"]["b"] == {"a": None, "b": pytest.approx(1.0)}
    assert report["conflicts"] is None


def test_last_sees_the_conflict_of_tasks_on_different_rows():
    report, gradient = planted("last")
    assert report["cosines"]["a"]["b"] == pytest.approx(-1.0)
    assert report["conflicts"] == 1.0
    assert gradient.abs().max() < 1e-6


def test_rows_without_gradient_are_rows_without_label_where_nobody_says():
    x = torch.ones(4, 2, dtype=F64, requires_grad=True)
    engine = Engine(UPGrad(), ["a", "b", "c"])
    views = engine.split(x)
    engine.total({"a": views["a"][:2].sum(), "b": -views["b"][2:].sum(), "c": -views["c"][1:3].sum()}).backward()
    cosines = engine.report()["cosines"]
    assert cosines["a"]["b"] is None
    assert cosines["a"]["c"] == pytest.approx(-0.5)
    assert cosines["b"]["c"] == pytest.approx(0.5)


def test_labels_that_are_shared_are_known_even_where_gradients_vanish():
    x = torch.ones(4, 1, dtype=F64, requires_grad=True)
    engine = Engine(UPGrad(), ["a", "b"])
    views = engine.split(x, labelled=torch.ones(4, 2).bool())
    engine.total({"a": views["a"][:2].sum(), "b": views["b"][2:].sum()}).backward()
    assert engine.report()["cosines"]["a"]["b"] == 0.0


def test_one_number_a_row_is_a_tap():
    x = torch.randn(5, dtype=F64, requires_grad=True)
    engine = Engine(Fixed(a=2.0), ["a", "b"])
    views = engine.split(x)
    engine.total({"a": views["a"].sum(), "b": views["b"].square().sum()}).backward()
    assert_equal(x.grad, 2 + 2 * x.detach())


def test_last_shared_layers_that_no_task_reads_through():
    net, (x, y) = Net(), data()
    engine = Engine(UPGrad(), list("abc"), level="last", last_shared=[nn.Linear(2, 2)])
    with pytest.raises(ConfigError, match="depends on the layers given as last_shared"):
        seen_gramian(engine, net.features(x), lambda v: net.losses(v, y))


def test_choose_features_where_every_pair_shares_enough_rows():
    overlap = torch.tensor([[100, 80, 30], [80, 90, 30], [30, 30, 40]])
    assert choose_level(overlap, overlap.diagonal())[0] == "features"
    assert unseen_pairs(overlap, overlap.diagonal()) == []


def test_choose_last_where_a_pair_does_not_and_name_it():
    overlap = torch.tensor([[100, 80, 3], [80, 90, 30], [3, 30, 40]])
    level, reason = choose_level(overlap, overlap.diagonal(), ["kind", "cells", "age"])
    assert level == "last"
    assert "1 of 3 pairs" in reason
    assert "'kind' and 'age' share 3 of 40" in reason
    assert unseen_pairs(overlap, overlap.diagonal()) == [(0, 2)]


def test_a_level_that_the_balancers_paper_names_is_the_default_where_the_engine_can():
    layer = nn.Linear(2, 2)
    assert Engine(GradNorm(), ["a"], last_shared=[layer]).level == "last"
    assert Engine(GradNorm(), ["a"]).level == "features"
    assert Engine(GradNorm(), ["a"], level="trunk", last_shared=[layer]).level == "trunk"
    assert Engine(UPGrad(), ["a"], last_shared=[layer]).level == "features"
    overlap = torch.tensor([[9, 9], [9, 9]])
    level, reason = choose_level(overlap, overlap.diagonal(), own=GradNorm.level)
    assert level == "last" and "the paper of this balancer" in reason


def test_one_task_needs_no_comparison():
    assert choose_level(torch.tensor([[5]]), torch.tensor([5]))[0] == "features"


def test_expected_rates_are_those_of_tasks_rarely_labelled():
    assert expected_rates({"full": 100, "half": 50, "rare": 10, "none": 0}, 100) == {"rare": 0.1}


def test_labels_belong_to_their_tasks_also_when_a_task_has_no_gradient():
    x = torch.ones(4, 2, dtype=F64, requires_grad=True)
    engine = Engine(UPGrad(), ["a", "b", "c"])
    labelled = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 1, 1], [0, 1, 1]]).bool()
    views = engine.split(x, labelled=labelled)
    engine.total({"a": views["a"][:2].sum(), "c": views["c"][2:].sum()}).backward()
    assert engine.report()["cosines"]["a"] == {"a": pytest.approx(1.0), "c": None}


def test_features_chosen_for_tasks_that_share_no_rows_is_warned_of():
    """Four tasks on rows of their own are six pairs: five are named."""
    apart, counts = torch.diag(torch.tensor([9.0, 8.0, 7.0, 6.0])), torch.tensor([9.0, 8.0, 7.0, 6.0])
    said = warn_unseen("features", apart, counts, ["a", "b", "c", "d"])
    assert said is not None
    assert "'a' and 'b' (0 of 8), 'a' and 'c' (0 of 7)" in said
    assert "and 1 more pairs" in said
    assert "level 'last' sees them" in said
    assert "more" not in (warn_unseen("features", apart[:2, :2], counts[:2], ["a", "b"]) or "more")
    assert warn_unseen("last", apart, counts, ["a", "b", "c", "d"]) is None
    assert warn_unseen("features", torch.full((2, 2), 9.0), torch.tensor([9.0, 9.0]), ["a", "b"]) is None


@pytest.mark.parametrize("level", ["features", "last"])
@pytest.mark.parametrize("rows", [3, 50])
def test_gradients_that_are_compared_in_pieces(monkeypatch, level, rows):
    """Several taps, of which a task reads some, and some rows: the pieces change nothing."""
    seen = []
    for room in (products.IN_CACHE, 5):
        monkeypatch.setattr(products, "IN_CACHE", room)
        net, (x, y) = Net(), data(rows=rows)
        engine = Engine(Fixed(), list("abc"), level=level, last_shared=[net.trunk[2]])
        hidden = net.trunk(x)
        views = engine.split([net.tail(hidden), hidden])
        losses = net.losses({task: copies[0] for task, copies in views.items()}, y)
        losses["c"] = losses["c"] + views["c"][1][1:].square().sum()
        losses["b"] = views["b"][0][:1].sum()
        engine.total(losses).backward()
        seen.append(engine.report())
    assert seen[1] == approximately(seen[0])


def test_last_forgets_calls_that_no_task_reads_through():
    """A look at the layer before the step, with gradients on, counts for nothing."""
    net, (x, y) = Net(), data(rows=50)
    seen = []
    for looks in (0, 2):
        engine = Engine(Fixed(), list("abc"), level="last", last_shared=[net.trunk[2]])
        others = [net.trunk(torch.full((7, 5), float("inf"), dtype=F64)) for _ in range(looks)]
        seen.append(seen_gramian(engine, net.features(x), lambda v: net.losses(v, y)))
        assert len(others) == looks
    assert_equal(*seen)
