"""What every modality keeps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from trunkline.modalities import Modality
from trunkline.testing.shared import WIDTH, assert_same_row, check_constructor, check_pyramid, check_tokens
from trunkline.types import State, Tokens


def check_modality(modality: Modality, cells: Sequence[Any], *, tolerance: float = 1e-5) -> None:
    """Reading, states, encoding.

    States are plain JSON and survive it; `fit` and `prepare` change nothing; tokens have the width asked for, a mask
    and spans that cover them; a row's tokens depend neither on the rows beside it nor on padding. A pyramid keeps the
    same, and has its finest grid first.

    Args:
        modality: to be checked.
        cells: at least three different, valid cells, the first of which is the shortest where length differs.
        tolerance: on tokens, absolute.
    """
    check_constructor(modality)
    values = [modality.read(cell) for cell in cells]
    before = repr(vars(modality))
    state = modality.fit(iter(values))
    assert json.loads(json.dumps(state)) == state, "the state is not plain JSON"
    items = [modality.prepare(value, state, None)[0] for value in values]
    assert repr(vars(modality)) == before, "`fit` or `prepare` changed the modality"
    if modality.block is not None:
        _check_block(modality, state, items, tolerance)
        return
    torch.manual_seed(0)
    _check_encoder(modality, modality.build(state, WIDTH).eval(), items, tolerance)
    if modality.gives_pyramid:
        encoder = modality.build_pyramid(state, WIDTH).eval()
        check_pyramid(_check_encoder(modality, encoder, items, tolerance))


def _check_encoder(modality: Modality, encoder: nn.Module, items: Sequence[Any], tolerance: float) -> Tokens:
    together: Tokens = encoder(modality.collate(items))
    check_tokens(together, len(items))
    for i, item in enumerate(items):
        alone = encoder(modality.collate([item]))
        assert_same_row(together, i, alone, 0, tolerance)
    backwards = encoder(modality.collate(items[::-1]))
    for i in range(len(items)):
        assert_same_row(together, i, backwards, len(items) - 1 - i, tolerance)
    together.values.sum().backward()
    assert any(p.grad is not None for p in encoder.parameters()), "no gradient reaches the encoder"
    return together


def _check_block(modality: Modality, state: State, items: Sequence[Any], tolerance: float) -> None:
    assert modality.block is not None
    torch.manual_seed(0)
    inputs = {name: (modality, state) for name in ("a", "b")}
    block = modality.block(inputs, WIDTH).eval()
    columns = {"a": list(items), "b": [None, *items[1:]]}
    values = modality.block.pack(inputs, columns)
    flags = torch.tensor([[v is not None for v in row] for row in zip(*columns.values())])
    tokens = block(values, flags)
    check_tokens(tokens, len(items))
    garbage = {
        k: torch.where(~flags.all(1, keepdim=True), torch.full_like(v, 10**6), v) if v.shape[1] == 2 else v
        for k, v in values.items()
    }
    for k, v in garbage.items():
        if v.shape[1] == 2:
            v[:, 0] = values[k][:, 0]
    assert torch.equal(block(garbage, flags).values, tokens.values), "what stands behind a False flag is read"
    everywhere = torch.ones_like(flags)
    same = block(values, None).values
    assert torch.allclose(block(values, everywhere).values, same, atol=tolerance), "no flags must mean all present"
