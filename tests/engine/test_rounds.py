"""A round: one batch from every source, each with labels of its own, in one step; Gramian and weights are the round's.

The shared part is called once a source. All calls' outputs go through one boundary, and a task reads the tap of its
source alone.
"""

from __future__ import annotations

import math

import pytest
import torch
from tests.engine.engine_oracles import Fixed, Net, assert_equal, data, gradient, jacobian

from trunkline.engine import Engine, Level

SOURCES = {"a": 0, "b": 0, "c": 1}  # two tasks have labels in the first source, one in the second
WEIGHTS = {"a": 0.5, "b": 2.0, "c": -1.5}


@pytest.mark.parametrize("level", ["features", "last", "sketch", "trunk", "trunk-lean"])
def test_a_round_is_one_step(level: Level):
    net, batches = Net(), [data(rows=8, seed=1), data(rows=5, seed=2)]
    balancer = Fixed(**WEIGHTS)
    engine = Engine(balancer, list("abc"), level=level, last_shared=[net.tail[1]])

    def losses(views):
        found = [net.losses({t: views[t][source] for t in "abc"}, y) for source, (_, y) in enumerate(batches)]
        return {task: found[source][task] for task, source in SOURCES.items()}

    engine.total(losses(engine.split([net.features(x) for x, _ in batches]))).backward()
    rows = jacobian(losses({t: [net.features(x) for x, _ in batches] for t in "abc"}).values(), net.shared())
    assert_equal(gradient(net.shared()), torch.tensor(list(WEIGHTS.values())).double() @ rows)
    assert balancer.seen is not None
    if level in ("sketch", "trunk", "trunk-lean"):
        assert_equal(balancer.seen, rows @ rows.T)
    elif level == "last":
        assert_equal(balancer.seen, rows[:, -24:] @ rows[:, -24:].T)
    cosines = engine.report()["cosines"]
    assert (cosines["a"]["c"] is None) == (level == "features")  # no row has both labels, at the boundary
    assert not math.isnan(cosines["a"]["b"])
