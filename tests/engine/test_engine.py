"""Presence, denominators, settings, state."""

import copy
import io

import pytest
import torch
from tests.engine.engine_oracles import Fixed, Net, approximately, assert_equal, data, gradient
from torch import nn

from trunkline.balancers import Equal, Uncertainty, UPGrad
from trunkline.engine import LEVELS, Engine
from trunkline.errors import ConfigError

torch.set_num_threads(1)


def masked_step(engine, net, x, y, labelled):
    """As a model does it: `(sum, weight)` a task over labelled rows, an absent task without key."""
    tasks = engine.tasks
    present = engine.begin([int(labelled[t].sum()) for t in tasks], len(x))
    flags = torch.stack([labelled[t] for t in present], 1)
    views = engine.split(net.features(x), present, flags)
    parts = [(net.heads[t](views[t]) - y[t])[labelled[t]].square().sum() for t in present]
    counts = torch.stack([labelled[t].sum() for t in present])
    total = engine.combine(torch.stack(parts), counts, present)
    total.backward()
    return total


LABELLED = {
    "a": torch.tensor([1, 1, 1, 1, 1, 0, 0, 0]).bool(),
    "b": torch.tensor([0, 0, 1, 1, 1, 1, 1, 1]).bool(),
    "c": torch.zeros(8).bool(),
}


WAYS = [(Equal, "losses"), (Uncertainty, "losses"), *((UPGrad, level) for level in LEVELS[1:])]


@pytest.mark.parametrize(("balancer", "level"), WAYS)
def test_absent_task_leaves_no_trace(balancer, level):
    """Bit by bit the step of an engine that never knew the task."""
    nets = Net("abc"), Net("abc")
    x, y = data("abc")
    reports = []
    for net, tasks in zip(nets, ("abc", "ab")):
        engine = Engine(balancer(), list(tasks), level=level, last_shared=[net.trunk[2]])
        masked_step(engine, net, x, y, LABELLED)
        reports.append(engine.report())
    assert reports[0] == reports[1]
    assert list(reports[0]["losses"]) == ["a", "b"]
    for name, parameter in nets[0].named_parameters():
        other = nets[1].get_parameter(name).grad
        if name.startswith("heads.c"):
            assert parameter.grad is None
        else:
            assert torch.equal(parameter.grad, other)


@pytest.mark.parametrize("level", LEVELS[1:])
def test_absent_task_is_no_row_of_the_gramian_in_a_plain_loop(level):
    net, (x, y) = Net(), data()
    balancer = Fixed()
    engine = Engine(balancer, list("abc"), level=level, last_shared=[net.trunk[2]])
    losses = net.losses(engine.split(net.features(x)), y)
    del losses["b"]
    engine.total(losses).backward()
    assert balancer.seen_tasks == ("a", "c")
    assert balancer.seen.shape == (2, 2)
    assert net.heads["b"].weight.grad is None
    assert list(engine.report()["weights"]) == ["a", "c"]


def test_present_task_that_reads_nothing_shared_is_no_row_of_the_gramian():
    x, own = torch.ones(3, 2, requires_grad=True), torch.ones((), requires_grad=True)
    balancer = Fixed()
    engine = Engine(balancer, ["a", "b"])
    engine.total({"a": engine.split(x)["a"].sum(), "b": own * 2}).backward()
    assert balancer.seen_tasks == ("a",)
    assert engine.report()["weights"] == {"a": 1.0, "b": None}
    assert own.grad == 2


def test_sum_over_weight():
    engine = Engine(Equal(), ["a", "b"])
    present = engine.begin({"a": 3, "b": 1}, 4)
    engine.combine(torch.tensor([6.0, 5.0]), torch.tensor([3.0, 10.0]), present)
    assert engine.report()["losses"] == {"a": 2.0, "b": 0.5}


def test_rare_task_is_divided_by_its_expected_weight():
    """1 of 4 rows labelled where 1 in 8 was expected: half of a row expected, so its mean loss counts twice."""
    engine = Engine(Equal(), ["a", "b"], rates={"b": 1 / 8})
    present = engine.begin({"a": 3, "b": 1}, 4)
    engine.combine(torch.tensor([6.0, 5.0]), torch.tensor([3.0, 10.0]), present)
    assert engine.report()["losses"] == {"a": 2.0, "b": 1.0}


