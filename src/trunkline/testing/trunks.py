"""What every trunk keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trunkline.testing.shared import WIDTH, check_constructor, make_tokens
from trunkline.trunks import Taps, Trunk, TrunkModule
from trunkline.types import Tokens


def check_trunk(trunk: Trunk, *, tasks: Sequence[str] = ("a", "b.c", "type")) -> None:
    """Every path from a loss to a shared parameter crosses exactly one boundary copy.

    Which parameters are shared is found by autograd: those that more than one task's loss reaches. With copies in
    between that are cut off for one task, no shared parameter gets a gradient from it and its private gradients are
    bit-identical; with copies that are scaled, shared gradients scale alike (so no path crosses two). Where tasks can
    be added to it (`closed` is empty), `private` names what one task's loss alone reaches.
    """
    check_constructor(trunk)
    torch.manual_seed(0)
    module = trunk.build(tasks, WIDTH).double().eval()
    tokens = make_tokens("a", 3, 4, dtype=torch.float64)
    tokens = tokens.with_values(tokens.values.requires_grad_())
    assert isinstance(module, TrunkModule), "a trunk builds a TrunkModule"
    taps = module.share(tokens)
    plain = {task: _gradients(module, task, taps, tokens) for task in tasks}
    shared = {n for n in plain[tasks[0]] if sum(plain[t][n] is not None for t in tasks) > 1}
    assert "tokens" in shared, "the tasks do not read the tokens"
    assert any(n != "tokens" for n in shared) or not list(module.parameters()), "no parameter is shared"
    for task in tasks:
        for scale in (0.0, 2.0):
            copies = tuple(tap.with_values(_scale_gradient(tap.values, scale)) for tap in taps)
            scaled = _gradients(module, task, copies, tokens)
            for name, gradient in plain[task].items():
                _check_scaled(name, gradient, scaled[name], scale if name in shared else 1.0)
    if not module.closed:
        _check_private(module, plain)
    for layer in module.last_shared():
        assert isinstance(layer, nn.Linear), "`last_shared` must name linear layers"
        assert any(f"{n}.weight" in shared for n, m in module.named_modules() if m is layer), (
            "`last_shared` is not shared"
        )


def _check_scaled(name: str, gradient: Tensor | None, scaled: Tensor | None, scale: float) -> None:
    if gradient is None:
        assert scaled is None, f"{name}: a path appears with the boundary"
    elif scale == 1.0:
        assert scaled is not None and torch.equal(gradient, scaled), f"{name}: a private gradient changes"
    else:
        assert torch.equal(gradient * scale, torch.zeros_like(gradient) if scaled is None else scaled), (
            f"{name}: a path to it does not cross exactly one boundary copy"
        )


def _check_private(module: TrunkModule, plain: Mapping[str, Mapping[str, Tensor | None]]) -> None:
    """What a trunk says is a task's own is what autograd says. One that says nothing has no tasks added to it."""
    if not any(module.private(task) for task in plain):
        return
    names = {id(p): n for n, p in module.named_parameters()}
    for task, gradients in plain.items():
        own = {names[id(p)] for layers in module.private(task) for p in layers.parameters()}
        others = [other for name, other in plain.items() if name != task]
        reached = {n for n in names.values() if gradients[n] is not None and all(other[n] is None for other in others)}
        assert own == reached, f"`private` of {task!r}: {sorted(own)}, and its loss alone reaches {sorted(reached)}"


class _Scale(torch.autograd.Function):
    """Identity whose gradient is scaled."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.scale, None


def _scale_gradient(x: Tensor, scale: float) -> Tensor:
    return _Scale.apply(x, scale)


def _gradients(module: TrunkModule, task: str, taps: Taps, tokens: Tokens) -> dict[str, Tensor | None]:
    named = {**dict(module.named_parameters()), "tokens": tokens.values}
    view = module.view(task, taps).values
    loss = (view * torch.linspace(0.5, 1.5, WIDTH, dtype=view.dtype)).square().sum()
    if module.first_weight > 0:
        loss = loss + (module.first_view(task, taps).values * torch.linspace(1.5, 0.5, WIDTH)).square().sum()
    if module.has_penalty:
        penalty = module.penalty(task, taps)
        assert penalty.shape == tokens.values.shape[:1], f"a penalty is one number a row, not {tuple(penalty.shape)}"
        loss = loss + penalty.sum()
    return dict(zip(named, torch.autograd.grad(loss, list(named.values()), allow_unused=True, retain_graph=True)))
