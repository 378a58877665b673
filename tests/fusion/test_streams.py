"""Inputs that stay apart and hear of each other (bottleneck, co-attention, modulation); latents that read them all."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trunkline import ConfigError
from trunkline.fusion import Bottleneck, CoAttention, Fusion, Mean, Modulated, Perceiver
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
    from trunkline.fusion.streams import Stream

    return module.exchange([Stream.of(a, None), Stream.of(b, None)], torch.ones(2, 2, dtype=torch.bool))


@pytest.mark.parametrize("fusion", [Bottleneck(max_tokens=16), CoAttention(max_tokens=16), Perceiver(layers=0)])
def test_the_contract_holds_with_other_options(fusion: Fusion) -> None:
    check_fusion(fusion)


def test_inputs_meet_in_the_bottleneck_alone() -> None:
    """After one layer neither has heard the other; after two they have, and only what the few tokens say."""
    torch.manual_seed(1)
    a, b, other = words("a", 3), words("b", 4), words("b", 4)
    for layers, is_heard in ((1, False), (2, True)):
        module = build(Bottleneck(tokens=2, layers=layers))
        assert torch.equal(exchanged(module, a, b)[0], exchanged(module, a, other)[0]) is not is_heard
    with torch.no_grad():  # input b's layers may write nothing but zeros into the shared tokens, whatever it reads
        module = build(Bottleneck(tokens=2, layers=2))
        module.exchange.attention[0][1].out.weight.zero_()
        module.exchange.mlps[0][1].outer.weight.zero_()
    assert torch.equal(exchanged(module, a, b)[0], exchanged(module, a, other)[0])


def test_bottleneck_by_hand() -> None:
    torch.manual_seed(1)
    module, a, b = build(Bottleneck(tokens=2, layers=2)), words("a", 3), words("b", 4)
    layers = module.exchange
    shared, x, y = layers.shared.expand(2, -1, -1), a.values, b.values
    for attention, mlps in zip(layers.attention, layers.mlps):
        first, second = (
            mlp(attend(torch.cat([v, shared], 1), torch.ones(2, v.shape[1] + 2, dtype=torch.bool)))
            for attend, mlp, v in zip(attention, mlps, (x, y))
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
    for slot in range(pooling.num_slots):
        of_slot = added[:, pooling.slots == slot]
        torch.testing.assert_close(of_slot, of_slot[:, :1].expand_as(of_slot))
    assert added.abs().min() > 0


def test_latents_read_a_set_and_are_asked_token_by_token() -> None:
    torch.manual_seed(1)
    module, a, b = build(Perceiver()), words("a", 3), words("b", 4)
    order = torch.tensor([2, 0, 1])
    fused, turned = module({"a": a, "b": b}, HERE), module({"a": a.with_values(a.values[:, order]), "b": b}, HERE)
    torch.testing.assert_close(turned.row(), fused.row())
    torch.testing.assert_close(turned.of("a").values, fused.of("a").values[:, order])
    other = module({"a": a, "b": words("b", 4)}, HERE)
    assert not torch.allclose(other.of("a").values, fused.of("a").values)  # it has heard of the other input


@pytest.mark.parametrize(
    ("fusion", "message"),
    [
        (Bottleneck(tokens=0, layers=0), "fusion.tokens: 0 is too few; give 1 or more\nfusion.layers: 0 is too few"),
        (CoAttention(heads=3), "fusion.heads: 3 does not divide the width 8"),
        (CoAttention(max_tokens=8), "fusion.max_tokens: 8 is too few; give 16 or more"),
        (Perceiver(latents=0), "fusion.latents: 0 is too few"),
    ],
)
def test_what_cannot_be_is_said(fusion: Fusion, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fusion.build(["a", "b"], [], 8)