def test_expected_weight_makes_the_mean_over_batches_the_mean_over_rows():
    """With `batch` the one labelled row of a batch counts as much as five of another; with `expected` it does not."""
    rows = torch.tensor([2.0, 4.0, 6.0, 8.0, 10.0, 100.0])
    engine, seen = Engine(Equal(), ["a"], rates={"a": 0.3}), []
    for batch in (rows[:5], rows[5:]):  # two batches of 10 rows
        engine.combine(batch.sum().unsqueeze(0), torch.tensor([float(len(batch))]), engine.begin([len(batch)], 10))
        seen.append(engine.report()["losses"]["a"])
    assert sum(seen) / 2 == pytest.approx(rows.mean().item())


@pytest.mark.parametrize(("balancer", "level"), WAYS)
def test_labels_that_weigh_nothing_take_no_part(balancer, level):
    """Task c has labelled rows, of which nothing counts: the step is that of an engine that never knew it."""
    nets, (x, y), reports, engines = (Net("abc"), Net("abc")), data("abc"), [], []
    for net, tasks in zip(nets, ("abc", "ab")):
        engine = Engine(balancer(), list(tasks), level=level, last_shared=[net.trunk[2]]).double()
        present = engine.begin([8] * len(tasks), 8)
        views = engine.split(net.features(x), present)
        sums = [(net.heads[t](views[t]) - y[t]).square().sum() * float(t != "c") for t in present]
        engine.combine(torch.stack(sums), torch.tensor([8.0, 8.0, 0.0])[: len(tasks)], present).backward()
        reports.append(engine.report())
        engines.append(engine)
    assert reports[0]["losses"].pop("c") is None
    assert reports[0]["weights"].pop("c") is None
    assert reports[0] == approximately(reports[1])
    for parameter, other in zip(nets[0].shared(), nets[1].shared()):
        assert_equal(parameter.grad, other.grad)
    assert not any(p.grad.any() for p in nets[0].heads["c"].parameters())
    if balancer is Uncertainty:
        *ours, none = engines[0].balancer.log_variances.values.grad.tolist()
        assert none == 0
        assert ours == engines[1].balancer.log_variances.values.grad.tolist()


@pytest.mark.parametrize(("balancer", "level"), WAYS)
def test_a_step_in_which_no_label_weighs_anything(balancer, level):
    net, (x, y) = Net("ab"), data("ab")
    engine = Engine(balancer(), ["a", "b"], level=level, last_shared=[net.trunk[2]]).double()
    present = engine.begin([8, 8], 8)
    views = engine.split(net.features(x), present)
    sums = [(net.heads[t](views[t]) - y[t]).square().sum() * 0 for t in present]
    total = engine.combine(torch.stack(sums), torch.zeros(2), present)
    assert total == 0
    total.backward()
    assert_nothing_moves(net, engine)
    assert engine.report()["weights"] == engine.report()["losses"] == {"a": None, "b": None}


def test_a_gradient_at_the_boundary_that_no_loss_made_counts():
    x, balancer = torch.ones(3, 2, requires_grad=True), Fixed()
    engine = Engine(balancer, ["a", "b"])
    views = engine.split(x)
    (engine.total({"a": views["a"].sum()}) + views["b"].sum()).backward()
    assert balancer.seen_tasks == ("a", "b")


def test_a_record_belongs_to_its_own_forward_pass():
    """Two totals before one backward pass: each asks which of its own labels weigh."""
    net, (x, y) = Net("ab"), data("ab")
    engine, totals = Engine(Fixed(), ["a", "b"]), []
    for weights in ([8.0, 0.0], [8.0, 8.0]):
        present = engine.begin([8, 8], 8)
        views = engine.split(net.features(x), present)
        sums = [(net.heads[t](views[t]) - y[t]).square().sum() * w for t, w in zip(present, weights)]
        totals.append(engine.combine(torch.stack(sums), torch.tensor(weights), present))
    totals[0].backward()
    assert engine.balancer.seen_tasks == ("a",)
    totals[1].backward()
    assert engine.balancer.seen_tasks == ("a", "b")


