"""What every balancer keeps."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from trunkline.balancers import GramianBalancer, LossBalancer
from trunkline.engine import Engine
from trunkline.testing.shared import check_constructor

STEPS = 3  # of a balancer that keeps state


def check_balancer(balancer: LossBalancer | GramianBalancer, *, tasks: int = 3, seed: int = 0) -> None:
    """Order of tasks does not matter, absent tasks have no say and forget nothing, one task and 100 are fine, state
    survives by name.

    A Gramian balancer also gives finite weights on zero, colinear, opposed, tiny and very unequal gradients; the
    weights of a loss balancer are the derivatives of its total.
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
    for values, jacobian in _steps(tasks, STEPS, generator):
        torch.testing.assert_close(
            _weigh(first, values, jacobian, names)[order],
            _weigh(second, values[order], jacobian[order], [names[i] for i in order]),
            msg="permuting tasks does not permute their weights",
        )
    restored, others = copy.deepcopy(balancer), copy.deepcopy(balancer)
    restored.start(names)
    others.start(["new", *(names[i] for i in order)])
    for each in (restored, others):
        each.load_state_dict(first.state_dict())
    for values, jacobian in _steps(tasks, STEPS, generator):  # what is kept may show in later weights alone
        expected = _weigh(first, values, jacobian, names)
        torch.testing.assert_close(_weigh(restored, values, jacobian, names), expected, msg="state does not survive")
        torch.testing.assert_close(
            _weigh(others, values, jacobian, names), expected, msg="state does not go with the names of tasks"
        )
    _check_absence(balancer, names)
    if tasks > 1:
        _check_return(balancer, names, generator)


def _steps(tasks: int, count: int, generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """Losses `[T]` and gradients `[T, 50]` of so many steps."""
    return [
        (
            torch.rand(tasks, generator=generator, dtype=torch.float64) + 0.1,
            torch.randn(tasks, 50, generator=generator, dtype=torch.float64),
        )
        for _ in range(count)
    ]


def _check_weights(balancer: LossBalancer | GramianBalancer, names: Sequence[str], generator: torch.Generator) -> None:
    balancer.start(names)
    jacobian = torch.randn(len(names), 200, generator=generator, dtype=torch.float64)
    numbers = torch.arange(len(names), dtype=torch.float64).unsqueeze(1)
    same = jacobian[:1].expand_as(jacobian)
    nearly_opposed = (-1) ** numbers * same + 0.1 * jacobian
    unequal = 1000 ** ((-1) ** numbers) * nearly_opposed
    some_zero = jacobian * (numbers % 2)
    usual = (jacobian, jacobian * 1e-15, jacobian * 0, same, (-1) ** numbers * same)
    for scaled in (*usual, nearly_opposed, unequal, some_zero, unequal.float().double(), jacobian[:, :2]):
        losses = torch.rand(len(names), generator=generator).double() + 0.1
        weights = _weigh(balancer, losses, scaled, names)
        assert weights.shape == (len(names),) and bool(torch.isfinite(weights).all()), "weights are not finite"
        if isinstance(balancer, GramianBalancer):  # one more part of the step, of products in float32
            single = scaled.float()
            weights = balancer.weigh(single @ single.T, names)
            assert bool(torch.isfinite(weights).all()), "weights are not finite where products are float32"


def _weigh(balancer: Any, losses: Tensor, jacobian: Tensor, names: Sequence[str]) -> Tensor:
    """A whole step; a loss balancer's tasks each get better, by a share of their own."""
    if isinstance(balancer, GramianBalancer):
        balancer.begin_step()
        balancer.watch(losses, names)
        return balancer.weigh(jacobian @ jacobian.T, names)
    balancer.observe(losses.clone(), names)
    leaves = losses.clone().requires_grad_()
    terms, weights = balancer.weigh(leaves, names)
    (of_first,) = torch.autograd.grad(terms[0], leaves, retain_graph=True)
    assert not of_first[1:].any(), "a task's term depends on the losses of others"
    (derivatives,) = torch.autograd.grad(terms.sum(), leaves)
    torch.testing.assert_close(
        weights.to(derivatives), derivatives, rtol=1e-5, atol=0, msg="the weights are not what is differentiated"
    )
    if balancer.needs_losses_after_step:
        balancer.after_step(losses * (1 - 0.1 * losses / (1 + losses)), names)
    return weights


def _check_absence(balancer: Any, names: Sequence[str]) -> None:
    """Steps without the last task = the same steps of an engine that never knew it."""
    results: list[Tensor] = []
    for known in (names, names[:-1]):
        torch.manual_seed(0)
        engine = Engine(copy.deepcopy(balancer), known)
        features = torch.randn(4, 5, requires_grad=True)
        targets = torch.randn(len(names), 4, 5)
        for _ in range(STEPS):
            present = engine.begin({n: 4 if n in names[:-1] else 0 for n in known}, 4)
            views = engine.split(features, present)
            losses = {n: (views[n] - t).square().mean() for n, t in zip(names[:-1], targets)}
            engine.total(losses).backward()
            if engine.needs_losses_after_step:
                engine.after_step({n: loss.detach() * 0.9**k for k, (n, loss) in enumerate(losses.items())})
        assert features.grad is not None
        results.append(features.grad)
    assert torch.equal(results[0], results[1]), "an absent task changes the update"


def _check_return(balancer: Any, names: Sequence[str], generator: torch.Generator) -> None:
    """What is kept of the last task outlives a step without it, and what the others do in that step is not in it."""
    one, two = (_steps(len(names), STEPS, generator) for _ in range(2))
    others = _steps(len(names) - 1, 2, generator)
    before, after = _kept_of_last(balancer, names, one, others[0])
    _, elsewhere = _kept_of_last(balancer, names, one, others[1])
    assert _is_same(after, elsewhere), "a step without a task changes what is kept of it"
    before_two, after_two = _kept_of_last(balancer, names, two, others[0])
    assert _is_same(before, before_two) or not _is_same(after, after_two), "a task that is absent once is forgotten"


def _kept_of_last(
    balancer: Any, names: Sequence[str], steps: Sequence[tuple[Tensor, Tensor]], without: tuple[Tensor, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What is kept of the last task, by one that knows no other: after steps with all, and after one without it."""
    run, alone = copy.deepcopy(balancer), copy.deepcopy(balancer)
    run.start(names)
    alone.start(names[-1:])
    for step in steps:
        _weigh(run, *step, names)
    alone.load_state_dict(run.state_dict())
    before = copy.deepcopy(alone.state_dict())
    _weigh(run, *without, names[:-1])
    alone.load_state_dict(run.state_dict())
    return before, alone.state_dict()


def _is_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(value.nan_to_num(), second[name].nan_to_num()) for name, value in first.items())
