"""A factor on the total is a factor on the update, whatever the balancer: loss scalers, and steps in parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trunkline.balancers import CATALOG, GradNorm, GramianBalancer, NashMTL
from trunkline.engine import LEVELS, Engine, Level, Whole

TASKS = ["a", "b", "c"]
GRAMIAN = [name for name, balancer in CATALOG.items() if issubclass(balancer, GramianBalancer)]


def update(engine: Engine, scale: float, *, rows: int = 6) -> list[Tensor]:
    """Gradients of the shared part and of the heads, for the total times `scale`."""
    torch.manual_seed(0)
    trunk = nn.Linear(4, 5).double()
    heads = nn.ModuleList(nn.Linear(5, 1) for _ in TASKS).double()
    inputs, targets = torch.randn(rows, 4).double(), 3 * torch.randn(3, rows, 1).double()
    engine.begin([rows] * 3, rows)
    views = engine.split(trunk(inputs))
    losses = {t: (head(views[t]) - y).square().mean() for t, head, y in zip(TASKS, heads, targets)}
    (scale * engine.total(losses)).backward()
    return [p.grad for p in [*trunk.parameters(), *heads.parameters()] if p.grad is not None]


@pytest.mark.parametrize("scale", [2.0**-10, 65536.0])
@pytest.mark.parametrize("name", GRAMIAN)
def test_a_scaled_total_has_a_scaled_update(name, scale):
    plain, scaled = update(Engine(CATALOG[name](), TASKS), 1.0), update(Engine(CATALOG[name](), TASKS), scale)
    assert len(plain) == 8
    for one, other in zip(plain, scaled):
        torch.testing.assert_close(other, scale * one, rtol=1e-9, atol=0.0)


@pytest.mark.parametrize("level", [level for level in LEVELS if level not in ("losses", "last")])
def test_at_every_level(level: Level):
    plain, scaled = (update(Engine(NashMTL(), TASKS, level=level), scale) for scale in (1.0, 1024.0))
    for one, other in zip(plain, scaled):
        torch.testing.assert_close(other, 1024.0 * one, rtol=1e-9, atol=0.0)


def test_the_log_has_gradients_without_the_factor():
    reports = []
    for scale in (1.0, 65536.0):
        engine = Engine(NashMTL(), TASKS)
        update(engine, scale)
        reports.append(engine.report())
    assert reports[0]["norms"] == pytest.approx(reports[1]["norms"], rel=1e-9)
    assert reports[0]["weights"] == pytest.approx(reports[1]["weights"], rel=1e-9)


@pytest.mark.parametrize("name", ["nash_mtl", "fairgrad"])
def test_parts_that_are_alike_are_the_whole(name):
    """A step in two parts with the same rows is the step with these rows once: no longer."""
    torch.manual_seed(0)
    layer, inputs, targets = nn.Linear(4, 5).double(), torch.randn(6, 4).double(), torch.randn(3, 6, 5).double()
    updates = []
    for parts in (1, 2):
        engine = Engine(CATALOG[name](), TASKS)
        layer.zero_grad()
        with torch.no_grad():
            sums = torch.stack([(layer(inputs) - y).square().mean(1).sum() for y in targets])
        weights = torch.full((3,), 6.0).double()
        whole = Whole(counts=[6 * parts] * 3, size=6 * parts, parts=parts, sums=parts * sums, weights=parts * weights)
        for _ in range(parts):
            present = engine.begin([6] * 3, 6, whole)
            views = engine.split(layer(inputs), present)
            sums = torch.stack([(views[t] - y).square().mean(1).sum() for t, y in zip(TASKS, targets)])
            engine.combine(sums, weights, present).backward()
        updates.append(layer.weight.grad.clone())
    torch.testing.assert_close(updates[0], updates[1], rtol=1e-9, atol=0.0)


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("level", ["features", "trunk"])
@pytest.mark.parametrize("name", GRAMIAN)
def test_a_task_without_labels_in_a_part_is_not_compared_there(name, level, every):
    """Its gradient may be a zero instead of none, as that of a member of a stack: no row of zeros for the balancer.

    Nor do weights that were made for three tasks serve such a part.
    """
    torch.manual_seed(0)
    inputs, targets = torch.randn(6, 4).double(), torch.randn(3, 6, 5).double()
    start, found = nn.Linear(4, 5).double().state_dict(), []
    for is_read in (True, False):
        layer = nn.Linear(4, 5).double()
        layer.load_state_dict(start)
        engine = Engine(CATALOG[name](), TASKS, level=level, every=every)
        with torch.no_grad():
            sums = torch.stack([(layer(inputs) - y).square().mean(1).sum() for y in targets])
        for last in (3, 2):  # tasks that have labels in the last part of the step
            counts = [12, 12, 6 * (last - 1)]
            numbers = torch.tensor(counts).double()
            whole = Whole(counts=counts, size=12, parts=2, sums=sums * numbers / 6, weights=numbers)
            for here in (3, last):
                layer.zero_grad()
                present = engine.begin([6, 6, 6 * (here == 3)], 6, whole)
                views = engine.split(layer(inputs), present)
                losses = [(views[t] - y).square().mean(1).sum() for t, y in zip(TASKS, targets)]
                losses[here:] = [0.0 * loss if is_read else 0.0 * loss.detach() for loss in losses[here:]]
                weights = torch.tensor([6.0 * (k < here) for k in range(3)]).double()
                engine.combine(torch.stack(losses), weights, present).backward()
        found.append((layer.weight.grad.clone(), engine.report()["norms"]))
    assert set(found[0][1]) == set(found[1][1]) == {"a", "b"}
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-9, atol=0.0)
    assert float(found[0][0].norm()) > 0.1


def test_a_factor_goes_with_its_own_backward_pass():
    """One total, then something else of the same graph: nothing of the first factor is left."""
    torch.manual_seed(0)
    layer, inputs = nn.Linear(4, 5).double(), torch.randn(6, 4).double()
    engine = Engine(NashMTL(), TASKS)
    views = engine.split(layer(inputs))
    losses = {t: (views[t] - k).square().mean() for k, t in enumerate(TASKS)}
    (1024 * engine.total(losses)).backward(retain_graph=True)
    first = layer.weight.grad / 1024
    layer.zero_grad()
    sum(losses.values()).backward()
    torch.testing.assert_close(layer.weight.grad, first, rtol=1e-9, atol=0.0)


def test_a_factor_whose_square_is_beyond_float32():
    grads = []
    for factor in (1.0, 2.0**70):
        torch.manual_seed(0)
        layer, inputs = nn.Linear(4, 5), torch.randn(6, 4)
        engine = Engine(NashMTL(), TASKS)
        views = engine.split(layer(inputs))
        losses = {t: 1e-10 * (views[t] - k).square().mean() for k, t in enumerate(TASKS)}
        (factor * engine.total(losses)).backward()
        grads.append(layer.weight.grad / factor)
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-4, atol=0.0)
    assert grads[0].any()


def test_gradnorm_learns_alike_from_any_number_of_parts():
    """The same rows in as many parts that are alike, another number in each step."""
    learned = []
    for numbers in ((1, 1, 1, 1, 1, 1), (1, 4, 2, 1, 3, 1)):
        torch.manual_seed(0)
        layer, heads = nn.Linear(4, 5).double(), nn.ModuleList(nn.Linear(5, 1) for _ in TASKS).double()
        inputs, targets = torch.randn(6, 4).double(), torch.tensor([1.0, 5.0, -20.0]).double()
        balancer = GradNorm(rate=0.1)
        engine = Engine(balancer, TASKS, level="features")
        for parts in numbers:
            ones, sums = torch.full((3,), 6.0 * parts).double(), torch.zeros(3).double()
            whole = Whole(counts=[6 * parts] * 3, size=6 * parts, parts=parts, sums=sums, weights=ones)
            for _ in range(parts):
                present = engine.begin([6] * 3, 6, whole)
                views = engine.split(layer(inputs), present)
                parted = [(h(views[t]) - y).square().sum() for t, h, y in zip(TASKS, heads, targets)]
                engine.combine(torch.stack(parted), ones / parts, present).backward()
        learned.append(balancer.learned.values)
    np.testing.assert_allclose(learned[1], learned[0], rtol=1e-9)
    assert abs(learned[0][:, 0] - 1).max() > 0.1
