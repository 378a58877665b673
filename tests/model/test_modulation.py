"""Slower learning for the input that is ahead: factors by hand, and whose gradients they reach."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from trunkline import ConfigError, MultiTaskModel
from trunkline.balancers import UPGrad
from trunkline.data import Draw, read_table
from trunkline.engine import Engine
from trunkline.fusion import Late
from trunkline.modalities import Number as NumberInput
from trunkline.modalities import Text
from trunkline.model import Network
from trunkline.model.lots import Lot
from trunkline.model.modulation import factors, modulate
from trunkline.schema import Preprocessing, RowBatches
from trunkline.tasks import Binary, Category, Number
from trunkline.types import Batch

torch.set_num_threads(1)
CELLS: list[dict[str, Any]] = [
    {"note": "red", "size": 1.0, "kind": "a", "loud": True},
    {"note": "blue", "size": -1.0, "kind": "b", "loud": None},
    {"note": "red", "kind": "a", "loud": False},
    {"size": -2.0, "kind": "b", "loud": True},
    {"note": "blue", "size": 0.5, "loud": False},
    {"note": "red", "size": 0.2},
]
ROWS = range(len(CELLS))


def probabilities(*each: list[float]) -> Tensor:
    """`[M, n]` of class a of two → logarithms `[M, 1, n, 2]`, as a head says them."""
    p = torch.tensor(each)
    return torch.stack([p, 1 - p], -1).log().unsqueeze(2)


def test_factors_by_hand() -> None:
    """Scores over the rows that both speak in and that are labelled: .8 · .2 against .5 · .5, as geometric means."""
    head = Category().build([{"classes": ["a", "b"], "prior": [0.5, 0.5]}], 4)
    output = probabilities([0.8, 0.2, 0.9, 0.9], [0.5, 0.5, 0.1, 0.1])
    target = {"values": torch.zeros(4, 1, dtype=torch.long), "flags": torch.tensor([[True], [True], [True], [False]])}
    present = torch.tensor([[True, True, True, True], [True, True, False, True]])
    found = factors(head, output, target, present, 0.3)
    ratio = 0.5 / math.sqrt(0.8 * 0.2)
    torch.testing.assert_close(found, torch.tensor([[1.0, 1 - math.tanh(0.3 * ratio)]]))


def test_against_the_mean_of_several_others_and_nobody_where_one_speaks() -> None:
    head = Category().build([{"classes": ["a", "b"], "prior": [0.5, 0.5]}], 4)
    output = probabilities([0.9], [0.6], [0.2])
    target = {"values": torch.zeros(1, 1, dtype=torch.long), "flags": torch.ones(1, 1, dtype=torch.bool)}
    everyone = torch.ones(3, 1, dtype=torch.bool)
    expected = [1 - math.tanh(0.9 / 0.4), 1 - math.tanh(0.6 / 0.55), 1.0]
    torch.testing.assert_close(factors(head, output, target, everyone, 1.0), torch.tensor([expected]))
    alone = torch.tensor([[True], [False], [False]])
    assert torch.equal(factors(head, output, target, alone, 1.0), torch.ones(1, 3))


def test_noise_is_as_large_as_gradients_vary_and_only_where_they_are() -> None:
    torch.manual_seed(0)
    gradient = torch.randn(1, 2, 4000, 3) * torch.tensor([1.0, 10.0, 0.0]) + 2
    rows = torch.ones(1, 2, 4000, dtype=torch.bool)
    rows[:, 1, :1000] = False
    gradient = gradient * rows.unsqueeze(-1)
    factor, nobody = torch.tensor([[0.5, 1.0]]), torch.zeros(4000, dtype=torch.bool)
    added = modulate(gradient, factor, rows, nobody, torch.randn_like(gradient)) - gradient
    assert not added[:, 1, :1000].any()
    spread = added[rows].std(0)
    torch.testing.assert_close(spread, torch.tensor([1.0, 10.0, 0.0]), rtol=0.05, atol=1e-6)
    changed = modulate(gradient, factor, rows, ~nobody, None)
    torch.testing.assert_close(changed, gradient * torch.tensor([0.5, 1.0]).view(1, 2, 1, 1))


# --- in the network ---


def built(**options: Any) -> tuple[Network, Batch]:
    torch.manual_seed(0)
    model = MultiTaskModel(
        {"note": Text(), "size": NumberInput()},
        {"kind": Category(), "loud": Binary()},
        fusion=Late(**options),
        width=16,
    )
    table = read_table(CELLS)
    batches = RowBatches(Preprocessing.fit(model.schema(), table, ROWS), table)
    network = model.build(batches.preprocessing)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval(), batches[Draw(tuple(ROWS), None)]


def gradients(network: Network, batch: Batch, task: int = 0) -> dict[str, Tensor]:
    """Of what one task's loss sends to everything that learns."""
    torch.manual_seed(1)
    network.zero_grad()
    network.losses(batch, network.share(batch))[0][task].backward()
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def test_the_one_ahead_learns_slower_and_heads_as_before() -> None:
    """With everything learned together, the encoder of one input has the plain gradient, the other's is another."""
    plain, batch = built(alone=0.0)
    slowed, _ = built(alone=0.0, modulation=0.5)
    before, after = gradients(plain, batch), gradients(slowed, batch)
    changed = {name for name in before if not torch.allclose(before[name], after[name], rtol=1e-4, atol=1e-7)}
    assert not any(name.startswith("heads") for name in changed)
    encoders = {name.split(".")[1] for name in changed if name.startswith("encoders")}
    assert len(encoders) == 1
    assert all(after[name].norm() < before[name].norm() for name in changed if name.startswith("encoders"))


