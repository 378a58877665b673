"""Inputs that stay apart and hear of each other (bottleneck, co-attention, modulation); latents that read them all."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trunkline import ConfigError
from trunkline.fusion import Bottleneck, CoAttention, Fusion, Mean, Modulated, Perceiver
from trunkline.fusion.streams import Stream
from trunkline.pooling import pooling_for
from trunkline.testing import check_fusion
from trunkline.types import Span, Tokens

torch.set_num_threads(1)
HERE = {"a": torch.ones(2, dtype=torch.bool), "b": torch.ones(2, dtype=torch.bool)}


def words(name: str, length: int) -> Tokens:
    mask = torch.ones(2, length, dtype=torch.bool)
    span = Span(name, 0, length, "words", (length,))
    return Tokens(torch.randn(2, length, 8, dtype=torch.float64), mask, (span,))


def build(fusion: Fusion, keep: tuple[str, ...] = ("a",)) -> Any:
    torch.manual_seed(0)
    return fusion.build(["a", "b"], keep, 8).double().eval()


def exchanged(module: Any, a: Tokens, b: Tokens) -> list[Tensor]:
    return module.exchange([Stream.of(a, None), Stream.of(b, None)], torch.ones(2, 2, dtype=torch.bool))


@pytest.mark.parametrize("fusion", [Bottleneck(max_tokens=16), CoAttention(max_tokens=16), Perceiver(layers=0)])
def test_the_contract_holds_with_other_options(fusion: Fusion) -> None:
    check_fusion(fusion)


def test_inputs_meet_in_the_bottleneck_alone() -> None:
    """They hear each other, and only what the few tokens say."""
    torch.manual_seed(1)
    a, b, other = words("a", 3), words("b", 4), words("b", 4)
    module = build(Bottleneck(tokens=2, layers=2))
    assert not torch.allclose(exchanged(module, a, b)[0], exchanged(module, a, other)[0])
    with torch.no_grad():  # input b's layers may write nothing but zeros into the shared tokens, whatever it reads
        module = build(Bottleneck(tokens=2, layers=2))
        next(iter(module.exchange.layers))[1][0].out.weight.zero_()
        next(iter(module.exchange.layers))[1][1].outer.weight.zero_()
    assert torch.equal(exchanged(module, a, b)[0], exchanged(module, a, other)[0])


def test_bottleneck_by_hand() -> None:
    torch.manual_seed(1)
    module, a, b = build(Bottleneck(tokens=2, layers=2)), words("a", 3), words("b", 4)
    layers = module.exchange
    shared, x, y = layers.shared.expand(2, -1, -1), a.values, b.values
    for layer in layers.layers:
        first, second = (
            mlp(attend(torch.cat([v, shared], 1), torch.ones(2, v.shape[1] + 2, dtype=torch.bool)))
            for (attend, mlp), v in zip(layer, (x, y))
        )
        x, y, shared = first[:, :3], second[:, :4], (first[:, 3:] + second[:, 4:]) / 2
    for found, expected in zip(exchanged(module, a, b), (x, y)):
        torch.testing.assert_close(found, expected)


def test_co_attention_asks_a_set() -> None:
    """In whatever order the others' tokens stand, and not itself."""
    torch.manual_seed(1)
    module, a, b = build(CoAttention(layers=1)), words("a", 3), words("b", 4)
    before = exchanged(module, a, b)[0]
    turned = b.with_values(b.values[:, torch.tensor([2, 0, 3, 1])])
    torch.testing.assert_close(exchanged(module, a, turned)[0], before)
    changed = a.with_values(a.values.clone())
    changed.values[:, 0] += 1.0
    assert torch.equal(exchanged(module, changed, b)[0][:, 1:], before[:, 1:])


def test_modulation_begins_as_the_mean_and_scales_each_feature() -> None:
    torch.manual_seed(1)
    module, a, b = build(Modulated()), words("a", 3), words("b", 4)
    mean = build(Mean())
    mean.load_state_dict({k: v for k, v in module.state_dict().items() if not k.startswith("exchange")})
    torch.testing.assert_close(module({"a": a, "b": b}, HERE).values, mean({"a": a, "b": b}, HERE).values)
    generator = module.exchange.generators[0]
    for parameter in generator.parameters():
        nn.init.normal_(parameter)
    gamma, beta = generator(module.exchange.norms[1](b.values).mean(1)).chunk(2, -1)
    expected = (1 + gamma[:, None]) * a.values + beta[:, None]
    torch.testing.assert_close(exchanged(module, a, b)[0], expected)


