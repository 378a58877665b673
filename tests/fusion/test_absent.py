"""Fusions in which an absent input has no say at all (of the others it says one learned token)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from trunkline.fusion import CATALOG, Fusion
from trunkline.types import Span, Tokens

torch.set_num_threads(1)
SILENT = ["mean", "gated", "low_rank", "tensor", "film", "co_attention", "bottleneck"]
NAMES = ("a", "b", "c")
PRESENT = {"a": [True, True, False, True], "b": [True, False, True, False], "c": [True, True, False, False]}


def build(name: str, keep: tuple[str, ...] = ()) -> Any:
    torch.manual_seed(0)
    fusion: Fusion = CATALOG[name]()
    module = fusion.build(NAMES, keep, 8).double().eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module


def tokens() -> dict[str, Tokens]:
    """Three a row; of an input that is absent the first is the learned token, and the others are none."""
    torch.manual_seed(1)
    found = {}
    for name in NAMES:
        here = torch.tensor(PRESENT[name])[:, None]
        values = torch.randn(4, 3, 8, dtype=torch.float64, requires_grad=True)
        mask = here | (torch.arange(3) == 0)
        found[name] = Tokens(values, mask, (Span(name, 0, 3, "words", (3,)),))
    return found


def flags() -> dict[str, Tensor]:
    return {name: torch.tensor(here) for name, here in PRESENT.items()}


@pytest.mark.parametrize("name", SILENT)
def test_what_stands_in_its_place_is_not_heard(name: str) -> None:
    given = tokens()
    build(name)(given, flags()).row().square().sum().backward()
    for one, held in given.items():
        slope = held.values.grad
        here = torch.tensor(PRESENT[one])
        assert slope is not None and not slope[~here].any()
        assert slope[here].abs().sum((1, 2)).min() > 0  # and who is present is


@pytest.mark.parametrize("name", ["film", "co_attention", "bottleneck"])
def test_nor_by_the_tokens_of_others(name: str) -> None:
    module, given = build(name, keep=("b",)), tokens()
    fused = module(given, flags())
    fused.of("b").values[torch.tensor(PRESENT["b"])].square().sum().backward()  # rows 0 and 2
    slope = given["a"].values.grad
    assert slope is not None and slope[0].any() and not slope[2].any()


@pytest.mark.parametrize("name", [name for name, fusion in CATALOG.items() if not fusion.is_late])
def test_all_others_hear_the_learned_token(name: str) -> None:
    given = tokens()
    build(name)(given, flags()).row().square().sum().backward()
    heard = [bool(held.values.grad[~torch.tensor(PRESENT[one])].any()) for one, held in given.items()]  # type: ignore[index]
    assert any(heard) == (name not in SILENT)
