"""Mean and gates over the inputs that are present: their equations, and that an absent input has no say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from trunkline.fusion import CATALOG, Fusion
from trunkline.types import Tokens

torch.set_num_threads(1)
NAMES = ("a", "b", "c")


def build(name: str, names: tuple[str, ...] = NAMES) -> Any:
    torch.manual_seed(0)
    fusion: Fusion = CATALOG[name]()
    module = fusion.build(names, [], 6).double().eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module


def fuse(module: Any, vectors: dict[str, Tensor], present: dict[str, list[bool]]) -> Tensor:
    tokens = {name: Tokens.of_rows(v, name) for name, v in vectors.items()}
    return module(tokens, {name: torch.tensor(p) for name, p in present.items()}).row()


@pytest.fixture
def vectors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(4, 6, dtype=torch.float64, generator=generator) for name in NAMES}


PRESENT = {"a": [True, True, False, True], "b": [True, False, True, False], "c": [True, True, False, False]}


def test_mean_by_hand(vectors: dict[str, Tensor]) -> None:
    module = build("mean")
    mapped = [m(n(vectors[k])) for k, m, n in zip(NAMES, module.vectors.maps, module.vectors.norms)]
    expected = torch.stack(
        [
            (mapped[0][0] + mapped[1][0] + mapped[2][0]) / 3,
            (mapped[0][1] + mapped[2][1]) / 2,
            mapped[1][2],
            mapped[0][3],
        ]
    )
    torch.testing.assert_close(fuse(module, vectors, PRESENT), torch.nn.functional.gelu(expected))


def test_two_inputs_are_the_papers_gated_unit(vectors: dict[str, Tensor]) -> None:
    """`h = z ⊙ tanh(W₁x₁) + (1 − z) ⊙ tanh(W₂x₂)`, `z = σ(W_z [x₁, x₂])`, with `W_z` the difference of the gates'."""
    module = build("gated", ("a", "b"))
    a, b = (norm(vectors[name]) for name, norm in zip("ab", module.vectors.norms))
    first, second = module.gate.weight.chunk(2)
    z = torch.sigmoid(torch.cat([a, b], 1) @ (first - second).T)
    expected = z * torch.tanh(module.vectors.maps[0](a)) + (1 - z) * torch.tanh(module.vectors.maps[1](b))
    both = {"a": [True] * 4, "b": [True] * 4}
    torch.testing.assert_close(fuse(module, {n: vectors[n] for n in "ab"}, both), expected)


def test_one_input_alone_passes_its_gate_whole(vectors: dict[str, Tensor]) -> None:
    module = build("gated")
    alone = torch.tanh(module.vectors.maps[1](module.vectors.norms[1](vectors["b"])))
    torch.testing.assert_close(fuse(module, vectors, PRESENT)[2], alone[2])
