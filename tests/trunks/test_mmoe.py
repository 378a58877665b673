"""MMoE against eq. 6 and 7 of Ma et al. (2018), written as loops."""

import torch
from torch.nn import functional as F

from trunkline.trunks import MMoE
from trunkline.types import Span, Tokens

torch.set_num_threads(1)


def test_a_tasks_view_is_eq_6_and_7():
    """`fᵏ(x) = Σᵢ gᵏ(x)ᵢ fᵢ(x)`, `gᵏ(x) = softmax(W_gᵏ x)`, `x` the row; a row's gate holds for all its tokens."""
    torch.manual_seed(0)
    module = MMoE(experts=3, expansion=1.5).build(["a", "b"], 6).double().eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    values = torch.randn(4, 3, 6, dtype=torch.float64)
    spans = (Span(None, 0, 1, "set", (1,)), Span("note", 1, 3, "words", (2,)))
    taps = module.share(Tokens(values, torch.ones(4, 3, dtype=torch.bool), spans))
    for k, task in enumerate(("a", "b")):
        found = module.view(task, taps).values
        for row in range(4):
            powers = [(weight * values[row, 0]).sum().exp() for weight in module.gates[k].weight]
            for token in range(3):
                x = values[row, token]
                expected = torch.zeros(6, dtype=torch.float64)
                for i, f in enumerate(module.experts):
                    norm = (x - x.mean()) / (x.var(correction=0) + f.norm.eps).sqrt() * f.norm.weight + f.norm.bias
                    inner = F.gelu(f.inner.weight @ norm + f.inner.bias)
                    expected += powers[i] / sum(powers) * (x + f.outer.weight @ inner + f.outer.bias)
                torch.testing.assert_close(found[row, token], expected, atol=1e-10, rtol=1e-10)
