"""What every modality keeps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from trunkline.modalities import Modality
from trunkline.modalities.contract import MOSAIC
from trunkline.testing.shared import (
    WIDTH,
    assert_equal,
    assert_same_row,
    check_constructor,
    check_pyramid,
    check_tokens,
)
from trunkline.types import State, Tokens


def check_modality(modality: Modality, cells: Sequence[Any], *, tolerance: float = 1e-5) -> None:
    """Reading, states, encoding.

    States are plain JSON and survive it; `fit` and `prepare` change nothing; tokens have the width asked for, a mask
    and spans that cover them; a row's tokens depend neither on the rows beside it nor on padding. A pyramid keeps the
    same, and has its finest grid first. What training draws follows from its generator; a mosaic says where each of its
    rows lies; rows are mixed by their shares.

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
    _check_training(modality, state, values)
    torch.manual_seed(0)
    _check_encoder(modality, modality.build(state, WIDTH).eval(), items, tolerance)
    if modality.gives_pyramid:
        encoder = modality.build_pyramid(state, WIDTH).eval()
        check_pyramid(_check_encoder(modality, encoder, items, tolerance))


def _check_training(modality: Modality, state: State, values: Sequence[Any]) -> None:
    """What is drawn, put together and mixed, as far as this kind does."""
    kept = [modality.shrink(value, state) for value in values]
    if modality.is_random:
        first, again = ([modality.prepare(one, state, np.random.default_rng(7))[0] for one in kept] for _ in range(2))
        assert_equal(modality.collate(first), modality.collate(again), "a draw follows from its generator")
    if type(modality).prepare_mosaic is not Modality.prepare_mosaic:
        four = [kept[row % len(kept)] for row in range(MOSAIC)]
        made = [modality.prepare_mosaic(four, state, np.random.default_rng(7)) for _ in range(2)]
        assert made[0][1] == made[1][1], "a mosaic follows from its generator"
        context = made[0][1]
        assert len(context.tiles) == len(context.places) == MOSAIC, "each row of a mosaic has its place"
        for (top, left), tile in zip(context.places, context.tiles):
            assert top + tile.size[0] <= context.size[0] and left + tile.size[1] <= context.size[1], "a tile sticks out"
        beside = modality.prepare(kept[0], state, np.random.default_rng(7))[0]
        assert_equal(modality.collate([made[0][0], beside]), modality.collate([made[1][0], beside]), "the same mosaic")
    if type(modality).mix is not Modality.mix:
        plain = modality.collate([modality.prepare(value, state, None)[0] for value in values])
        rows = torch.arange(len(values))
        own, order = modality.mix(plain, rows, 0.5), rows.roll(1)
        others = {name: value[order] for name, value in own.items()}
        assert_equal(modality.mix(plain, order, 1.0), own, "with a share of 1 rows are their own")
        assert_equal(modality.mix(plain, order, 0.0), others, "with a share of 0 rows are their partners")


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
