"""FiLM, adapters, LoRA: the task's own in or between shared layers, against the plain network written as a loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trunkline import ConfigError
from trunkline.balancers import UPGrad
from trunkline.engine import Engine
from trunkline.testing import check_trunk
from trunkline.trunks import Adapters, FiLM, Hard, LoRA, Trunk
from trunkline.types import Span, Tokens

torch.set_num_threads(1)
TASKS = ("a", "b", "c")
KINDS = [FiLM, Adapters, LoRA]


def build(kind: Any, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    module = kind(layers=3, **({} if kind is FiLM else {"rank": 2}), **options).build(TASKS, 6).double().eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def tokens() -> Tokens:
    values = torch.randn(4, 2, 6).double().requires_grad_()
    return Tokens(values, torch.ones(4, 2, dtype=torch.bool), (Span("x", 0, 2, "words", (2,)),))


def plainly(module: Any, k: int, x: Tensor, keeps: list[Tensor] | None = None) -> Tensor:
    """One network, and `γ ⊙ x + β` or `x + W_up gelu(W_down x)` behind every layer, or `W + α/r · B A` in it."""
    for depth, (layer, own) in enumerate(zip(module.layers, module.own[k])):
        if hasattr(own, "inner_up"):
            inner = layer.inner.weight + 8 / 2 * own.inner_up.weight @ own.inner_down.weight
            outer = layer.outer.weight + 8 / 2 * own.outer_up.weight @ own.outer_down.weight
            hidden = nn.functional.gelu(layer.norm(x) @ inner.T + layer.inner.bias)
            x = x + (hidden if keeps is None else hidden * keeps[depth]) @ outer.T + layer.outer.bias
            continue
        hidden = layer.hidden(x)
        x = x + layer.outer(hidden if keeps is None else hidden * keeps[depth])
        if hasattr(own, "gamma"):
            x = own.gamma * x + own.beta
        else:
            x = x + nn.functional.gelu(x @ own.down.weight.T + own.down.bias) @ own.up.weight.T + own.up.bias
    return x


def gradients(module: nn.Module, views: list[Tensor], given: Tokens) -> list[Tensor]:
    loss = sum(((k + 1) * view.square()).sum() for k, view in enumerate(views))
    return list(torch.autograd.grad(loss, [*module.parameters(), given.values]))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_training", [False, True])
def test_values_and_gradients_are_those_of_the_plain_network(kind: Any, is_training: bool) -> None:
    """Also under dropout, which is the same for all tasks."""
    module, given = build(kind, dropout=0.3).train(is_training), tokens()
    taps = module.share(given)
    keeps = [tap.values for tap in taps[1:4]] if is_training else None
    views = [module.view(task, taps).values for task in TASKS]
    expected = [plainly(module, k, given.values, keeps) for k in range(3)]
    for view, other in zip(views, expected):
        torch.testing.assert_close(view, other, atol=1e-10, rtol=1e-10)
    for found, other in zip(gradients(module, views, given), gradients(module, expected, given)):
        torch.testing.assert_close(found, other, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_without_gradients_nothing_runs_twice(kind: Any) -> None:
    module, given = build(kind), tokens()
    with torch.no_grad():
        taps = module.share(given)
        assert len(taps) == 1
        torch.testing.assert_close(module.view("b", taps).values, plainly(module, 1, given.values))


@pytest.mark.parametrize("trunk", [FiLM(layers=1), FiLM(layers=3), Adapters(layers=3, rank=3), LoRA(layers=3, rank=3)])
def test_the_contract_holds(trunk: Trunk) -> None:
    check_trunk(trunk)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", ["last", "trunk"])
def test_gradients_are_compared_in_the_layers(kind: Any, level: Any) -> None:
    """The Gramian is that of the plain network's gradients: at its last layer, or at all that is shared."""
    module, given = build(kind), tokens()
    layer = module.last_shared()[0]
    shared = [layer.weight, layer.bias] if level == "last" else [*module.layers.parameters(), given.values]
    seen: list[Tensor] = []

    class Watching(UPGrad):
        def weigh(self, gramian: Tensor, tasks: Any) -> Tensor:
            seen.append(gramian)
            return super().weigh(gramian, tasks)

    engine = Engine(Watching(), TASKS, level=level, last_shared=module.last_shared(), shared=shared)
    taps = module.share(given)
    copies = engine.split([tap.values for tap in taps])
    losses = {
        task: module.view(task, tuple(tap.with_values(v) for tap, v in zip(taps, copies[task]))).values.square().mean()
        for task in TASKS
    }
    engine.total(losses).backward()
    rows = []
    for k in range(3):
        found = torch.autograd.grad(plainly(module, k, given.values).square().mean(), shared)
        rows.append(torch.cat([g.flatten() for g in found]))
    expected = torch.stack(rows) @ torch.stack(rows).T
    torch.testing.assert_close(seen[0], expected, atol=1e-9, rtol=1e-6)


@pytest.mark.parametrize("trunk", [FiLM(), Adapters(), LoRA()])
def test_at_first_every_task_sees_what_hard_sharing_shows(trunk: Trunk) -> None:
    x = Tokens.of_rows(torch.randn(5, 12))
    module, hard = trunk.build(TASKS, 12).eval(), Hard().build(TASKS, 12).eval()
    hard.layers.load_state_dict(module.layers.state_dict())  # type: ignore[operator,union-attr]
    for task in TASKS:
        torch.testing.assert_close(module.view(task, module.share(x)).values, hard.share(x)[0].values)


def test_options_that_cannot_work() -> None:
    for trunk, match in [
        (FiLM(layers=0), "trunk.layers: 0"),
        (Adapters(layers=0), "trunk.layers: 0"),
        (Adapters(rank=0), "trunk.rank: 0 is no bottleneck in a width of 8; give 1 to 7"),
        (Adapters(rank=8), "trunk.rank: 8"),
        (LoRA(layers=0), "trunk.layers: 0"),
        (LoRA(alpha=0.0), "trunk.alpha: 0.0 lets no task change a weight"),
        (LoRA(alpha=float("nan")), "trunk.alpha: nan"),
        (LoRA(rank=0), "trunk.rank: 0 is no low rank of 8 × 8; give 1 to 7"),
        (LoRA(rank=4, expansion=0.5), "trunk.rank: 4 is no low rank of 8 × 4; give 1 to 3"),
    ]:
        with pytest.raises(ConfigError, match=match):
            trunk.build(["a"], 8)
