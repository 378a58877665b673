"""What experts answer for: weights by hand, sums with any weights, and looks in a run."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nan

from training.small_runs import config, fit, log, write_small_world
from trunkline import ConfigError, MultiTaskModel, load
from trunkline.config import load_config
from trunkline.data import Draw, read_table
from trunkline.fusion import Concat, Late
from trunkline.modalities import Number as NumberInput
from trunkline.modalities import Text
from trunkline.model import Network, losses_of_experts
from trunkline.model.blending import LEAST, Blending, blended
from trunkline.model.late import losses_apart
from trunkline.plan import make_plan
from trunkline.schema import Preprocessing, RowBatches
from trunkline.sources import columns_of, read_splits
from trunkline.tasks import Binary, Category, Number
from trunkline.types import Batch

torch.set_num_threads(1)


def losses(training: list[float], validation: list[float]) -> Tensor:
    """Of one task."""
    return torch.tensor([[training], [validation]])


BEFORE = torch.tensor([[0.5, 0.25, 0.25]])
FIRST = losses([1.0, 1.0, 1.0], [1.1, 1.1, 1.1])


def test_weights_by_hand() -> None:
    """What carries over, by the square of what does not: G = .5, .4, .1 and O = .2, .1, .5."""
    now = losses([0.3, 0.5, 0.4], [0.6, 0.7, 1.0])
    ratio = torch.tensor([0.5 / 0.2**2, 0.4 / 0.1**2, 0.1 / 0.5**2])
    torch.testing.assert_close(blended(FIRST, now, BEFORE)[0], ratio / ratio.sum())


def test_a_gap_too_small_to_be_measured_is_a_small_one() -> None:
    """An expert that did not overfit, or did the opposite, is not all that counts; one that learned nothing is none."""
    now = losses([0.6, 0.75, 1.0], [0.6, 0.9, 1.2])
    small = LEAST * 0.5
    ratio = torch.tensor([0.5 / small**2, 0.2 / 0.05**2, 0.0])
    torch.testing.assert_close(blended(FIRST, now, BEFORE)[0], ratio / ratio.sum())


def test_where_nothing_is_learned_or_measured_weights_stay() -> None:
    worse = losses([0.9, 0.9, 0.9], [1.1, 1.2, 1.3])
    assert torch.equal(blended(FIRST, worse, BEFORE), BEFORE)
    unseen = losses([0.3, 0.5, 0.4], [0.6, 0.7, nan])
    found = blended(FIRST, unseen, BEFORE)[0]
    ratio = torch.tensor([0.5 / 0.2**2, 0.4 / 0.1**2])
    torch.testing.assert_close(found, torch.tensor([*(0.75 * ratio / ratio.sum()).tolist(), 0.25]))
    infinite = losses([0.3, 0.5, math.inf], [0.6, 0.7, 0.6])
    torch.testing.assert_close(blended(FIRST, infinite, BEFORE)[0], found)
    finite = losses([0.3, 0.5, 0.4], [0.6, 0.7, 0.6])
    torch.testing.assert_close(blended(losses([1, 1, 1], [1.1, 1.1, math.inf]), finite, BEFORE)[0], found)
    nothing = losses([nan, nan, nan], [nan, nan, nan])
    assert torch.equal(blended(FIRST, nothing, BEFORE), BEFORE)


def test_each_task_by_itself_and_since_the_first_look() -> None:
    blending = Blending(["note", "size"], ["kind", "loud"], 0.5)
    assert blending.weights.tolist() == [[0.5, 0.25, 0.25]] * 2
    first = torch.full((2, 2, 3), 1.0)
    blending.see(torch.full((2, 2, 3), math.inf))
    blending.see(first)
    assert blending.weights.tolist() == [[0.5, 0.25, 0.25]] * 2
    now = first.clone()
    now[:, 0] = torch.tensor([[0.5, 0.5, 0.9], [0.6, 0.8, 0.9]])
    for _ in range(2):  # looked at again, nothing has moved
        blending.see(now)
        torch.testing.assert_close(blending.weights[0], blended(first, now, blending.weights)[0])
        assert blending.weights[1].tolist() == [0.5, 0.25, 0.25]
    report = blending.report()
    assert list(report) == ["kind", "loud"] and list(report["kind"]) == ["together", "note", "size"]
    assert math.isclose(sum(report["kind"].values()), 1, rel_tol=1e-6)


# --- in the network ---

CELLS: list[dict[str, Any]] = [
    {"note": "red", "size": 1.0, "kind": "a", "loud": True, "price": 3.0},
    {"note": "blue", "size": -1.0, "kind": "b", "loud": None, "price": 1.0, "cost": 2.0},
    {"note": "red", "kind": "a", "loud": False, "price": 2.0, "cost": 1.0},
    {"size": -2.0, "kind": "b", "loud": True, "cost": -1.0},
    {"note": "blue", "size": 0.5, "loud": False},
    {"note": "red", "size": 0.2},
]


def built(fusion: Any) -> tuple[Network, Batch]:
    torch.manual_seed(0)
    model = MultiTaskModel(
        {"note": Text(), "size": NumberInput()},
        {"kind": Category(), "loud": Binary(), "price": Number(), "cost": Number()},
        fusion=fusion,
        width=16,
    )
    table = read_table(CELLS)
    batches = RowBatches(Preprocessing.fit(model.schema(), table, range(6)), table)
    network = model.build(batches.preprocessing)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval(), batches[Draw(tuple(range(6)), None)]


@pytest.mark.parametrize("joint", [False, True])
def test_it_begins_as_late_does_and_learns_by_its_weights(joint: bool) -> None:
    """Of stacked tasks, too, each by its own."""
    plain, batch = built(Late(alone=0.3, joint=joint))
    network, _ = built(Late(alone=0.3, joint=joint, blending=True))
    for a, b in zip(plain.losses(batch, plain.share(batch)), network.losses(batch, network.share(batch))):
        torch.testing.assert_close(a, b)
    sums, weights = losses_of_experts(network, batch)
    assert network.blending is not None and sums.shape == (4, 3 + joint)
    shares = torch.rand_like(sums)
    network.blending.weights.copy_(shares)
    found = network.losses(batch, network.share(batch))
    torch.testing.assert_close(found[0], (shares * sums).sum(1))
    torch.testing.assert_close(found[1], (shares * weights).sum(1))


def test_an_expert_is_judged_by_the_rows_in_which_it_speaks() -> None:
    network, batch = built(Late(joint=True, blending=True))
    _, weights = losses_of_experts(network, batch)
    assert weights.tolist() == [[4, 3, 3, 2], [4, 3, 3, 2], [3, 3, 2, 2], [3, 2, 2, 1]]  # together, note, size, joint
    (unit, head) = next(iter(network.units()))
    part = batch.targets[unit.name]
    view = network.view(unit, network.share(batch), part, {})
    everyone = torch.ones(3, 4, dtype=torch.bool)
    alone, _ = losses_apart(head, view, part.values, everyone)
    only = part.values["flags"] & torch.tensor([True, True, True, False]).unsqueeze(1)
    expected, _ = head.loss(head.train_output(view[:, :4], part.values), {**part.values, "flags": only})
    torch.testing.assert_close(losses_of_experts(network, batch)[0][0, 1], expected[0])
    assert alone[1] != expected[0]


def test_others_have_no_experts() -> None:
    network, batch = built(Concat())
    assert network.blending is None
    with pytest.raises(TypeError, match="Concat"):
        losses_of_experts(network, batch)
    with pytest.raises(ConfigError, match=r"fusion\.blending: weighs the experts whose gradients `modulation` changes"):
        built(Late(blending=True, modulation=0.3))


# --- in a run ---


def test_a_run_looks_before_its_first_step_and_with_each_validation(tmp_path: Path) -> None:
    write_small_world(tmp_path)
    run = fit(tmp_path, tmp_path / "run", {"fusion": {"type": "late", "blending": True}}, steps=9, lr=1e-2)
    looks = [line["blend"] for line in log(run.folder) if "blend" in line]
    assert len(looks) == 3 and list(looks[0]) == ["kind", "loud", "price", "weight"]
    assert all(math.isclose(sum(own.values()), 1, rel_tol=1e-5) for look in looks for own in look.values())
    begin = [0.5, *[0.5 / 3] * 3]
    assert any(list(own.values()) != pytest.approx(begin) for own in looks[0].values()), "counted from the first step"
    assert looks[0] != looks[2]
    network = load(run.folder).network
    assert network.blending is not None and not network.blending.first.isnan().any()


def test_it_asks_for_validation_rows(tmp_path: Path) -> None:
    sections = {**config(write_small_world(tmp_path)), "fusion": {"type": "late", "blending": True}}
    resolved = load_config(sections, columns=columns_of)
    splits = replace(read_splits(resolved), validation=None)
    with pytest.raises(ConfigError, match=r"fusion\.blending: asks how well what is learned carries over"):
        make_plan(resolved, splits)
