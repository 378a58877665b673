"""When loss balancers learn: once a step, from what weighs anything, and once more after it where the paper says so."""

import pytest
import torch
from tests.engine.engine_oracles import Net, data
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from trunkline.balancers import CATALOG, DWA, FAMO, RLW, Equal, FAMOLagged, GramianBalancer, LossBalancer, UPGrad
from trunkline.balancers.famo import famo_weights
from trunkline.engine import Engine, Whole
from trunkline.engine.learning import Learning

F64 = torch.float64
LOSS_BALANCERS = [name for name, kind in CATALOG.items() if issubclass(kind, LossBalancer)]


class Kept(Equal):
    """Keeps what it is shown."""

    separate = False

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, ...]] = []

    def observe(self, losses, tasks):
        assert not losses.requires_grad and len(losses) == len(tasks)
        self.seen.append(tuple(tasks))

    def weigh(self, losses, tasks):
        assert len(losses) == len(tasks)
        return super().weigh(losses, tasks)


class Stepping(GramianBalancer):
    """Keeps when it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def begin_step(self):
        self.seen.append("step")

    def weigh(self, gramian, tasks):
        self.seen.append("part")
        return torch.ones(len(tasks))


def sums(*values):
    return torch.tensor(values, dtype=F64, requires_grad=True)


def test_a_step_in_parts_is_observed_once_and_a_look_without_gradients_never():
    balancer = Kept()
    engine = Engine(balancer, ["a", "b"])
    whole = [Whole([2, 2], 4, 2, torch.tensor([3.0, 4.0]), torch.tensor([2.0, 2.0])) for _ in range(2)]
    for part in (whole[0], whole[0], whole[1], whole[1], None, None):
        present = engine.begin([1, 1], 2, part)
        engine.combine(sums(1.5, 2.0), torch.ones(2), present).backward()
    assert len(balancer.seen) == 4
    with torch.no_grad():
        engine.combine(sums(1.5, 2.0), torch.ones(2), engine.begin([1, 1], 2))
    assert len(balancer.seen) == 4


def test_a_look_without_gradients_between_parts_does_not_make_them_steps_of_their_own():
    loss_balancer, gramian_balancer = Kept(), Stepping()
    engines = Engine(loss_balancer, ["a", "b"]), Engine(gramian_balancer, ["a", "b"])
    whole = [Whole([2, 2], 4, 2, torch.tensor([3.0, 4.0]), torch.tensor([2.0, 2.0])) for _ in range(2)]
    for part in (whole[0], None, whole[0], None, whole[1], whole[1]):
        for engine in engines:
            with torch.set_grad_enabled(part is not None):
                present = engine.begin([1, 1], 2, part)
                views = engine.split(sums(1.5, 2.0), present)
                total = engine.combine(torch.stack([views["a"][0], views["b"][1]]), torch.ones(2), present)
            if part is not None:
                total.backward()
    assert len(loss_balancer.seen) == 2
    assert gramian_balancer.seen == ["step", "part", "part", "step", "part", "part"]


def test_steps_without_parts_are_each_a_step_to_a_gramian_balancer():
    balancer = Stepping()
    engine = Engine(balancer, ["a", "b"])
    for begins in (True, False, True):
        if begins:
            engine.begin([1, 1], 2)
        views = engine.split(sums(1.5, 2.0))
        engine.total({"a": views["a"][0], "b": views["b"][1]}).backward()
    assert balancer.seen == ["step", "part"] * 3


def test_parts_of_a_step_have_the_same_weights():
    engine = Engine(RLW(), ["a", "b"])
    whole = [Whole([2, 2], 4, 2, torch.tensor([3.0, 4.0]), torch.tensor([2.0, 2.0])) for _ in range(2)]
    seen = []
    for part in (whole[0], whole[0], whole[1]):
        engine.combine(sums(1.5, 2.0), torch.ones(2), engine.begin([1, 1], 2, part)).backward()
        seen.append(engine.report()["weights"])
    assert seen[0] == seen[1] != seen[2]


def test_a_task_whose_labels_weigh_nothing_is_not_shown():
    balancer = Kept()
    engine = Engine(balancer, ["a", "b", "c"])
    total = engine.combine(sums(1.0, 0.0, 3.0), torch.tensor([2.0, 0.0, 1.0]), engine.begin([1, 1, 1], 2))
    assert balancer.seen == [("a", "c")]
    assert total == 3.5
    assert engine.report()["weights"] == {"a": 1.0, "b": None, "c": 1.0}


@pytest.mark.parametrize("name", LOSS_BALANCERS)
def test_a_task_whose_labels_weigh_nothing_changes_nothing(name):
    totals, gradients = [], []
    for tasks, weights in ((["a", "b", "c"], [2.0, 0.0, 1.0]), (["a", "c"], [2.0, 1.0])):
        engine = Engine(CATALOG[name](), tasks)
        leaves = sums(*[v if w else 0.0 for v, w in zip((1.0, 0.0, 3.0) if len(tasks) == 3 else (1.0, 3.0), weights)])
        total = engine.combine(leaves, torch.tensor(weights), engine.begin([1] * len(tasks), 2))
        total.backward()
        totals.append(total.detach())
        gradients.append(leaves.grad[leaves.detach() > 0])
        assert leaves.grad[leaves.detach() == 0].abs().sum() == 0
    torch.testing.assert_close(totals[0], totals[1])
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("name", LOSS_BALANCERS)
def test_where_no_labels_weigh_anything_nothing_moves(name):
    engine = Engine(CATALOG[name](), ["a", "b"])
    leaves = sums(0.0, 0.0)
    total = engine.combine(leaves, torch.zeros(2), engine.begin([1, 1], 2))
    total.backward()
    assert total == 0 and leaves.grad.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", LOSS_BALANCERS)
def test_a_loss_that_is_not_finite_teaches_nothing(name, value):
    balancer = CATALOG[name](
        **{"window": 1} if name in ("dwa", "stch") else {}, **{"warmup": 0} if name == "stch" else {}
    )
    engine = Engine(balancer, ["a", "b"])

    def step(b, after=1.0):
        total = engine.total({"a": torch.tensor(2.0, requires_grad=True), "b": torch.tensor(b, requires_grad=True)})
        if engine.waits_for_losses:
            engine.after_step({"a": torch.tensor(1.5), "b": torch.tensor(after)})
        return total

    step(3.0)
    kept = engine.state_dict()
    assert not step(value).isfinite()
    if name == "famo":
        step(3.0, after=value)
    if not balancer.blind:  # these do not look, and count the step
        assert all(torch.equal(kept[key], now) for key, now in engine.state_dict().items())
    assert step(2.5).isfinite()
    assert all(torch.tensor(weight).isfinite() for weight in engine.report()["weights"].values())
    assert all(number.isfinite().all() or "previous" in key for key, number in engine.state_dict().items())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_dwa_leaves_a_loss_that_is_not_finite_out_as_if_the_task_were_absent(value):
    engines = [Engine(DWA(window=2), ["a", "b"]) for _ in range(2)]
    for number in range(6):
        losses = {"a": torch.tensor(1.0 / (1 + number)), "b": torch.tensor(2.0)}
        engines[0].total({**losses, "b": torch.tensor(value)} if number in (1, 2) else losses)
        engines[1].total({"a": losses["a"]} if number in (1, 2) else losses)
    assert engines[0].report()["weights"] == engines[1].report()["weights"] != {"a": 1.0, "b": 1.0}
    assert engines[0].state_dict() == engines[1].state_dict()


@pytest.mark.parametrize("name", LOSS_BALANCERS)
def test_a_step_waits_for_the_device_once_or_not_at_all(name, monkeypatch):
    """On tensors that have no numbers, where whoever asks for one fails."""
    waits = []

    def found(self, losses, weighs, tasks):
        waits.append(tasks)
        return {"a": 1.0, "c": 2.0}

    monkeypatch.setattr(Learning, "_found", found)
    with FakeTensorMode():
        engine = Engine(CATALOG[name](**{"warmup": 1, "window": 1} if name == "stch" else {}), ["a", "b", "c"])
        leaves = torch.rand(3, requires_grad=True)
        for _ in range(3):
            engine.combine(leaves, torch.ones(3), engine.begin([1, 1, 1], 2)).backward()
            if engine.waits_for_losses:
                engine.combine_after_step(leaves.detach(), torch.ones(3))
    assert len(waits) == {"equal": 0, "uncertainty": 0, "rlw": 0, "dwa": 0, "famo": 6}.get(name, 3)


def train(engine, steps, tasks="abc"):
    """Plain descent of a small network on the same rows; returns its weights."""
    net, (x, y) = Net(tasks), data(tasks)
    optimiser = torch.optim.SGD([*net.parameters(), *engine.parameters()], lr=0.05)
    for _ in range(steps):
        optimiser.zero_grad()
        views = engine.split(net.features(x))
        engine.total(net.losses(views, y)).backward()
        optimiser.step()
        if engine.needs_losses_after_step:
            with torch.no_grad():
                engine.after_step(net.losses(dict.fromkeys(tasks, net.features(x)), y))
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_famo_in_a_loop_is_famo_by_hand():
    engine = Engine(FAMO().double(), list("abc")).double()
    found = train(engine, 10)
    net, (x, y), logits = Net("abc"), data("abc"), torch.zeros(3, dtype=F64, requires_grad=True)
    adam = torch.optim.Adam([logits], lr=0.025, weight_decay=1e-3)
    sgd = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(10):
        losses = torch.stack(list(net.losses(dict.fromkeys("abc", net.features(x)), y).values()))
        sgd.zero_grad()
        (famo_weights(losses.detach(), logits.detach()) * losses).sum().backward()
        sgd.step()
        after = torch.stack(list(net.losses(dict.fromkeys("abc", net.features(x)), y).values())).detach()
        (logits.grad,) = torch.autograd.grad(logits.softmax(0), logits, losses.detach().log() - after.log())
        adam.step()
    torch.testing.assert_close(found, torch.cat([p.detach().flatten() for p in net.parameters()]))
    torch.testing.assert_close(engine.balancer.logits(list("abc")), logits.detach())


def test_lagged_famo_needs_no_second_look_and_does_the_same_on_the_same_rows():
    exact, lagged = (Engine(make().double(), list("abc")).double() for make in (FAMO, FAMOLagged))
    assert not lagged.needs_losses_after_step
    torch.testing.assert_close(train(exact, 10), train(lagged, 10))


def test_forgetting_to_look_again_is_an_error():
    engine = Engine(FAMO(), ["a", "b"])
    engine.total({"a": torch.ones((), requires_grad=True), "b": torch.ones(())})
    with pytest.raises(ValueError, match="FAMO looks at the losses again after each optimiser step"):
        engine.total({"a": torch.ones((), requires_grad=True)})


def test_a_step_that_was_not_taken_can_be_skipped_and_a_checkpoint_begins_anew():
    engine = Engine(FAMO(), ["a"])
    state = engine.state_dict()
    for skip in (lambda: engine.after_step(None), lambda: engine.load_state_dict(state)):
        engine.total({"a": torch.ones((), requires_grad=True)})
        assert engine.waits_for_losses
        skip()
        assert not engine.waits_for_losses
    engine.total({"a": torch.ones((), requires_grad=True)})
    with pytest.raises(ValueError, match=r"or engine.after_step\(None\) where the step was not taken"):
        engine.total({"a": torch.ones((), requires_grad=True)})
    assert engine.balancer.logits.times.values.tolist() == [0.0]


@pytest.mark.parametrize(("counts", "weight"), [([0, 0], 0.0), ([1, 1], 0.0)], ids=["no task", "nothing weighs"])
def test_a_step_that_shows_nothing_may_be_looked_at_again_or_not(counts, weight):
    engine = Engine(FAMO(), ["a", "b"])
    for looks in (True, False, True):
        present = engine.begin(counts, 2)
        leaves = torch.zeros(len(present), requires_grad=True)
        engine.combine(leaves, torch.full((len(present),), weight), present).backward()
        assert not engine.waits_for_losses
        if looks:
            engine.combine_after_step(torch.zeros(2), torch.zeros(2))
    engine.total({"a": torch.ones((), requires_grad=True)})
    assert engine.waits_for_losses
    engine.after_step({"a": torch.ones(())})
    assert engine.balancer.logits.times.values.tolist() == [1.0, 0.0]


def test_looking_again_without_a_step_or_a_task_is_an_error():
    engine = Engine(FAMO(), ["a", "b", "c"])
    with pytest.raises(ValueError, match="no step waits"):
        engine.after_step({"a": torch.ones(())})
    engine.total({"a": torch.ones((), requires_grad=True), "b": torch.ones(())})
    with pytest.raises(ValueError, match=r"losses of \['b'\]; after it they are missing"):
        engine.after_step({"a": torch.ones(())})
    with pytest.raises(ValueError, match="there is no task 'x'"):
        engine.after_step({"x": torch.ones(())})
    with pytest.raises(ValueError, match="UPGrad reads gradients"):
        Engine(UPGrad(), ["a"]).after_step({"a": torch.ones(())})
    with pytest.raises(ValueError, match="no step waits"):
        Engine(DWA(), ["a"]).after_step({"a": torch.ones(())})


def test_rates_divide_the_losses_after_a_step_too():
    """The same loss before and after is no progress, whatever it is divided by."""
    engine = Engine(FAMO(0.0), ["a", "b"], rates={"b": 0.25})
    before = sums(3.0, 4.0)
    engine.combine(before, torch.tensor([4.0, 2.0]), engine.begin([4, 2], 4)).backward()
    engine.combine_after_step(before.detach(), torch.tensor([4.0, 2.0]))
    assert engine.balancer.logits(["a", "b"]).tolist() == [0.0, 0.0]
    assert engine.balancer.logits.times.values.tolist() == [1.0, 1.0]


def test_state_of_the_engine_holds_the_balancers():
    engine = Engine(FAMO(), ["a", "b"])
    assert isinstance(engine.balancer, nn.Module)
    assert {"balancer.logits.values.a", "balancer.logits.times.b"} <= set(engine.state_dict())
