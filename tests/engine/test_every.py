"""Weights that serve several steps."""

from dataclasses import replace

import pytest
import torch
from tests.engine.engine_oracles import F64, Net, assert_equal, data, gradient, jacobian

from trunkline.balancers import GramianBalancer
from trunkline.engine import LEVELS, Engine, Whole
from trunkline.engine.report import Record

torch.set_num_threads(1)


class Counting(GramianBalancer):
    """Weights that tell which comparison they come from."""

    def __init__(self):
        super().__init__()
        self.calls = self.steps = 0

    def begin_step(self):
        self.steps += 1

    def weigh(self, gramian, tasks):
        self.calls += 1
        return torch.arange(1, len(tasks) + 1, dtype=F64) * self.calls


def step(engine, net, tasks="abc"):
    x, y = data()
    net.zero_grad()
    losses = net.losses(engine.split(net.features(x)), y)
    engine.total({t: losses[t] for t in tasks}).backward()
    return engine.report()["weights"]


def made(net, every=3, level="features"):
    return Engine(Counting(), list("abc"), level=level, last_shared=[net.trunk[2]], every=every)


@pytest.mark.parametrize("level", LEVELS[1:])
def test_one_comparison_serves_so_many_steps_and_the_update_follows_its_weights(level):
    net = Net()
    engine = made(net, level=level)
    seen = []
    for _ in range(7):
        seen.append(step(engine, net)["b"])
        x, y = data()
        rows = jacobian(net.losses(dict.fromkeys("abc", net.features(x)), y).values(), net.shared())
        assert_equal(gradient(net.shared()), torch.tensor([1.0, 2.0, 3.0], dtype=F64) * seen[-1] / 2 @ rows)
    assert seen == [2.0, 2.0, 2.0, 4.0, 4.0, 4.0, 6.0]


def test_other_tasks_need_a_comparison_of_their_own():
    net = Net()
    engine = made(net)
    assert step(engine, net) == {"a": 1.0, "b": 2.0, "c": 3.0}
    assert step(engine, net, "ac") == {"a": 2.0, "c": 4.0}
    assert step(engine, net, "ac") == {"a": 2.0, "c": 4.0}
    assert step(engine, net) == {"a": 3.0, "b": 6.0, "c": 9.0}


def part(engine, net, whole, tasks="abc"):
    x, y = data()
    present = engine.begin(dict.fromkeys(tasks, len(x)), len(x), whole)
    losses = net.losses(engine.split(net.features(x)), y)
    sums = torch.stack([len(x) * losses[t] for t in present])
    engine.combine(sums, torch.full((len(present),), float(len(x)), dtype=F64), present).backward()


def whole_of(parts, tasks="abc"):
    counts = [8 * parts * (t in tasks) for t in "abc"]
    return Whole(counts, 8 * parts, parts, torch.ones(3, dtype=F64), torch.tensor(counts, dtype=F64))


@pytest.mark.parametrize("parts", [2, 4])
def test_steps_are_counted_and_not_their_parts(parts):
    """In every third step each part is compared."""
    net, seen = Net(), []
    engine = made(net)
    for _ in range(7):
        whole = whole_of(parts)
        for _ in range(parts):
            part(engine, net, whole)
        seen.append(engine.balancer.calls)
    assert seen == [parts] * 3 + [2 * parts] * 3 + [3 * parts]
    assert engine.balancer.steps == 3


def test_a_step_in_parts_with_other_tasks_is_compared():
    net = Net()
    engine = made(net)
    for tasks, calls in (("abc", 2), ("ac", 4), ("ac", 4), ("ac", 4), ("ac", 6)):
        whole = whole_of(2, tasks)
        for _ in range(2):
            part(engine, net, whole, tasks)
        assert engine.balancer.calls == calls


def test_the_report_between_is_that_of_the_last_comparison():
    net = Net()
    engine = made(net)
    step(engine, net)
    first = engine.report()
    step(engine, net)
    assert engine.report() == first
    assert set(first["norms"]) == set("abc")


def test_a_checkpoint_goes_on_in_the_middle():
    net = Net()
    engine = made(net)
    for _ in range(2):
        step(engine, net)
    resumed = made(net)
    resumed.load_state_dict(engine.state_dict())
    assert step(resumed, net)["a"] == 1.0
    assert resumed.balancer.calls == 0
    assert resumed.report() == engine.report()
    step(resumed, net)
    assert resumed.balancer.calls == 1


def test_norms_are_those_of_the_gradients_compared():
    net, (x, y) = Net(), data()
    engine = Engine(Counting(), list("abc"), level="trunk")
    engine.total(net.losses(engine.split(net.features(x)), y)).backward()
    rows = jacobian(net.losses(dict.fromkeys("abc", net.features(x)), y).values(), net.shared())
    assert list(engine.report()["norms"].values()) == pytest.approx(rows.norm(dim=1).tolist())


def test_a_checkpoint_of_a_longer_span_is_compared_anew():
    """Weights that have served longer than they may now serve no more."""
    net, other = Net(), Net()
    long, short = made(net, every=10), made(other, every=3)
    for _ in range(7):
        step(long, net)
    short.load_state_dict(long.state_dict(), strict=False)
    step(short, other)
    assert short.balancer.calls == 1


def test_who_takes_part_in_a_part_of_a_step():
    """Whose labels are in it; and whose gradient came from elsewhere than the losses, as a user's own term."""
    record = Record(tasks=("a", "b"), parts=2, here={"a": 1, "b": 0, "c": 0})
    assert record.taking_part(["a", "b", "c"]) == ["a", "c"]
    assert replace(record, parts=1).taking_part(["a", "b", "c"]) == ["a", "b", "c"]
