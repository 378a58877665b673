"""Attention over the tokens of all inputs: what it computes, and that it knows whose a token is."""

import torch
from torch import Tensor

from trunkline.fusion import Attention
from trunkline.types import Span, Tokens

torch.set_num_threads(1)


def tokens(name: str, rows: int = 3, length: int = 2, width: int = 8) -> Tokens:
    values = torch.randn(rows, length, width, dtype=torch.float64)
    return Tokens(values, torch.ones(rows, length, dtype=torch.bool), (Span(name, 0, length, "set", (length,)),))


def fuse(module: torch.nn.Module, a: Tokens, b: Tokens) -> Tensor:
    present = torch.ones(len(a.values), dtype=torch.bool)
    return module({"a": a.named("a"), "b": b.named("b")}, {"a": present, "b": present}).values[:, 0]


def build(heads: int = 2) -> torch.nn.Module:
    torch.manual_seed(0)
    module = Attention(heads=heads).build(["a", "b"], [], 8).double().eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module


def test_tokens_are_marked_with_their_input():
    """The same tokens under exchanged names say something else; without the marks they would not."""
    module = build()
    a, b = tokens("a"), tokens("b")
    assert (fuse(module, a, b) - fuse(module, b, a)).abs().amax(-1).min() > 1e-3
    with torch.no_grad():
        module.kinds.zero_()
    torch.testing.assert_close(fuse(module, a, b), fuse(module, b, a), atol=1e-12, rtol=1e-12)


def test_the_row_token_is_eq_1():
    """`softmax(q kᵀ / √d) v` over what is not masked, one head, by hand."""
    module = build(heads=1)
    a, b = tokens("a"), tokens("b")
    a.mask[0, 1] = False
    found = fuse(module, a, b)
    for row in range(3):
        marked = [(a.values[row, i] + module.kinds[0], a.mask[row, i]) for i in range(2)]
        marked += [(b.values[row, i] + module.kinds[1], b.mask[row, i]) for i in range(2)]
        scores, read = [], []
        for x, there in marked:
            key, value = module.key_value(module.norm(x)).chunk(2)
            if there:
                scores.append((module.query[0, 0] @ key) / 8**0.5)
                read.append(value)
        weights = torch.stack(scores).exp() / torch.stack(scores).exp().sum()
        out = module.out(sum(w * v for w, v in zip(weights, read)))
        torch.testing.assert_close(found[row], out + module.mix(out), atol=1e-10, rtol=1e-10)
