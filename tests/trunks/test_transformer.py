"""The Transformer trunk: what attends to what, and how long spans are made short."""

from __future__ import annotations

import pytest
import torch

from trunkline import ConfigError
from trunkline.pooling import pooling_for
from trunkline.testing import check_trunk
from trunkline.trunks import Transformer
from trunkline.types import Span, Tokens

torch.set_num_threads(1)
WIDTH = 8


def part(name: str | None, length: int, axis: str, shape: tuple[int, ...], rows: int = 2) -> Tokens:
    mask = torch.ones(rows, length, dtype=torch.bool)
    return Tokens(torch.randn(rows, length, WIDTH).double(), mask, (Span(name, 0, length, axis, shape),))  # type: ignore[arg-type]


def build(**options: int) -> torch.nn.Module:
    torch.manual_seed(0)
    return Transformer(**options).build(["a"], WIDTH).double().eval()


def share(module: torch.nn.Module, tokens: Tokens) -> torch.Tensor:
    return module.share(tokens)[0].values


def test_the_contract_holds_with_pooling() -> None:
    check_trunk(Transformer(max_tokens=16))


def test_one_layer_is_pre_norm_attention_and_mlp() -> None:
    """Against torch's own layer with the same weights."""
    module = build(layers=1, heads=2)
    attention, mlp = module.attention[0], module.mlps[0]
    theirs = torch.nn.TransformerEncoderLayer(
        WIDTH, 2, mlp.num_hidden, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    ).double()
    pairs = {
        theirs.self_attn.in_proj_weight: attention.query_key_value.weight,
        theirs.self_attn.in_proj_bias: attention.query_key_value.bias,
        theirs.self_attn.out_proj.weight: attention.out.weight,
        theirs.self_attn.out_proj.bias: attention.out.bias,
        theirs.linear1.weight: mlp.inner.weight,
        theirs.linear1.bias: mlp.inner.bias,
        theirs.linear2.weight: mlp.outer.weight,
        theirs.linear2.bias: mlp.outer.bias,
    }
    with torch.no_grad():
        for to, of in pairs.items():
            to.copy_(of)
    tokens = part("note", 5, "words", (5,))
    tokens.mask[1, 3:] = False
    expected = theirs(tokens.values, src_key_padding_mask=~tokens.mask)
    torch.testing.assert_close(share(module, tokens)[tokens.mask], expected[tokens.mask], atol=1e-10, rtol=1e-10)


def test_padding_is_not_read_and_comes_out_as_it_went_in() -> None:
    module, tokens = build(), part("note", 6, "words", (6,))
    tokens.mask[0, 4:] = False
    short = Tokens(tokens.values[:1, :4], tokens.mask[:1, :4], (Span("note", 0, 4, "words", (4,)),))
    found = share(module, tokens)
    torch.testing.assert_close(found[0, :4], share(module, short)[0], atol=1e-12, rtol=1e-12)
    assert torch.equal(found[0, 4:], tokens.values[0, 4:])


def test_short_spans_are_not_pooled() -> None:
    tokens = Tokens.cat([part(None, 1, "set", (1,)), part("photo", 16, "grid", (4, 4))])
    assert pooling_for(tokens, 16) is None


def test_grids_are_pooled_over_squares_and_words_over_stretches() -> None:
    """By hand; how many words come together follows from the row alone."""
    row, photo, note = part(None, 1, "set", (1,)), part("photo", 24, "grid", (4, 6)), part("note", 10, "words", (10,))
    note.mask[1, 3:] = False
    tokens = Tokens.cat([row, photo, note])
    pooling = pooling_for(tokens, 6)
    assert pooling is not None
    pooled, mask = pooling.pool(tokens.values, tokens.mask)
    assert pooled.shape == (2, 1 + 6 + 6, WIDTH)
    grid = photo.values.unflatten(1, (4, 6))
    torch.testing.assert_close(pooled[:, 0], row.values[:, 0])
    torch.testing.assert_close(pooled[:, 1], grid[:, :2, :2].mean((1, 2)))
    torch.testing.assert_close(pooled[:, 6], grid[:, 2:, 4:].mean((1, 2)))
    torch.testing.assert_close(pooled[0, 7], note.values[0, :2].mean(0))
    torch.testing.assert_close(pooled[1, 7:10], note.values[1, :3])  # three words need no pooling
    assert mask[0].tolist() == [True] * 12 + [False] and mask[1].tolist() == [True] * 10 + [False] * 3
    spread = pooling.spread(pooled)
    assert torch.equal(spread[:, 1], spread[:, 8])  # the same square
    assert spread.shape == tokens.values.shape


def test_a_long_span_costs_no_more_than_the_limit_and_every_token_is_told() -> None:
    module = build(layers=1, max_tokens=16)
    tokens = Tokens.cat([part(None, 1, "set", (1,)), part("sound", 1000, "time", (1000,))])
    seen: list[int] = []
    module.attention[0].register_forward_hook(lambda m, inputs, output: seen.append(inputs[0].shape[1]))
    before = share(module, tokens)
    assert seen == [17]
    changed = tokens.with_values(tokens.values.clone())
    changed.values[:, 0] += torch.randn(WIDTH).double()
    assert bool((share(module, changed)[:, 1:] != before[:, 1:]).any(-1).all())


def test_options_that_cannot_work() -> None:
    for options, match in [
        ({"layers": 0}, "trunk.layers: 0"),
        ({"heads": 3}, "trunk.heads: 3 does not divide the width 8"),
        ({"max_tokens": 4}, "trunk.max_tokens: 4 is too few"),
    ]:
        with pytest.raises(ConfigError, match=match):
            Transformer(**options).build(["a"], WIDTH)
