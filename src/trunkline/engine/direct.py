"""Tasks' gradients taken one by one from losses that stand: no boundary had to be put into the forward pass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from trunkline.engine.graph import LEAF, Graph, alike, leaf_of, without_hooks
from trunkline.engine.levels import Comparison, Gradients, weighted_sum
from trunkline.engine.products import nothing_yet
from trunkline.engine.trunk import products
from trunkline.engine.verdict import Verdict
from trunkline.errors import ConfigError


class Given(Comparison):
    """Gradients compared where they were taken: at these parameters."""

    def __init__(self, shared: Sequence[Tensor]) -> None:
        self.shared = shared

    def gramian(
        self, gradients: Sequence[Gradients], tasks: Sequence[int], kept: Sequence[Tensor], blank: Tensor
    ) -> Tensor:
        """A sum over parameters."""
        gramian = nothing_yet(len(blank), blank)
        for leaf, column in zip(self.shared, zip(*gradients, strict=True)):
            gramian += products(leaf.numel(), column, blank)
        return gramian


def balanced_tensors(features: Tensor | Sequence[Tensor] | None, shared: Iterable[Tensor] | None) -> list[Tensor]:
    """Where gradients are weighed: each tensor once; what is frozen takes no part.

    Raises:
        ConfigError: both are given, or one feature is made of another.
    """
    if features is not None and shared is not None:
        raise ConfigError("backward(): give one of `features` and `shared`, not both")
    at = [features] if isinstance(features, Tensor) else list(features or shared or ())
    at = [tensor for tensor in dict.fromkeys(at) if tensor.requires_grad]
    if features is not None:
        check_apart(at)
    return at


def pass_once(
    losses: Mapping[str, Tensor],
    at: Sequence[Tensor],
    comparison: Comparison,
    weigh: Callable[[Mapping[str, Gradients], Sequence[Tensor], None], Verdict],
) -> None:
    """Take every task's gradients, weigh them, and hand their sum to what is shared.

    Args:
        losses: by task, scalars.
        at: what the tasks share.
        comparison: of their gradients there.
        weigh: `(gradients by task, kept, factor) -> verdict`; of losses that stand there is no factor.
    """
    below = () if isinstance(comparison, Given) else Graph([get_gradient_edge(tensor) for tensor in at]).leaves
    found = gradients_by_task(losses, at, below)
    with torch.no_grad():
        verdict = weigh(found, comparison.kept, None)
    if verdict.combined is not None:
        return add_to_gradients(comparison.leaves, verdict.combined)
    ordered = [verdict.weights[task] for task in found]
    sums = [weighted_sum(column, ordered, t.dtype) for t, column in zip(at, zip(*found.values(), strict=True))]
    if isinstance(comparison, Given):
        return add_to_gradients(at, sums)
    read = [(tensor, total) for tensor, total in zip(at, sums) if total is not None]
    return torch.autograd.backward([tensor for tensor, _ in read], [total for _, total in read])


def gradients_by_task(
    losses: Mapping[str, Tensor], at: Sequence[Tensor], below: Collection[Tensor] = ()
) -> dict[str, Gradients]:
    """Each loss's gradients at these tensors; what else a loss depends on gets its plain gradient, in `.grad`.

    Args:
        losses: by task, scalars.
        at: what the tasks share. Whatever lies below is left alone.
        below: the leaves there.

    Raises:
        ConfigError: a loss depends on one of these otherwise, too: its gradient would be counted along both ways.
    """
    stops = {_key(get_gradient_edge(tensor)) for tensor in at}
    found: dict[str, Gradients] = {}
    for task, loss in losses.items():
        private = _leaves_above(loss, stops)
        if not set(private).isdisjoint(below):
            raise ConfigError(
                f"backward(features=…): the loss of {task!r} depends on a parameter of the shared part otherwise than "
                "through the features; `split` and `total` serve tied parameters"
            )
        # The graph of what is shared is needed again; nobody else holds the rest when the losses are gone.
        with without_hooks([*at, *private]):
            gradients = torch.autograd.grad(loss, [*at, *private], retain_graph=True, allow_unused=True)
        found[task] = gradients[: len(at)]
        add_to_gradients(private, gradients[len(at) :])
    columns = [alike(column) for column in zip(*found.values(), strict=True)]
    return dict(zip(found, zip(*columns, strict=True), strict=True))


def check_apart(features: Sequence[Tensor]) -> None:
    """None of the features is made of another: its gradient would be counted along both ways.

    Raises:
        ConfigError: one is.
    """
    edges = [get_gradient_edge(feature) for feature in features]
    for edge in edges:
        others = {_key(other) for other in edges} - {_key(edge)}
        waiting, seen = [_key(edge)], set[tuple[Any, int]]()
        while waiting and others:
            node, number = waiting.pop()
            if (node, number) in others:
                raise ConfigError("backward(features=…): one feature is made of another; `split` serves such taps")
            if (node, number) not in seen:
                seen.add((node, number))
                waiting += [(below, n) for below, n in node.next_functions if below is not None]


def add_to_gradients(leaves: Sequence[Tensor], gradients: Gradients) -> None:
    """As `backward` would, without hooks; a first gradient is copied, since others may hold the same memory."""
    for leaf, gradient in zip(leaves, gradients, strict=True):
        if gradient is not None:
            leaf.grad = own_copy(gradient) if leaf.grad is None else _added(leaf.grad, gradient)


def _added(a: Tensor, b: Tensor) -> Tensor:
    return b + a if a.is_sparse else a + b  # a sparse one can be added to a dense one, not the other way round


def own_copy(gradient: Tensor) -> Tensor:
    """The same numbers in memory of their own."""
    return gradient.clone() if gradient.is_sparse else gradient.clone(memory_format=torch.contiguous_format)


def _leaves_above(loss: Tensor, stops: set[tuple[object, int]]) -> list[Tensor]:
    """The leaves that a loss depends on otherwise than through the stops."""
    start = get_gradient_edge(loss)
    waiting, seen, leaves = [(start.node, start.output_nr)], set(stops), []
    while waiting:
        key = waiting.pop()
        if key in seen:
            continue
        seen.add(key)
        if key[0].name() == LEAF:
            leaves.append(leaf_of(key[0]))
        waiting += [(below, number) for below, number in key[0].next_functions if below is not None]
    return leaves


def _key(edge: GradientEdge) -> tuple[Any, int]:
    return edge.node, edge.output_nr
