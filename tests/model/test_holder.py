"""Components are used, or passed by, in one order, whatever rows a process has: divided networks meet by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trunkline.data import Draw
from trunkline.fusion import CATALOG as FUSION
from trunkline.model import Holder, Network, losses_of_experts, outputs_of
from trunkline.schema import Preprocessing, RowBatches
from trunkline.trunks import CATALOG as TRUNKS
from trunkline.trunks import DSelectK
from worlds import schema, world

ROWS = ((0,), (1,), (2,), (3,), (5, 6), tuple(range(30)))
ALONE = ("kind", "price", "loud", "marks")  # that late fusion can join


class Told(Holder):
    """Writes down whose turn it is."""

    def __init__(self, network: Network) -> None:
        self.names = {id(module): name for name, module in network.named_modules()}
        self.log: list[str] = []
        self.within: list[nn.Module] = []

    def use(self, component: nn.Module, call: Callable[[], Any]) -> Any:
        if all(other is not component for other in self.within):
            self.log.append(self.names[id(component)])
        self.within.append(component)
        said = call()
        self.within.pop()
        return said

    def pass_by(self, *components: nn.Module) -> None:
        self.log += [self.names[id(component)] for component in components]


@pytest.mark.parametrize(
    ("trunk", "fusion"),
    [
        *((kind(), "concat") for kind in TRUNKS.values()),
        *((TRUNKS["hard"](), name) for name in FUSION),
        (DSelectK(entropy=0.1), "concat"),
        (DSelectK(entropy=0.1), "late"),
    ],
)
def test_the_order_is_the_same_for_any_rows(tmp_path: Path, trunk: Any, fusion: str) -> None:
    table, is_late = world(tmp_path), FUSION[fusion].is_late
    batches = RowBatches(Preprocessing.fit(schema(ALONE if is_late else None), table, range(len(table))), table)
    torch.manual_seed(0)
    network = Network(batches.preprocessing, FUSION[fusion](), trunk, 16).eval()
    network.in_lots = False
    orders = set()
    for rows in ROWS:
        batch, told = batches[Draw(rows, None)], Told(network)
        network.holder = told
        network.losses(batch, network.share(batch))
        told.log.append("evaluation")
        outputs_of(network, network.share(batch), batch)
        if is_late:
            losses_of_experts(network, batch)
        orders.add(tuple(told.log))
    assert len(orders) == 1 and len(orders.pop()) > 10
