"""Layers that trunks and fusions are made of, against those of PyTorch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trunkline.layers import CrossAttention, ResidualMLP, SelfAttention

torch.set_num_threads(1)
MASK = torch.tensor([[True, True, False, True, True], [True, False, False, False, False]])


def reference(query_key_value: list[torch.Tensor], bias: list[torch.Tensor], out: nn.Linear) -> nn.MultiheadAttention:
    attention = nn.MultiheadAttention(8, 2, batch_first=True).double()
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.cat(query_key_value)), attention.in_proj_bias.copy_(torch.cat(bias))
        attention.out_proj.weight.copy_(out.weight), attention.out_proj.bias.copy_(out.bias)
    return attention


def test_self_attention_is_that_of_pytorch() -> None:
    torch.manual_seed(0)
    ours, x = SelfAttention(8, heads=2, dropout=0.0).double(), torch.randn(2, 5, 8, dtype=torch.float64)
    theirs = reference([ours.query_key_value.weight], [ours.query_key_value.bias], ours.out)
    seen = ours.norm(x)
    expected = x + theirs(seen, seen, seen, key_padding_mask=~MASK, need_weights=False)[0]
    torch.testing.assert_close(ours(x, MASK), expected, atol=1e-12, rtol=0)


def test_cross_attention_is_that_of_pytorch() -> None:
    torch.manual_seed(0)
    ours = CrossAttention(8, heads=2, dropout=0.0).double()
    x, context = torch.randn(2, 3, 8, dtype=torch.float64), torch.randn(2, 5, 8, dtype=torch.float64)
    nn.init.normal_(ours.context_norm.weight), nn.init.normal_(ours.norm.bias)  # or the two norms would be one
    theirs = reference([ours.query.weight, ours.key_value.weight], [ours.query.bias, ours.key_value.bias], ours.out)
    seen = ours.context_norm(context)
    expected = x + theirs(ours.norm(x), seen, seen, key_padding_mask=~MASK, need_weights=False)[0]
    torch.testing.assert_close(ours(x, context, MASK), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("expansion", [0.5, 3.0])
def test_residual_mlp(expansion: float) -> None:
    torch.manual_seed(0)
    layer, x = ResidualMLP(4, expansion=expansion, dropout=0.0).double(), torch.randn(2, 3, 4, dtype=torch.float64)
    hidden = nn.functional.gelu(layer.norm(x) @ layer.inner.weight.T + layer.inner.bias)
    assert hidden.shape[-1] == round(4 * expansion)
    torch.testing.assert_close(layer(x), x + hidden @ layer.outer.weight.T + layer.outer.bias, atol=1e-12, rtol=0)
