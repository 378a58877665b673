"""Tasks' gradients taken one by one from losses that stand: no boundary had to be put into the forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from trunkline.engine.graph import LEAF, leaf_of
from trunkline.engine.levels import Comparison, Gradients
from trunkline.engine.trunk import products


class Given(Comparison):
    """Gradients compared where they were taken: at these parameters."""

    def __init__(self, shared: Sequence[Tensor]) -> None:
        self.shared = shared

    def gramian(
        self, gradients: Sequence[Gradients], tasks: Sequence[int], kept: Sequence[Tensor], blank: Tensor
    ) -> Tensor:
        """A sum over parameters."""
        gramian = blank.clone()
        for leaf, column in zip(self.shared, zip(*gradients, strict=True)):
            gramian += products(leaf.numel(), column, blank)
        return gramian


def gradients_by_task(losses: Mapping[str, Tensor], at: Sequence[Tensor]) -> dict[str, Gradients]:
    """Each loss's gradients at these tensors; what else a loss depends on gets its plain gradient, in `.grad`.

    Args:
        losses: by task, scalars.
        at: what the tasks share. Whatever lies below is left alone.
    """
    stops = {_key(get_gradient_edge(tensor)) for tensor in at}
    found: dict[str, Gradients] = {}
    for task, loss in losses.items():
        private = _leaves_above(loss, stops)
        # The graph of what is shared is needed again; nobody else holds the rest when the losses are gone.
        gradients = torch.autograd.grad(loss, [*at, *private], retain_graph=True, allow_unused=True)
        found[task] = gradients[: len(at)]
        add_to_gradients(private, gradients[len(at) :])
    return found


def add_to_gradients(leaves: Sequence[Tensor], gradients: Gradients) -> None:
    """As `backward` would, without hooks."""
    for leaf, gradient in zip(leaves, gradients, strict=True):
        if gradient is not None:
            leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient


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


def _key(edge: GradientEdge) -> tuple[object, int]:
    return edge.node, edge.output_nr
