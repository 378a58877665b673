"""Latents that tasks share: who reads whom."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from trunkline import ConfigError
from trunkline.testing import check_trunk
from trunkline.trunks import Latents
from trunkline.types import Span, Tokens

torch.set_num_threads(1)


def build(**options: Any) -> Any:
    torch.manual_seed(0)
    return Latents(**options).build(["a", "b"], 8).double().eval()


def tokens(words: int = 4) -> Tokens:
    torch.manual_seed(1)
    spans = (Span(None, 0, 1, "set", (1,)), Span("note", 1, 1 + words, "words", (words,)))
    mask = torch.ones(2, 1 + words, dtype=torch.bool)
    return Tokens(torch.randn(2, 1 + words, 8, dtype=torch.float64), mask, spans)


def views(module: Any, given: Tokens) -> dict[str, Tensor]:
    taps = module.share(given)
    return {task: module.view(task, taps).values for task in ("a", "b")}


@pytest.mark.parametrize("layers", [0, 2])
def test_the_contract_holds(layers: int) -> None:
    check_trunk(Latents(latents=3, layers=layers))


def test_latents_read_a_set() -> None:
    """In another order the words say the same of the row, and each word hears the same."""
    module, given, order = build(), tokens(), torch.tensor([0, 3, 1, 4, 2])
    for task, found in views(module, given).items():
        turned = views(module, given.with_values(given.values[:, order]))[task]
        torch.testing.assert_close(turned, found[:, order])


def test_a_token_hears_of_others_through_the_latents_alone() -> None:
    module, given = build(latents=1, layers=0), tokens()
    with torch.no_grad():
        module.latents.encode.out.weight.zero_()  # the latent reads nothing
    other = given.with_values(torch.cat([given.values[:, :2], torch.randn(2, 3, 8, dtype=torch.float64)], 1))
    for task, found in views(module, given).items():
        assert torch.equal(views(module, other)[task][:, :2], found[:, :2])
    module = build(latents=1, layers=0)
    assert not torch.allclose(views(module, other)["a"][:, 0], views(module, given)["a"][:, 0])


def test_padding_is_not_read() -> None:
    module, given = build(), tokens()
    given.mask[1, 3:] = False
    hidden = given.with_values(torch.where(given.mask.unsqueeze(2), given.values, given.values + 7.0))
    for task, found in views(module, given).items():
        assert torch.equal(views(module, hidden)[task][given.mask], found[given.mask])


def test_tasks_differ_by_what_is_their_own() -> None:
    module, given = build(), tokens()
    found = views(module, given)
    assert not torch.allclose(found["a"], found["b"])
    module.readings[1].load_state_dict(module.readings[0].state_dict())
    found = views(module, given)
    assert torch.equal(found["a"], found["b"])


def test_a_task_asks_for_the_row_by_its_own_query() -> None:
    module, given = build(), tokens()
    before = views(module, given)
    with torch.no_grad():
        module.readings[0].query += 1.0
    after = views(module, given)
    assert not torch.allclose(after["a"][:, 0], before["a"][:, 0])
    assert torch.equal(after["a"][:, 1:], before["a"][:, 1:]) and torch.equal(after["b"], before["b"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latents": 0}, "trunk.latents: 0 leaves nothing to share"),
        ({"layers": -1}, "trunk.layers: -1 is no number of layers"),
        ({"heads": 3}, "trunk.heads: 3 does not divide the width 8"),
    ],
)
def test_what_cannot_be_is_said(options: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**options)
