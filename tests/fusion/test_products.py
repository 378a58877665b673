"""Tensor fusion and its low rank: the equations of their papers."""

from __future__ import annotations

import itertools

import pytest
import torch

from trunkline import ConfigError
from trunkline.fusion import LowRank, TensorFusion
from trunkline.fusion.low_rank import low_rank_product
from trunkline.fusion.tensor import outer_product

torch.set_num_threads(1)


def extended(x: torch.Tensor) -> torch.Tensor:
    """`[x; 1]`."""
    return torch.cat([x, torch.ones_like(x[..., :1])], -1)


def test_the_outer_product_has_every_product() -> None:
    a, b, c = torch.randn(3, 5, 2, dtype=torch.float64).unbind()
    expected = torch.einsum("bi,bj,bk->bijk", *map(extended, (a, b, c)))
    torch.testing.assert_close(outer_product([a, b, c]).unflatten(1, (3, 3, 3)), expected)
    torch.testing.assert_close(outer_product([a, b]).unflatten(1, (3, 3))[:, 2, :2], b)  # an input by itself


def test_low_rank_is_a_tensor_fusion_of_that_rank() -> None:
    """Eq. 4 to 6: `W · (z₁ ⊗ z₂ ⊗ z₃)` with `W = Σᵣ w⁽ʳ⁾₁ ⊗ w⁽ʳ⁾₂ ⊗ w⁽ʳ⁾₃`, output by output."""
    torch.manual_seed(0)
    vectors = torch.randn(4, 3, 2, dtype=torch.float64)  # [B, E, D]
    factors, constants = torch.randn(3, 5, 6, 2, dtype=torch.float64), torch.randn(3, 5, 6, dtype=torch.float64)
    one, two, three = torch.cat([factors, constants.unsqueeze(-1)], -1)  # [R, K, D + 1] each
    weights = torch.einsum("rki,rkj,rkl->kijl", one, two, three)
    product = torch.einsum("bi,bj,bl->bijl", *extended(vectors).unbind(1))
    expected = torch.einsum("kijl,bijl->bk", weights, product)
    torch.testing.assert_close(low_rank_product(vectors, factors, constants), expected, atol=1e-12, rtol=1e-10)


def test_low_rank_grows_with_inputs_one_by_one() -> None:
    sizes = [sum(p.numel() for p in LowRank().build(list("abcde")[:n], [], 8).parameters()) for n in (2, 3, 4, 5)]
    assert len({after - before for before, after in itertools.pairwise(sizes)}) == 1


def test_products_of_many_inputs_have_no_longer_tails_than_those_of_few() -> None:
    """At first; or one feature would drown all others in the norm that follows."""
    torch.manual_seed(0)
    for inputs in (2, 5, 40):
        module = LowRank().build([str(i) for i in range(inputs)], [], 64)
        vectors = torch.nn.functional.layer_norm(torch.randn(64, inputs, 64), (64,))
        squares = low_rank_product(vectors, module.factors, module.constants).detach().square()
        assert (squares.sum(1) ** 2 / squares.square().sum(1)).median() > 12  # features that carry a row, of 64


def test_the_size_of_tensor_fusion_follows_from_the_number_of_inputs() -> None:
    sizes = {n: TensorFusion().build([str(i) for i in range(n)], [], 8).maps[0].out_features for n in (1, 2, 3, 4, 12)}
    assert sizes == {1: 16, 2: 16, 3: 15, 4: 7, 12: 1}
    with pytest.raises(ConfigError, match=r"17 inputs have 131072 products.*low_rank"):
        TensorFusion().build([str(i) for i in range(17)], [], 8)


def test_too_many_products_are_refused_before_they_are_made() -> None:
    with pytest.raises(ConfigError, match=r"16 numbers of each of 6 inputs have 24137569 products.*low_rank"):
        TensorFusion(size=16).build(list("abcdef"), [], 8)
    with pytest.raises(ConfigError, match=r"fusion.size: 0 leaves nothing"):
        TensorFusion(size=0).build(["a"], [], 8)
    with pytest.raises(ConfigError, match=r"fusion.rank: 0 leaves no product"):
        LowRank(rank=0).build(["a"], [], 8)
