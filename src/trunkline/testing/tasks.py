"""What every kind of task keeps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trunkline.contexts import Context, GridContext
from trunkline.tasks import Head, Task
from trunkline.testing.shared import WIDTH, check_constructor
from trunkline.types import State


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
        decoded = task.decode(head.finish(output), [state], contexts)
        metric.reset()
        metric.update(task.baseline([state], target), target)
    assert scores is not None and task.primary in scores, f"the metric lacks the primary score {task.primary!r}"
    assert metric.compute()[0] is not None, "the baseline cannot be scored"
    assert [len(column) for column in decoded] == [len(cells)], "one task and one entry a row must be decoded"
    if task.can_combine:
        _check_combine(task, state, output, target)
    if task.joins:
        _check_join(task, [item for (item,) in items], contexts, target)


def _check_join(
    task: Task, items: Sequence[Any], contexts: Sequence[Context | None], target: dict[str, Tensor]
) -> None:
    """One picture that fills the whole is what it was."""
    joined = []
    for item, context in zip(items, contexts):
        assert isinstance(context, GridContext), "what joins is bound to a picture"
        joined.append([task.join([item], [(0, 0)], context.size)])
    for name, values in task.collate(joined).items():
        same = torch.allclose(values, target[name], rtol=0, atol=0, equal_nan=values.is_floating_point())
        assert same, f"{name!r} of one picture that fills the whole is not its own"


def _check_joint(task: Task, state: State, output: Tensor) -> None:
    """The same with a joint expert: where it is silent, the one that speaks is heard and no other."""
    head = task.build([state], WIDTH).eval()
    head.expect_experts(3, joint=True)
    outputs = torch.stack([-output, output, torch.full_like(output, 1e6)])
    present = torch.ones(outputs.shape[:2], dtype=torch.bool) & torch.tensor([[True], [False], [False]])
    with torch.no_grad():
        alone = head.combine(outputs, present)
    _assert_same_answers(task, state, alone, outputs[0], "one input alone does not keep its word beside a joint expert")


def _check_combine(task: Task, state: State, output: Tensor, target: dict[str, Tensor]) -> None:
    """One input's word is its own; what is absent is not read; the order of inputs does not matter."""
    assert "flags" in target, "a kind that can combine says in its target's `flags` which rows are labelled"
    _check_joint(task, state, output)
    head = task.build([state], WIDTH).eval()
    head.expect_experts(3)
    outputs = torch.stack([output, -output, output.flip(0)])
    present = torch.ones(outputs.shape[:2], dtype=torch.bool)
    with torch.no_grad():
        alone = head.combine(outputs, present & torch.tensor([[False], [True], [False]]))
        once = head.combine(outputs[1:2].expand_as(outputs), present & torch.tensor([[True], [False], [False]]))
        present[2] = False
        joined = head.combine(outputs, present)
        garbage = head.combine(torch.stack([output, -output, torch.full_like(output, 1e6)]), present)
        swapped = head.combine(outputs[[1, 0, 2]], present)
    assert torch.equal(joined, garbage), "what an absent input says is read"
    assert torch.allclose(joined, swapped, atol=1e-5), "the order of inputs matters, before anything is learned"
    _assert_same_answers(task, state, alone, outputs[1], "one input alone does not keep its word")
    _assert_same_answers(task, state, once, outputs[1], "one input alone does not keep its word")


def _assert_same_answers(task: Task, state: State, first: Tensor, second: Tensor, rule: str) -> None:
    loss = [task.decode(output, [state], [None] * len(output))[0] for output in (first, second)]
    for a, b in zip(*loss):
        assert a["value"] == b["value"] or np.isclose(a["value"], b["value"]), rule


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
