"""What the contracts share."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trunkline.types import Span, Tokens

WIDTH = 16


def check_constructor(component: Any) -> None:
    """The constructor only stores: each argument stands under its own name."""
    for name in inspect.signature(type(component)).parameters:
        assert hasattr(component, name), f"{type(component).__name__} does not store its argument {name!r}"


def make_tokens(name: str, rows: int, length: int, dtype: torch.dtype = torch.float32) -> Tokens:
    """Random ones of an input with words."""
    mask = torch.ones(rows, length, dtype=torch.bool)
    return Tokens(torch.randn(rows, length, WIDTH, dtype=dtype), mask, (Span(name, 0, length, "words", (length,)),))


def make_pyramid(name: str, rows: int) -> Tokens:
    """Random ones of an input with two grids."""
    levels = []
    for side, stride in ((4, 8.0), (2, 16.0)):
        mask = torch.ones(rows, side**2, dtype=torch.bool)
        span = Span(name, 0, side**2, "grid", (side, side), (stride, stride))
        levels.append(Tokens(torch.randn(rows, side**2, WIDTH), mask, (span,)))
    return Tokens.cat(levels)


def check_pyramid(tokens: Tokens) -> None:
    """Grids alone, finest first, each with another stride, all of one picture."""
    assert all(span.axis == "grid" for span in tokens.spans), "a pyramid is of grids"
    strides = [span.stride for span in tokens.spans]
    assert all(a < b for (a, _), (b, _) in itertools.pairwise(strides)), "the finest grid of a pyramid comes first"
    sizes = [[side * stride for side, stride in zip(span.shape, span.stride)] for span in tokens.spans]
    assert np.allclose(sizes, sizes[0]), "the grids of a pyramid cover different pictures"


def check_tokens(tokens: Tokens, rows: int) -> None:
    """Shape, mask, and spans that cover all of them."""
    assert tokens.values.shape[0] == rows and tokens.values.shape[2] == WIDTH, (
        f"tokens have shape {tokens.values.shape}"
    )
    assert tokens.mask.shape == tokens.values.shape[:2] and tokens.mask.dtype == torch.bool, "the mask does not fit"
    assert bool(tokens.mask.any(1).all()), "a row has no token"
    edges = [0, *(s.stop for s in tokens.spans)]
    assert edges[-1] == tokens.values.shape[1] and all(s.start == e for s, e in zip(tokens.spans, edges)), (
        "spans must follow each other and cover all tokens"
    )
    assert all(int(np.prod(s.shape)) == s.stop - s.start for s in tokens.spans), "a span's shape misfits its length"


def assert_equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor], what: str) -> None:
    """Collated values, of whatever type, are the same."""
    assert one.keys() == other.keys(), what
    for name, value in one.items():
        assert torch.allclose(value.float(), other[name].float(), atol=1e-5, equal_nan=True), what


def assert_same_row(first: Tokens, i: int, second: Tokens, j: int, tolerance: float) -> None:
    """What is present in row `i` of the one and in row `j` of the other."""
    a, b = first.values[i][first.mask[i]], second.values[j][second.mask[j]]
    assert a.shape == b.shape and torch.allclose(a, b, atol=tolerance), "a row's tokens depend on the rows beside it"