@pytest.mark.parametrize("shared", ["trained", "frozen"])
@pytest.mark.parametrize(("balancer", "level"), WAYS)
def test_a_step_without_any_task_moves_nothing(balancer, level, shared):
    net, (x, _) = Net("ab"), data("ab")
    net.trunk.requires_grad_(shared == "trained")
    net.tail.requires_grad_(shared == "trained")
    engine = Engine(balancer(), ["a", "b"], level=level, last_shared=[net.trunk[2]]).double()
    assert engine.begin([0, 0], 8) == ()
    engine.split(net.features(x), ())
    total = engine.combine(torch.zeros(0), torch.zeros(0), ())
    assert total == 0
    total.backward()
    assert_nothing_moves(net, engine)
    assert engine.report() | {"level": None} == {
        "level": None, "losses": {}, "weights": {}, "norms": None, "cosines": None, "conflicts": None
    }  # fmt: skip


def assert_nothing_moves(*modules):
    """Nobody has a gradient other than none or zero; NaN is neither."""
    assert all(p.grad is None or p.grad.eq(0).all() for module in modules for p in module.parameters())


def test_rare_task_has_the_gradient_of_its_expected_denominator():
    """3 rows labelled of 8 where a quarter, 2 rows, was expected: the sum of squares is divided by 2, not by 3."""
    net, (x, y) = Net("a"), data("a")
    labelled = torch.tensor([1, 1, 1, 0, 0, 0, 0, 0]).bool()
    masked_step(Engine(Equal(), ["a"], rates={"a": 1 / 4}), net, x, y, {"a": labelled})
    by_hand = Net("a")
    ((by_hand.heads["a"](by_hand.features(x)) - y["a"])[labelled].square().sum() / 2).backward()
    assert_equal(gradient(net.parameters()), gradient(by_hand.parameters()))


@pytest.mark.parametrize(("balancer", "level"), [(Equal, "losses"), *((Fixed, level) for level in LEVELS[1:])])
def test_gradients_follow_the_preferences(balancer, level):
    """`3 a + b` has mean 2, so the shared part gets `1.5 a + 0.5 b`; a head only where the loss is weighed."""
    net, (x, y) = Net("ab"), data("ab")
    engine = Engine(balancer(), ["a", "b"], level=level, preferences={"a": 3.0}, last_shared=[net.trunk[2]])
    losses = net.losses(engine.split(net.features(x)), y)
    engine.total(losses).backward()
    by_hand = Net("ab")
    losses = by_hand.losses(dict.fromkeys("ab", by_hand.features(x)), y)
    (1.5 * losses["a"] + 0.5 * losses["b"]).backward()
    assert_equal(gradient(net.shared()), gradient(by_hand.shared()))
    scale = 1.0 if level == "losses" else 1.5
    assert_equal(gradient(net.heads["a"].parameters()) * scale, gradient(by_hand.heads["a"].parameters()))


def test_begin_names_present_tasks_in_task_order():
    engine = Engine(Equal(), ["a", "b", "c"])
    assert engine.begin({"c": 1, "a": 2}, 2) == ("a", "c")
    assert engine.begin([0, 0, 0], 2) == ()


def test_plain_total_and_combine_agree():
    x, y = data()
    nets = Net(), Net()
    everywhere = dict.fromkeys("abc", torch.ones(8).bool())
    masked_step(Engine(UPGrad(), list("abc")), nets[0], x, y, everywhere)
    engine = Engine(UPGrad(), list("abc"))
    engine.total(nets[1].losses(engine.split(nets[1].features(x)), y)).backward()
    assert_equal(gradient(nets[0].parameters()), gradient(nets[1].parameters()))


def test_evaluation_makes_losses_and_no_graph():
    net, (x, y) = Net(), data()
    engine = Engine(UPGrad(), list("abc"), level="last", last_shared=[net.trunk[2]])
    with torch.no_grad():
        total = engine.total(net.losses(engine.split(net.features(x)), y))
    assert not total.requires_grad
    assert engine.report()["losses"].keys() == set("abc")


def test_frozen_trunk_trains_heads():
    net, (x, y) = Net(), data()
    for parameter in net.shared():
        parameter.requires_grad_(False)
    engine = Engine(UPGrad(), list("abc"))
    engine.total(net.losses(engine.split(net.features(x)), y)).backward()
    assert all(p.grad is not None for p in net.heads.parameters())