def test_each_task_is_slowed_by_its_own_factor_where_several_speak() -> None:
    """Both tasks read the same view here; rows with one input have the plain gradient, rows without a label none."""
    network, batch = built(alone=0.0, modulation=0.5)
    ((tap,),) = (lot.taps for lot in network.share(batch))
    values = tap.values.detach().requires_grad_()
    shared = (Lot((tap.with_values(values),)),)

    def gradient(task: int) -> Tensor:
        (found,) = torch.autograd.grad(network.losses(batch, shared)[0][task], values)
        return found.squeeze(1).unflatten(0, (2, -1))

    slowed = [gradient(task) for task in range(2)]
    network.fusion.modulation = 0.0
    present = batch.present.values.T
    for task, (unit, head) in enumerate(network.units()):
        plain, part = gradient(task), batch.targets[unit.name]
        rows = torch.arange(batch.size) if part.rows is None else part.rows
        output = head.train_output(network.view(unit, shared, part, {}), part.values).detach()
        factor = factors(head, output.unflatten(0, (2, -1)), part.values, present[:, rows], 0.5)
        assert factor.min() < 0.95
        both = present.all(0) & plain.any(-1).any(0)
        torch.testing.assert_close(slowed[task][:, both], plain[:, both] * factor.view(2, 1, 1))
        torch.testing.assert_close(slowed[task][:, ~both], plain[:, ~both])
        assert both.any() and plain[:, ~both].any()


def test_the_joint_expert_is_no_rival_and_is_left_as_it_is() -> None:
    """Rows of it have the plain gradient, and the others are scored against each other alone."""
    network, batch = built(alone=0.0, modulation=0.5, joint=True)
    ((tap,),) = (lot.taps for lot in network.share(batch))
    values = tap.values.detach().requires_grad_()

    def gradient() -> Tensor:
        (found,) = torch.autograd.grad(network.losses(batch, (Lot((tap.with_values(values),)),))[0][0], values)
        return found.squeeze(1).unflatten(0, (3, -1))

    slowed = gradient()
    network.fusion.modulation = 0.0
    plain = gradient()
    torch.testing.assert_close(slowed[2], plain[2])
    assert plain[2].any()
    changed = (slowed[:2] - plain[:2]).abs().amax((1, 2)) > 1e-6
    assert changed.tolist() in ([True, False], [False, True])


