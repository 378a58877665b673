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
from trunkline.model.modulation import factors, modulate
from trunkline.schema import Preprocessing, RowBatches
from trunkline.tasks import Binary, Category
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
    found = factors(head, output, target, present, 0.3, 1)
    ratio = 0.5 / math.sqrt(0.8 * 0.2)
    torch.testing.assert_close(found, torch.tensor([[1.0, 1 - math.tanh(0.3 * ratio)]]))


def test_against_the_mean_of_several_others_and_nobody_where_one_speaks() -> None:
    head = Category().build([{"classes": ["a", "b"], "prior": [0.5, 0.5]}], 4)
    output = probabilities([0.9], [0.6], [0.2])
    target = {"values": torch.zeros(1, 1, dtype=torch.long), "flags": torch.ones(1, 1, dtype=torch.bool)}
    everyone = torch.ones(3, 1, dtype=torch.bool)
    expected = [1 - math.tanh(0.9 / 0.4), 1 - math.tanh(0.6 / 0.55), 1.0]
    torch.testing.assert_close(factors(head, output, target, everyone, 1.0, 1), torch.tensor([expected]))
    alone = torch.tensor([[True], [False], [False]])
    assert torch.equal(factors(head, output, target, alone, 1.0, 1), torch.ones(1, 3))


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
    (tap,) = network.share(batch)
    values = tap.values.detach().requires_grad_()
    taps = (tap.with_values(values),)

    def gradient(task: int) -> Tensor:
        (found,) = torch.autograd.grad(network.losses(batch, taps)[0][task], values)
        return found.squeeze(1).unflatten(0, (2, -1))

    slowed = [gradient(task) for task in range(2)]
    network.fusion.modulation = 0.0
    present = batch.present.values.T
    for task, (unit, head) in enumerate(network.units()):
        plain, part = gradient(task), batch.targets[unit.name]
        rows = torch.arange(batch.size) if part.rows is None else part.rows
        output = head.train_output(network.view(unit, taps, part.rows, {}), part.values).detach()
        factor = factors(head, output.unflatten(0, (2, -1)), part.values, present[:, rows], 0.5, 1)
        assert factor.min() < 0.95
        both = present.all(0) & plain.any(-1).any(0)
        torch.testing.assert_close(slowed[task][:, both], plain[:, both] * factor.view(2, 1, 1))
        torch.testing.assert_close(slowed[task][:, ~both], plain[:, ~both])
        assert both.any() and plain[:, ~both].any()


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
