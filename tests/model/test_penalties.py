"""What a trunk asks of its tasks is a part of their losses, by the rows that they are labelled in."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from trunkline import MultiTaskModel, UPGrad, modalities, tasks
from trunkline.balancers import Equal
from trunkline.data import Draw, read_table
from trunkline.engine import Engine
from trunkline.model import Network
from trunkline.model.lots import Lot
from trunkline.model.penalties import paid, row_weights
from trunkline.schema import Preprocessing, RowBatches
from trunkline.trunks import DSelectK
from trunkline.types import Batch, Flags, Mix, Tokens

torch.set_num_threads(1)
# `less` shares a head with `more`; `never` is labelled outside of the first four rows alone.
ROWS: list[dict[str, Any]] = [
    {"x": 1.0, "more": 1.0, "less": 2.0, "kind": "a"},
    {"x": 2.0, "more": 2.0, "less": None, "kind": "b"},
    {"x": 3.0, "more": None, "less": 1.0, "kind": "a"},
    {"x": 4.0, "more": 3.0, "less": None, "kind": "b"},
    {"x": 5.0, "more": 3.0, "less": 2.5, "kind": "b", "never": "yes"},
    {"x": 6.0, "more": 3.5, "less": 2.0, "kind": "b", "never": "no"},
]


def made(entropy: float) -> tuple[Network, Batch]:
    model = MultiTaskModel(
        {"x": modalities.Number()},
        {"more": tasks.Number(), "less": tasks.Number(), "kind": tasks.Category(), "never": tasks.Binary()},
        trunk=DSelectK(entropy=entropy),
        width=16,
    )
    torch.manual_seed(0)
    states = Preprocessing.fit(model.schema(), read_table(ROWS), range(6))
    return model.build(states).eval(), RowBatches(states, read_table(ROWS))[Draw((0, 1, 2, 3), None)]


def test_a_loss_has_the_mean_over_labelled_rows_in_it() -> None:
    network, batch = made(entropy=0.5)
    free, _ = made(entropy=0.0)
    (lot,) = network.share(batch)
    sums, weights = network.losses(batch, (lot,))
    without, _ = free.losses(batch, free.share(batch))
    labelled = {"more": [0, 1, 3], "less": [0, 2], "kind": [0, 1, 2, 3], "never": []}
    for k, task in enumerate(network.preprocessing.tasks):
        rows = labelled[task]
        mean = network.trunk.penalty(task, lot.taps)[rows].mean() if rows else torch.zeros(())
        assert not rows or mean > 0.3
        torch.testing.assert_close(sums[k] - without[k], weights[k] * mean, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("balancer", "level"), [(Equal, "losses"), (UPGrad, "features")])
def test_it_reaches_the_gates_of_the_tasks_that_are_there(balancer: Any, level: Any) -> None:
    network, batch = made(entropy=0.5)
    free, _ = made(entropy=0.0)
    found: list[list[Tensor | None]] = []
    for one in (network, free):
        one.training_loss(batch, Engine(balancer(), one.preprocessing.tasks, level=level)).backward()
        found.append([gate.z.grad for gate in one.trunk.gates])  # type: ignore[union-attr]
    for task, with_it, without in zip(network.preprocessing.tasks, *found):
        if task == "never":
            assert with_it is None and without is None
        else:
            assert with_it is not None and not torch.allclose(with_it, without)


def test_mixed_rows_pay_for_both_and_of_late_fusion_who_speaks() -> None:
    labelled = torch.tensor([[True], [False], [True]])
    others = torch.tensor([[True], [True], [False]])
    batch = Batch(
        3, {}, Flags((), torch.ones(3, 0)), {}, Flags(("a",), labelled), (2,), mix=Mix(0.75, {}, others)
    )  # fmt: skip
    assert row_weights(batch, "a", None).tolist() == [1.0, 0.25, 0.75]
    speaking = torch.tensor([[True, True, False], [False, True, True]])
    assert row_weights(batch, "a", speaking).tolist() == [1.0, 0.25, 0.0, 0.0, 0.25, 0.75]
    module = DSelectK(entropy=1.0, gating="static").build(["a"], 4)
    taps = module.share(Tokens.of_rows(torch.randn(6, 4)))
    found = paid(module, {"a": (Lot(taps),)}, batch, speaking)
    torch.testing.assert_close(found, module.penalty("a", taps)[:1])