def test_long_spans_are_averaged_and_every_token_hears() -> None:
    torch.manual_seed(1)
    module, a, b = build(CoAttention(max_tokens=16)), words("a", 40), words("b", 4)
    kept = module({"a": a, "b": b}, HERE).of("a")
    pooling = pooling_for(a, 16)
    assert kept.values.shape == a.values.shape and pooling is not None
    added = kept.values - a.values  # of one slot alike
    assert pooling.slots.unique().tolist() == list(range(14))  # 40 tokens, three in one
    for slot in range(14):
        of_slot = added[0, pooling.slots[0] == slot]
        torch.testing.assert_close(of_slot, of_slot[:1].expand_as(of_slot))
    assert added.abs().min() > 0


@pytest.mark.parametrize("fusion", [Bottleneck(max_tokens=16), CoAttention(max_tokens=16)])
def test_a_long_row_is_the_same_beside_a_longer_one(fusion: Fusion) -> None:
    torch.manual_seed(1)
    module, long, b = build(fusion), words("a", 60), words("b", 4)
    long.mask[0, 20:] = False  # the first row has 20 tokens, the other 60
    together = module({"a": long, "b": b}, HERE)
    short = long.with_values(long.values[:, :20])
    short = Tokens(short.values, long.mask[:, :20], (Span("a", 0, 20, "words", (20,)),))
    first = torch.tensor([0])
    alone = module({"a": short.take(first), "b": b.take(first)}, {name: here[:1] for name, here in HERE.items()})
    torch.testing.assert_close(together.row()[:1], alone.row())
    torch.testing.assert_close(together.of("a").values[:1, :20], alone.of("a").values)


@pytest.mark.parametrize("limit", [None, 16])
def test_padding_stays_as_it_is(limit: int | None) -> None:
    """What attention makes of no token differs from runtime to runtime, and exported answers are compared whole."""
    tokens = words("a", 40)
    tokens.mask[0, 9:], tokens.mask[1] = False, False
    stream = Stream.of(tokens, limit)
    told = stream.told(tokens, torch.randn_like(stream.values))
    assert torch.equal(told.values[~tokens.mask], tokens.values[~tokens.mask])
    assert not torch.isclose(told.values[0, :9], tokens.values[0, :9]).all(1).any()


def test_latents_read_a_set_and_are_asked_token_by_token() -> None:
    torch.manual_seed(1)
    module, a, b = build(Perceiver()), words("a", 3), words("b", 4)
    order = torch.tensor([2, 0, 1])
    fused, turned = module({"a": a, "b": b}, HERE), module({"a": a.with_values(a.values[:, order]), "b": b}, HERE)
    torch.testing.assert_close(turned.row(), fused.row())
    torch.testing.assert_close(turned.of("a").values, fused.of("a").values[:, order])
    swapped = {"a": a.with_values(b.values[:, :3]), "b": b.with_values(torch.cat([a.values, b.values[:, 3:]], 1))}
    assert not torch.allclose(module(swapped, HERE).row(), fused.row())  # whose a token is matters
    other = module({"a": a, "b": words("b", 4)}, HERE)
    assert not torch.allclose(other.of("a").values, fused.of("a").values)  # it has heard of the other input


@pytest.mark.parametrize(
    ("fusion", "message"),
    [
        (Bottleneck(tokens=0), "fusion.tokens: 0 is too few; give 1 or more"),
        (Bottleneck(layers=1), "fusion.layers: 1 is too few; give 2 or more"),
        (CoAttention(heads=3), "fusion.heads: 3 does not divide the width 8"),
        (CoAttention(max_tokens=8), "fusion.max_tokens: 8 is too few; give 16 or more"),
        (Perceiver(latents=0), "fusion.latents: 0 is too few"),
    ],
)
def test_what_cannot_be_is_said(fusion: Fusion, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fusion.build(["a", "b"], [], 8)
