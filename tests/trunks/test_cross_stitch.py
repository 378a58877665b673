"""Cross-stitch networks against eq. 1 of Misra et al. (2016), written as loops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from trunkline import ConfigError
from trunkline.testing import check_trunk
from trunkline.trunks import CrossStitch
from trunkline.types import Span, Tokens

torch.set_num_threads(1)
TASKS = ("a", "b", "c")


def build(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    return CrossStitch(**options).build(TASKS, 6).double().eval()


def tokens() -> Tokens:
    return Tokens(torch.randn(4, 2, 6).double(), torch.ones(4, 2, dtype=torch.bool), (Span("x", 0, 2, "words", (2,)),))


@pytest.mark.parametrize("stitch", ["channel", "layer"])
def test_columns_are_mixed_behind_every_layer(stitch: str) -> None:
    """`x̃ₖ = Σⱼ αₖⱼ xⱼ`, feature by feature where each has an `α` of its own."""
    module, given = build(layers=3, stitch=stitch), tokens()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    taps = module.share(given)
    columns = [given.values] * 3
    for depth in range(3):
        said = [module.layers[depth][k](columns[k]) for k in range(3)]
        alpha = module.inner[depth] if depth < 2 else torch.stack(list(module.last))
        columns = [torch.zeros_like(x) for x in said]
        for k in range(3):
            for j in range(3):
                for feature in range(6):
                    channel = feature if stitch == "channel" else 0
                    columns[k][..., feature] += alpha[k, j, channel] * said[j][..., feature]
    for k, task in enumerate(TASKS):
        torch.testing.assert_close(module.view(task, taps).values, columns[k], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("stitch", ["channel", "layer"])
def test_the_contract_holds(layers: int, stitch: Any) -> None:
    check_trunk(CrossStitch(layers=layers, stitch=stitch))


def test_it_starts_near_the_identity_as_a_weighted_mean() -> None:
    module = build(same=0.8)
    for alpha in (module.inner[0], torch.stack(list(module.last))):
        assert torch.allclose(alpha.sum(1), torch.ones(3, 6).double())
        assert torch.allclose(alpha.diagonal(), torch.full((6, 3), 0.8).double())
        assert torch.allclose(alpha[0, 1], torch.full((6,), 0.1).double())


def test_of_one_task_it_is_a_column() -> None:
    module = CrossStitch().build(["a"], 6).eval()
    x = torch.randn(3, 6)
    expected = module.layers[1][0](module.layers[0][0](x))
    torch.testing.assert_close(module.view("a", module.share(Tokens.of_rows(x))).row(), expected)


def test_options_that_cannot_work() -> None:
    for options, match in [
        ({"layers": 0}, "trunk.layers: 0"),
        ({"stitch": "row"}, "trunk.stitch: 'row' is neither 'channel' nor 'layer'"),
        ({"same": 0.0}, "trunk.same: 0.0"),
        ({"same": 1.5}, "trunk.same: 1.5"),
    ]:
        with pytest.raises(ConfigError, match=match):
            CrossStitch(**options).build(["a", "b"], 8)