def test_state_is_kept_by_task_name():
    engine = Engine(Uncertainty(), ["a", "b.c"])
    engine.balancer.log_variances.values.data = torch.tensor([1.0, 2.0])
    file = io.BytesIO()
    torch.save(engine.state_dict(), file)
    file.seek(0)
    other = Engine(Uncertainty(), ["b.c", "new", "a"])
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.balancer.log_variances.values.tolist() == [2.0, 0.0, 1.0]


def test_last_shared_layers_stay_with_the_model():
    engine = Engine(UPGrad(), ["a"], level="last", last_shared=[nn.Linear(2, 2)])
    assert list(engine.parameters()) == []
    assert engine.state_dict() == {}


def test_nothing_to_report_before_the_first_step():
    assert Engine(Equal(), ["a"]).report() == {}


def test_report_of_losses():
    engine = Engine(Uncertainty(), ["a", "b"])
    engine.total({"a": torch.tensor(1.0), "b": torch.tensor(2.0)})
    assert engine.report() == {
        "level": "losses",
        "losses": {"a": 1.0, "b": 2.0},
        "weights": {"a": 1.0, "b": 1.0},
        "norms": None,
        "cosines": None,
        "conflicts": None,
    }


LAYER = nn.Linear(1, 1)


@pytest.mark.parametrize(
    ("balancer", "settings", "message"),
    [
        (UPGrad, {"level": "losses"}, r"'losses' cannot serve UPGrad, .* 'features', 'last', .* or 'trunk-lean' can"),
        (Equal, {"level": "features"}, r"'features' cannot serve Equal, .* level 'losses' can"),
        (Equal, {"level": "last", "last_shared": [LAYER]}, r"level 'losses' can"),
        (UPGrad, {"level": "deep"}, r"no level 'deep'\. Known: features, last, losses, sketch, trunk, trunk-lean"),
        (UPGrad, {"every": 0}, r"every: 0 cannot be a number of steps"),
        (Equal, {"every": 2}, r"no gradients are compared"),
        (UPGrad, {"level": "feature"}, r"Did you mean 'features'"),
        (UPGrad, {"level": "last"}, r"name them in last_shared"),
        (Equal, {"preferences": {"a": -1.0}}, r"tasks\.a\.weight: -1\.0 cannot be a weight"),
        (Equal, {"preferences": {"a": 0.0, "b": 0.0}}, r"all weights are 0"),
        (Equal, {"rates": {"a": 0.0}}, r"rates: 0\.0 of task 'a'"),
    ],
)
def test_settings_that_cannot_work(balancer, settings, message):
    with pytest.raises(ConfigError, match=message):
        Engine(balancer(), ["a", "b"], **settings)


def test_calls_that_cannot_work():
    engine = Engine(Equal(), ["kind", "age"])
    with pytest.raises(ValueError, match=r"no task 'knd'\. Did you mean 'kind'"):
        engine.total({"knd": torch.tensor(1.0)})
    with pytest.raises(ValueError, match="no task has a loss"):
        engine.total({})
    engine = Engine(Equal(), ["kind", "age"])
    with pytest.raises(ValueError, match=r"must be scalars, got shapes \{'kind': \(2,\)\}"):
        engine.total({"kind": torch.ones(2)})
    with pytest.raises(ValueError, match=r"begin\(\) said None"):
        engine.combine(torch.ones(1), torch.ones(1), ["kind"])
    engine.begin([1, 0], 1)
    with pytest.raises(ValueError, match=r"got tasks \('age',\); begin\(\) said \('kind',\)"):
        engine.combine(torch.ones(1), torch.ones(1), ["age"])
    with pytest.raises(ValueError, match="must be called before each step"):
        Engine(Equal(), ["a"], rates={"a": 0.1}).total({"a": torch.tensor(1.0)})


def test_a_copied_model_watches_its_own_layers():
    net = Net()
    engine = Engine(Fixed(), list("abc"), level="last", last_shared=[net.trunk[2]])
    copied = copy.deepcopy(nn.ModuleDict({"net": net, "engine": engine}))
    x, y = data()
    for own in (copied, {"net": net, "engine": engine}):
        losses = own["net"].losses(own["engine"].split(own["net"].features(x)), y)
        own["engine"].total(losses).backward()
    assert_equal(copied["engine"].balancer.seen, engine.balancer.seen, 0.0)


def test_what_is_no_balancer_is_refused():
    with pytest.raises(ConfigError, match="neither a LossBalancer nor a GramianBalancer"):
        Engine(nn.Linear(1, 1), ["a"])
