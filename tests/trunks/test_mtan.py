"""MTAN against eq. 1 and 2 of Liu et al. (2019), written as loops."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.trunks import MTAN
from trunkline.types import Span, Tokens

torch.set_num_threads(1)


def normed(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    return (x - x.mean()) / (x.var(correction=0) + layer.eps).sqrt() * layer.weight + layer.bias


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    return layer.weight @ x + layer.bias


def test_a_tasks_view_is_eq_1_and_2():
    """`â⁽ʲ⁾ = h(g([u⁽ʲ⁾; f(â⁽ʲ⁻¹⁾)])) ⊙ p⁽ʲ⁾`: `u` from inside the shared layer, `p` what it returns."""
    torch.manual_seed(0)
    module = MTAN(layers=3, expansion=1.5).build(["a", "b"], 6).double().eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    values = torch.randn(4, 2, 6, dtype=torch.float64)
    taps = module.share(Tokens(values, torch.ones(4, 2, dtype=torch.bool), (Span("note", 0, 2, "words", (2,)),)))
    for k, task in enumerate(("a", "b")):
        found = module.view(task, taps).values
        for row in range(4):
            for token in range(2):
                p, attended = values[row, token], None
                for shared, own in zip(module.layers, module.attention[k]):
                    u = F.gelu(linear(shared.inner, normed(shared.norm, p)))
                    p = p + linear(shared.outer, u)
                    joined = u
                    if attended is not None:
                        joined = torch.cat([u, normed(own.f[1], linear(own.f[0], attended)).relu()])
                    g = normed(own.g[1], linear(own.g[0], joined)).relu()
                    mask = normed(own.h[1], linear(own.h[0], g)).sigmoid()
                    attended = mask * p
                torch.testing.assert_close(found[row, token], attended, atol=1e-10, rtol=1e-10)


def test_a_mask_only_ever_weakens():
    """What a task sees of a shared feature lies between nothing and all of it."""
    torch.manual_seed(0)
    module = MTAN(layers=2).build(["a"], 6).double().eval()
    taps = module.share(Tokens.of_rows(torch.randn(5, 6, dtype=torch.float64)))
    share = module.view("a", taps).values / taps[-1].values
    assert ((share > 0) & (share < 1)).all()