def test_noise_reaches_the_inputs_and_a_look_before_draws_the_same() -> None:
    network, batch = built(modulation=0.5, noise=True)
    ((tap,),) = (lot.taps for lot in network.share(batch))
    values = tap.values.detach().requires_grad_()
    found = []
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        loss = network.losses(batch, (Lot((tap.with_values(values),)),))[0][0]
        after = torch.rand(1)
        found.append(torch.autograd.grad(loss, values)[0].squeeze(1).unflatten(0, (2, -1)))
    assert torch.equal(found[0], found[2]) and not torch.allclose(found[0], found[1])
    assert not found[0][:, 4:].any()  # rows without a label
    assert not found[0][0, 3].any() and not found[0][1, 2].any()  # and without the input
    torch.manual_seed(0)
    with torch.no_grad():
        network.losses(batch, network.share(batch))
    assert torch.equal(torch.rand(1), after)


def test_stacked_tasks_have_a_factor_each() -> None:
    """Two numbers in one head that reads one view, whatever the balancer: each task slows its own leader."""
    cells = [("red", 1.0, 3.0), ("blue", -1.0, -3.0), ("red", -2.0, 3.0), ("blue", 2.0, -3.0)]
    table = read_table([{"note": word, "size": size, "a": a, "b": size} for word, size, a in cells])
    inputs, aims = {"note": Text(), "size": NumberInput()}, {"a": Number(), "b": Number()}
    model = MultiTaskModel(inputs, aims, fusion=Late(alone=0.0, modulation=0.5), width=16)
    states = Preprocessing.fit(model.schema(), table, range(4))
    torch.manual_seed(0)
    network = model.build(states).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ((unit, head),) = network.units()
    batch = RowBatches(states, table)[Draw((0, 1, 2, 3), None)]
    target, everyone = batch.targets[unit.name].values, torch.ones(2, 4, dtype=torch.bool)
    truth = target["values"]
    note, size = truth + torch.tensor([0.0, 2.0]), truth + torch.tensor([2.0, 0.0])
    found = factors(head, torch.stack([note, size]).unsqueeze(-1), target, everyone, 0.5)
    assert found[0, 0] < 1 and found[0, 1] == 1
    assert found[1, 0] == 1 and found[1, 1] < 1

    ((tap,),) = (lot.taps for lot in network.share(batch))
    values = tap.values.detach().requires_grad_()

    def gradient(task: int) -> Tensor:
        (grad,) = torch.autograd.grad(network.losses(batch, (Lot((tap.with_values(values),)),))[0][task], values)
        return grad.squeeze(1).unflatten(0, (2, -1))

    slowed = [gradient(0), gradient(1)]
    output = head.train_output(network.view(unit, (Lot((tap,)),), None, {}), target).detach().unflatten(0, (2, -1))
    own = factors(head, output, target, everyone, 0.5)
    network.fusion.modulation = 0.0
    for task in range(2):
        torch.testing.assert_close(slowed[task], gradient(task) * own[task].view(2, 1, 1))
    assert not torch.equal(own[0], own[1])


@pytest.mark.parametrize("noise", [False, True])
def test_every_engine_takes_it(noise: bool) -> None:
    """Weights from gradients, by all levels: also where gradients of all tasks are made at once."""
    for level in ("features", "last", "trunk", "trunk-lean"):
        network, batch = built(modulation=0.5, noise=noise, joint=True)
        shared = list(network.trunk.parameters())
        engine = Engine(
            UPGrad(), network.preprocessing.tasks, level=level, last_shared=network.trunk.last_shared(), shared=shared
        )
        network.training_loss(batch, engine).backward()
        assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_options_that_cannot_be() -> None:
    for options, message in [
        ({"modulation": -1.0}, "fusion.modulation: -1.0 slows nothing down"),
        ({"modulation": math.nan}, "fusion.modulation: nan"),
        ({"noise": True}, "fusion.noise: is added where gradients are modulated"),
    ]:
        with pytest.raises(ConfigError, match=message):
            built(**options)
