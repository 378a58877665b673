"""DSelect-k against eq. 4 and 5 of Hazimeh et al. (2021), written as loops."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trunkline import ConfigError
from trunkline.testing import check_trunk
from trunkline.trunks import DSelectK
from trunkline.trunks.dselect_k import codes, entropy, selected, smooth_step
from trunkline.types import Span, Tokens

torch.set_num_threads(1)


def step(t: float, gamma: float) -> float:
    if t <= -gamma / 2:
        return 0.0
    if t >= gamma / 2:
        return 1.0
    return -2 / gamma**3 * t**3 + 3 / (2 * gamma) * t + 0.5


def selector(z: Tensor, experts: int, gamma: float) -> list[float]:
    """`r(z)ᵢ`: a factor for every bit of `i`, lowest first."""
    found = []
    for i in range(experts):
        product = 1.0
        for j, t in enumerate(z.tolist()):
            product *= step(t, gamma) if (i >> j) & 1 else 1 - step(t, gamma)
        found.append(product)
    return found


@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.0])
def test_the_smooth_step(gamma: float) -> None:
    t = torch.linspace(-2, 2, 101).double().requires_grad_()
    found = smooth_step(t, gamma)
    torch.testing.assert_close(found, torch.tensor([step(x, gamma) for x in t.tolist()]).double())
    (slope,) = torch.autograd.grad(found.sum(), t)
    outside = t.abs() >= gamma / 2
    assert torch.equal(slope[outside], torch.zeros_like(slope[outside]))
    assert set(found[outside].tolist()) <= {0.0, 1.0}
    assert bool((slope[~outside] > 0).all())


@pytest.mark.parametrize("experts", [2, 4, 8])
def test_every_choice_of_bits_is_one_expert(experts: int) -> None:
    chosen = []
    for bits in itertools.product((-1.0, 1.0), repeat=int(math.log2(experts))):
        r = selected(torch.tensor(bits), codes(experts), 1.0)
        assert sorted(r.tolist()) == [0.0] * (experts - 1) + [1.0]
        chosen.append(int(r.argmax()))
    assert sorted(chosen) == list(range(experts))


@pytest.mark.parametrize("gating", ["row", "static"])
def test_a_tasks_view_is_eq_4_and_5(gating: Any) -> None:
    """`Σᵢ softmax(α)ᵢ r(z⁽ⁱ⁾)` weighs the experts; `α` and `z` are linear in the row, or free."""
    torch.manual_seed(0)
    module = DSelectK(experts=4, k=3, gating=gating, gamma=0.8, entropy=0.1).build(["a", "b"], 6).double().eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    values = torch.randn(5, 3, 6).double()
    spans = (Span(None, 0, 1, "set", (1,)), Span("note", 1, 3, "words", (2,)))
    taps = module.share(Tokens(values, torch.ones(5, 3, dtype=torch.bool), spans))
    for k, task in enumerate(("a", "b")):
        view, penalty, gate = module.view(task, taps).values, module.penalty(task, taps), module.gates[k]
        for row in range(5):
            x = values[row, 0] if gating == "row" else torch.ones(1).double()
            powers = [float((alpha * x).sum().exp()) for alpha in gate.alpha.detach()]
            q, uncertain = [0.0] * 4, 0.0
            for i in range(3):
                r = selector(gate.z[i] @ x, 4, 0.8)
                uncertain -= sum(p * math.log(p + 1e-6) for p in r)
                q = [a + powers[i] / sum(powers) * b for a, b in zip(q, r)]
            expected = sum(weight * expert(values[row]) for weight, expert in zip(q, module.experts))
            torch.testing.assert_close(view[row], expected, atol=1e-10, rtol=1e-10)
            assert math.isclose(float(penalty[row]), 0.1 * uncertain, abs_tol=1e-9)


@pytest.mark.parametrize("gating", ["row", "static"])
def test_the_contract_holds(gating: Any) -> None:
    check_trunk(DSelectK(gating=gating))


def test_entropy_makes_selectors_choose_and_what_is_chosen_stays() -> None:
    """Gates alone, without any loss, under Adam; without the penalty nothing would move them."""
    torch.manual_seed(0)
    module = DSelectK(gating="static", k=2, experts=8).build(["a"], 4)
    taps = module.share(Tokens.of_rows(torch.randn(3, 4)))
    optimiser = torch.optim.Adam(module.gates.parameters(), lr=0.01)
    before = module.gate("a", taps)[1]
    assert float(entropy(before).detach().min()) > 2.0  # of ln 8 = 2.08 at most
    for _ in range(200):
        optimiser.zero_grad()
        module.penalty("a", taps).mean().backward()
        optimiser.step()
    q, r = module.gate("a", taps)
    assert torch.equal(r.amax(-1), torch.ones(3, 2)[:1].expand_as(r.amax(-1)))
    assert int((q[0] > 0).sum()) <= 2
    (slope,) = torch.autograd.grad(r.square().sum(), module.gates[0].z)
    assert torch.equal(slope, torch.zeros_like(slope))


def test_options_that_cannot_work() -> None:
    for options, match in [
        ({"experts": 6}, r"trunk.experts: 6 is no power of two, .*; give 4 or 8"),
        ({"experts": 1}, "trunk.experts: 1 .* give 2 or 4"),
        ({"k": 5}, "trunk.k: 5 of 4 experts cannot be selected; give 1 to 4"),
        ({"k": 0}, "trunk.k: 0"),
        ({"gating": "task"}, "trunk.gating: 'task' is neither 'row' nor 'static'"),
        ({"gamma": 0.0}, "trunk.gamma: 0.0"),
        ({"entropy": -1.0}, "trunk.entropy: -1.0 would reward indecision"),
    ]:
        with pytest.raises(ConfigError, match=match):
            DSelectK(**options).build(["a"], 8)
