"""Layers in which tokens look at each other: what they know of their order."""

from __future__ import annotations

import pytest
import torch

from trunkline.modalities.attention import TransformerLayer
from trunkline.positions import rotated


@pytest.mark.parametrize("size", [6, 7, 1])
def test_products_follow_from_how_far_apart_they_are(size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(size, generator=generator).expand(1, 1, 12, size) for _ in range(2))
    products = rotated(query)[0, 0] @ rotated(key)[0, 0].T  # [12, 12]
    for apart in range(-11, 12):
        along = products.diagonal(apart)
        torch.testing.assert_close(along, along[:1].expand_as(along), atol=1e-4, rtol=0)
    assert size == 1 or float((products[0, 0] - products[0, 1]).abs()) > 1e-3
    torch.testing.assert_close(rotated(query).norm(dim=-1), query.norm(dim=-1))
    torch.testing.assert_close(rotated(query)[0, 0, 0], query[0, 0, 0])


def test_pairs_are_turned_by_their_own_rate() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]] * 3).view(1, 1, 3, 4)
    angle = torch.tensor([2.0, 2.0 * 0.01])  # at place 2
    a, b = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    expected = torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()])
    torch.testing.assert_close(rotated(x)[0, 0, 2], expected)


def test_a_layer_in_order_knows_it_and_sees_no_padding() -> None:
    torch.manual_seed(0)
    x, mask = torch.randn(1, 5, 8), torch.ones(1, 5, dtype=torch.bool)
    ordered, plain = (TransformerLayer(8, 2, 0.0, ordered=one).eval() for one in (True, False))
    turned = torch.tensor([4, 3, 2, 1, 0])
    torch.testing.assert_close(plain(x[:, turned], mask)[:, turned], plain(x, mask))
    assert not torch.allclose(ordered(x[:, turned], mask)[:, turned], ordered(x, mask), atol=1e-3)
    longer = torch.cat([x, torch.full((1, 3, 8), 9.0)], 1)
    seen = torch.cat([mask, torch.zeros(1, 3, dtype=torch.bool)], 1)
    torch.testing.assert_close(ordered(longer, seen)[:, :5], ordered(x, mask))
