"""Public contracts: run them on a component of your own, as trunkline runs them on every entry of its catalogs.

Each raises `AssertionError` with the rule that was broken, and returns nothing.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trunkline.balancers import GramianBalancer, LossBalancer
from trunkline.engine import Engine
from trunkline.fusion import Fusion
from trunkline.modalities import Modality
from trunkline.tasks import Head, Task
from trunkline.trunks import Trunk, TrunkModule
from trunkline.types import Context, Span, State, Tokens

WIDTH = 16


def check_constructor(component: Any) -> None:
    """The constructor only stores: each argument stands under its own name."""
    for name in inspect.signature(type(component)).parameters:
        assert hasattr(component, name), f"{type(component).__name__} does not store its argument {name!r}"


# --- modalities ---


def check_modality(modality: Modality, cells: Sequence[Any], *, tolerance: float = 1e-5) -> None:
    """Reading, states, encoding.

    States are plain JSON and survive it; `fit` and `prepare` change nothing; tokens have the width asked for, a mask
    and spans that cover them; a row's tokens depend neither on the rows beside it nor on padding.

    Args:
        modality: to be checked.
        cells: at least three different, valid cells, the first of which is the shortest where length differs.
        tolerance: on tokens, absolute.
    """
    check_constructor(modality)
    values = [modality.read(cell) for cell in cells]
    before = repr(vars(modality))
    state = modality.fit(iter(values))
    assert json.loads(json.dumps(state)) == state, "the state is not plain JSON"
    items = [modality.prepare(value, state, None)[0] for value in values]
    assert repr(vars(modality)) == before, "`fit` or `prepare` changed the modality"
    if modality.block is not None:
        _check_block(modality, state, items, tolerance)
        return
    torch.manual_seed(0)
    encoder = modality.build(state, WIDTH).eval()
    together = encoder(modality.collate(items))
    _check_tokens(together, len(cells))
    for i, item in enumerate(items):
        alone = encoder(modality.collate([item]))
        _assert_same_row(together, i, alone, 0, tolerance)
    backwards = encoder(modality.collate(items[::-1]))
    for i in range(len(items)):
        _assert_same_row(together, i, backwards, len(items) - 1 - i, tolerance)
    together.values.sum().backward()
    assert any(p.grad is not None for p in encoder.parameters()), "no gradient reaches the encoder"


def _check_block(modality: Modality, state: State, items: Sequence[Any], tolerance: float) -> None:
    assert modality.block is not None
    torch.manual_seed(0)
    inputs = {name: (modality, state) for name in ("a", "b")}
    block = modality.block(inputs, WIDTH).eval()
    columns = {"a": list(items), "b": [None, *items[1:]]}
    values = modality.block.pack(inputs, columns)
    flags = torch.tensor([[v is not None for v in row] for row in zip(*columns.values())])
    tokens = block(values, flags)
    _check_tokens(tokens, len(items))
    garbage = {
        k: torch.where(~flags.all(1, keepdim=True), torch.full_like(v, 10**6), v) if v.shape[1] == 2 else v
        for k, v in values.items()
    }
    for k, v in garbage.items():
        if v.shape[1] == 2:
            v[:, 0] = values[k][:, 0]
    assert torch.equal(block(garbage, flags).values, tokens.values), "what stands behind a False flag is read"
    everywhere = torch.ones_like(flags)
    same = block(values, None).values
    assert torch.allclose(block(values, everywhere).values, same, atol=tolerance), "no flags must mean all present"


# --- fusion ---


def check_fusion(fusion: Fusion, *, tolerance: float = 1e-5) -> None:
    """The row token comes first, kept spans follow, masked tokens are not read, rows are independent."""
    check_constructor(fusion)
    torch.manual_seed(0)
    module = fusion.build(["a", "b"], ["b"], WIDTH).eval()
    tokens = {"a": _tokens("a", 3, 4), "b": _tokens("b", 3, 5)}
    tokens["b"].mask[1, 1:] = False
    present = {"a": torch.tensor([True, True, True]), "b": torch.tensor([True, False, True])}
    fused = module(tokens, present)
    _check_tokens(fused, 3)
    assert fused.spans[0] == Span(None, 0, 1, "set", (1,)), "the first span must be the row token"
    assert [s.input for s in fused.spans[1:]] == ["b"], "the spans of kept inputs must follow, and no others"
    hidden = copy.deepcopy(tokens)
    hidden["b"].values[1, 1:] = 1e6
    assert torch.equal(module(hidden, present).row(), fused.row()), "masked tokens are read"
    alone = module({k: t.take(torch.tensor([1])) for k, t in tokens.items()}, {k: p[1:2] for k, p in present.items()})
    assert torch.allclose(alone.row()[0], fused.row()[1], atol=tolerance), "a row depends on the rows beside it"


# --- trunks ---


def check_trunk(trunk: Trunk, *, tasks: Sequence[str] = ("a", "b.c", "type")) -> None:
    """Every path from a loss to a shared parameter crosses exactly one boundary copy.

    Which parameters are shared is found by autograd: those that more than one task's loss reaches. With copies in
    between that are cut off for one task, no shared parameter gets a gradient from it and its private gradients are
    bit-identical; with copies that are scaled, shared gradients scale alike (so no path crosses two).
    """
    check_constructor(trunk)
    torch.manual_seed(0)
    module = trunk.build(tasks, WIDTH).double().eval()
    tokens = _tokens("a", 3, 4, dtype=torch.float64)
    tokens = tokens.with_values(tokens.values.requires_grad_())
    assert isinstance(module, TrunkModule), "a trunk builds a TrunkModule"
    taps = module.share(tokens)
    plain = {task: _gradients(module, module.view(task, taps), tokens) for task in tasks}
    shared = {n for n in plain[tasks[0]] if sum(plain[t][n] is not None for t in tasks) > 1}
    assert "tokens" in shared, "the tasks do not read the tokens"
    assert any(n != "tokens" for n in shared) or not list(module.parameters()), "no parameter is shared"
    for task in tasks:
        for scale in (0.0, 2.0):
            copies = tuple(tap.with_values(_scale_gradient(tap.values, scale)) for tap in taps)
            scaled = _gradients(module, module.view(task, copies), tokens)
            for name, gradient in plain[task].items():
                _check_scaled(name, gradient, scaled[name], scale if name in shared else 1.0)
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


def _gradients(module: nn.Module, view: Tokens, tokens: Tokens) -> dict[str, Tensor | None]:
    named = {**dict(module.named_parameters()), "tokens": tokens.values}
    loss = (view.values * torch.linspace(0.5, 1.5, WIDTH, dtype=view.values.dtype)).square().sum()
    return dict(zip(named, torch.autograd.grad(loss, list(named.values()), allow_unused=True, retain_graph=True)))


# --- tasks ---


def check_task(task: Task, cells: Sequence[Any], view: Any, contexts: Sequence[Context | None] | None = None) -> None:
    """States, loss, metric, decoding, baseline.

    States are plain JSON; loss sums and weights add up over rows; a gradient reaches the head; what stands behind a
    `False` flag changes nothing, bit for bit, not even NaN; a metric without data says `None`; every row is decoded.

    Args:
        task: to be checked.
        cells: valid target cells, one a row.
        view: what its head reads for these rows: `[1, n, D]` for a row task, else Tokens.
        contexts: one a row, for tasks bound to an input.
    """
    check_constructor(task)
    contexts = contexts or [None] * len(cells)
    values = [task.read(cell) for cell in cells]
    before = repr(vars(task))
    state = task.fit(iter(values))
    assert json.loads(json.dumps(state)) == state, "the state is not plain JSON"
    items = [[task.prepare(value, state, context)] for value, context in zip(values, contexts)]
    target = task.collate(items)
    assert repr(vars(task)) == before, "`fit`, `prepare` or `collate` changed the task"
    torch.manual_seed(0)
    head = task.build([state], WIDTH).eval()
    total, weight = head.loss(head.train_output(view, target), target)
    assert total.numel() == weight.numel() == 1, "one task has one loss and one weight"
    assert float(weight) > 0, "labelled rows weigh nothing"
    assert torch.isfinite(total).all(), "the loss is not finite"
    total.sum().backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in head.parameters()), "no gradient reaches the head"
    _check_additive(task, head, items, view, [float(total.detach()), float(weight)])
    if task.reads == "row":
        _check_garbage(head, view, target)
    metric = task.metric([state])
    assert metric.compute() == [None], "a metric without data must say None"
    with torch.no_grad():
        output = head.predict_output(view)
        metric.update(output, target)
        scores = metric.compute()[0]
        decoded = task.decode(output, [state], contexts)
        metric.reset()
        metric.update(task.baseline([state], target), target)
    assert scores is not None and task.primary in scores, f"the metric lacks the primary score {task.primary!r}"
    assert metric.compute()[0] is not None, "the baseline cannot be scored"
    assert [len(column) for column in decoded] == [len(cells)], "one task and one entry a row must be decoded"


def _check_additive(task: Task, head: Head, items: Sequence[Any], view: Any, whole: Sequence[float]) -> None:
    """Loss of two halves = loss of the whole."""
    half, parts = len(items) // 2, []
    for rows in (range(half), range(half, len(items))):
        index = torch.tensor(list(rows))
        part = view.index_select(1, index) if isinstance(view, Tensor) else view.take(index)
        target = task.collate([items[i] for i in rows])
        with torch.no_grad():
            parts.append([float(x) for x in head.loss(head.train_output(part, target), target)])
    np.testing.assert_allclose(np.sum(parts, 0), whole, rtol=1e-4, err_msg="loss sum or weight is not a sum over rows")


def _check_garbage(head: Head, view: Tensor, target: dict[str, Tensor]) -> None:
    """A row without label: whatever its cell holds, the same loss and gradient."""
    results = []
    for garbage in (0, 10**6, float("nan")):
        values, flags = target["values"].clone(), target["flags"].clone()
        flags[0] = False
        values[0] = garbage if values.is_floating_point() else (0 if garbage != garbage else garbage)
        leaf = view.detach().clone().requires_grad_()
        spoilt = {"values": values, "flags": flags}
        total, weight = head.loss(head.train_output(leaf, spoilt), spoilt)
        total.sum().backward()
        assert leaf.grad is not None and not bool(leaf.grad[:, 0].any()), "a row without label has a gradient"
        results.append((total.detach(), weight, leaf.grad))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other)), "what stands behind a False flag is read"


# --- balancers ---


def check_balancer(balancer: LossBalancer | GramianBalancer, *, tasks: int = 3, seed: int = 0) -> None:
    """Order of tasks does not matter, absent tasks have no say, one task and 100 are fine, state survives.

    A Gramian balancer also gives finite weights on zero and colinear gradients.
    """
    check_constructor(balancer)
    generator = torch.Generator().manual_seed(seed)
    names = [f"t{i}.x" for i in range(tasks)]
    for count in (1, 2, tasks, 100):
        _check_weights(copy.deepcopy(balancer), [f"t{i}.x" for i in range(count)], generator)
    order = list(range(tasks))[::-1]
    first, second = copy.deepcopy(balancer), copy.deepcopy(balancer)
    first.start(names)
    second.start(names)
    values = torch.rand(tasks, generator=generator, dtype=torch.float64) + 0.1
    jacobian = torch.randn(tasks, 50, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        _weigh(first, values, jacobian, names)[order],
        _weigh(second, values[order], jacobian[order], [names[i] for i in order]),
        msg="permuting tasks does not permute their weights",
    )
    restored = copy.deepcopy(balancer)
    restored.start(names)
    restored.load_state_dict(first.state_dict())
    torch.testing.assert_close(
        _weigh(restored, values, jacobian, names), _weigh(first, values, jacobian, names), msg="state does not survive"
    )
    _check_absence(balancer, names)


def _check_weights(balancer: LossBalancer | GramianBalancer, names: Sequence[str], generator: torch.Generator) -> None:
    balancer.start(names)
    jacobian = torch.randn(len(names), 200, generator=generator, dtype=torch.float64)
    for scaled in (jacobian, jacobian * 1e-12, jacobian * 0, jacobian[:1].expand_as(jacobian)):
        weights = _weigh(balancer, torch.rand(len(names), generator=generator).double() + 0.1, scaled, names)
        assert weights.shape == (len(names),) and bool(torch.isfinite(weights).all()), "weights are not finite"


def _weigh(balancer: Any, losses: Tensor, jacobian: Tensor, names: Sequence[str]) -> Tensor:
    if isinstance(balancer, GramianBalancer):
        return balancer.weigh(jacobian @ jacobian.T, names)
    return balancer.weigh(losses.clone().requires_grad_(), names)[1]


def _check_absence(balancer: Any, names: Sequence[str]) -> None:
    """A step without the last task = the same step of an engine that never knew it."""
    results: list[Tensor] = []
    for known in (names, names[:-1]):
        torch.manual_seed(0)
        engine = Engine(copy.deepcopy(balancer), known)
        features = torch.randn(4, 5, requires_grad=True)
        targets = torch.randn(len(names), 4, 5)
        present = engine.begin({n: 4 if n in names[:-1] else 0 for n in known}, 4)
        views = engine.split(features, present)
        losses = {n: (views[n] - t).square().mean() for n, t in zip(names[:-1], targets)}
        engine.total(losses).backward()
        assert features.grad is not None
        results.append(features.grad)
    assert torch.equal(results[0], results[1]), "an absent task changes the update"


# --- shared helpers ---


def _tokens(name: str, rows: int, length: int, dtype: torch.dtype = torch.float32) -> Tokens:
    mask = torch.ones(rows, length, dtype=torch.bool)
    return Tokens(torch.randn(rows, length, WIDTH, dtype=dtype), mask, (Span(name, 0, length, "words", (length,)),))


def _check_tokens(tokens: Tokens, rows: int) -> None:
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


def _assert_same_row(first: Tokens, i: int, second: Tokens, j: int, tolerance: float) -> None:
    a, b = first.values[i][first.mask[i]], second.values[j][second.mask[j]]
    assert a.shape == b.shape and torch.allclose(a, b, atol=tolerance), "a row's tokens depend on the rows beside it"
