"""First answers, and what tasks hear of each other's, against the paper's equations."""

from __future__ import annotations

import pytest
import torch

from trunkline import ConfigError, MultiTaskModel
from trunkline.data import Draw, read_table
from trunkline.fusion import Late
from trunkline.modalities import Number as NumberInput
from trunkline.modalities import Text
from trunkline.schema import Preprocessing, RowBatches
from trunkline.tasks import Binary, Number
from trunkline.testing import check_trunk
from trunkline.trunks import PADNet
from trunkline.trunks.padnet import PADNetModule
from trunkline.types import Batch, Tokens

torch.set_num_threads(1)
TASKS = ("a", "b", "c")


def built(**options: float) -> PADNetModule:
    torch.manual_seed(0)
    return PADNet(**options).build(TASKS, 6).double().eval()  # type: ignore[arg-type]


def test_views_are_those_of_the_paper() -> None:
    """`F + Σ σ(W_g F) ⊙ (W_t Fᵗ)`, and first views are the features themselves."""
    module = built(layers=1)
    tokens = Tokens.of_rows(torch.randn(4, 6, dtype=torch.float64))
    taps = module.share(tokens)
    x = module.layers[0](tokens.values)
    features = [feature(x) for feature in module.features]
    for k, task in enumerate(TASKS):
        torch.testing.assert_close(module.first_view(task, taps).values, features[k])
        own = module.distillation[k]
        gate = torch.sigmoid(own.gate(features[k]))
        expected = features[k].clone()
        for message, t in zip(own.messages, [t for t in range(3) if t != k]):  # type: ignore[arg-type]
            expected += gate * message(features[t])
        torch.testing.assert_close(module.view(task, taps).values, expected)


@pytest.mark.parametrize("trunk", [PADNet(), PADNet(layers=0), PADNet(first=0.0)])
def test_the_contract_holds(trunk: PADNet) -> None:
    check_trunk(trunk)


def test_options_that_cannot_work() -> None:
    for trunk, match in [
        (PADNet(layers=-1), "trunk.layers: -1"),
        (PADNet(first=-0.5), "trunk.first: -0.5"),
        (PADNet(first=float("nan")), "trunk.first: nan"),
    ]:
        with pytest.raises(ConfigError, match=match):
            trunk.build(["a"], 8)


# --- in the network ---

CELLS = [
    {"note": "red door", "size": 1.0, "loud": True, "price": 1.0},
    {"note": "blue", "size": -1.0, "loud": None, "price": 2.0},
    {"note": "red", "loud": False, "price": None},
    {"size": -2.0, "loud": True, "price": 0.5},
]


def network(first: float, fusion: Late | None = None) -> tuple[MultiTaskModel, Preprocessing, Batch]:
    options = {} if fusion is None else {"fusion": fusion}
    model = MultiTaskModel(
        {"note": Text(), "size": NumberInput()},
        {"loud": Binary(), "price": Number()},
        trunk=PADNet(first=first),
        width=16,
        **options,  # type: ignore[arg-type]
    )
    table = read_table(CELLS)
    states = Preprocessing.fit(model.schema(), table, range(len(CELLS)))
    return model, states, RowBatches(states, table)[Draw(tuple(range(len(CELLS))), None)]


@pytest.mark.parametrize("fusion", [None, Late()])
def test_first_answers_are_judged_by_the_same_labels(fusion: Late | None) -> None:
    """The loss is linear in the weight of the first answers; their heads learn, and take no part in predictions."""
    found, weighs = {}, {}
    for first in (1e-9, 1.0, 2.0):
        model, states, batch = network(first, fusion)
        torch.manual_seed(0)
        built = model.build(states).eval()
        taps = built.share(batch)
        sums, weights = built.losses(batch, taps)
        found[first], weighs[first] = sums.detach(), weights.tolist()
    torch.testing.assert_close(found[2.0] - found[1.0], found[1.0] - found[1e-9], rtol=1e-4, atol=1e-4)
    assert (found[1.0] > found[1e-9]).all()
    assert weighs[1.0] == weighs[1e-9]
    sums.sum().backward()
    assert len(built.first_heads) == len(built.heads)
    for head in built.first_heads:
        assert any(p.grad is not None and p.grad.any() for p in head.parameters())
    before = {name: said.output.clone() for name, said in built.predict(batch).items()}
    with torch.no_grad():
        for parameter in built.first_heads.parameters():
            parameter.zero_()
    for name, said in built.predict(batch).items():
        assert torch.equal(said.output, before[name])


def test_first_answers_are_made_of_the_features_alone() -> None:
    """What tasks hear of each other is no part of them: without last answers it gets no gradient."""
    model, states, batch = network(1.0)
    torch.manual_seed(0)
    built = model.build(states).eval()
    (lot,) = shared = built.share(batch)
    with_both = built.losses(batch, shared)[0].detach()
    expected = torch.zeros_like(with_both)
    for (unit, head), first in zip(built.units(), built.first_heads):
        part, place = batch.targets[unit.name], states.tasks.index(unit.name)
        rows = part.rows if part.rows is not None else torch.arange(batch.size)
        own = lot.taps[place].values[rows, 0].unsqueeze(0)
        expected[place] = first.loss(first.train_output(own, part.values), part.values)[0]  # type: ignore[operator]
        last = head.train_output(built.view(unit, shared, part, {}), part.values)
        expected[place] += head.loss(last, part.values)[0].squeeze()
    torch.testing.assert_close(with_both, expected)
    copies = dict.fromkeys(states.tasks, shared)
    torch.testing.assert_close(built.losses(batch, copies)[0], with_both)


def test_without_first_answers_there_are_no_heads_for_them() -> None:
    model, states, batch = network(0.0)
    built = model.build(states)
    assert not list(built.first_heads)
    assert torch.isfinite(built.losses(batch, built.share(batch))[0]).all()
