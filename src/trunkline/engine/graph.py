"""The autograd graph below the boundary: which leaves the tasks share, and what uses them.

Read only. A node is what autograd recorded for one operation, an edge is one of its outputs, and a leaf is a tensor
that requires a gradient of its own: a parameter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from trunkline.engine.distributed import num_ranks, sum_counts
from trunkline.engine.levels import Gradients
from trunkline.errors import ConfigError

LEAF = "torch::autograd::AccumulateGrad"
CAST = "ToCopyBackward0"  # by autocast, for one: a parameter seen through it is still itself


AT_TAP = -1


class Use(NamedTuple):
    """A parameter enters an operation.

    Attributes:
        node: the operation.
        slot: which of its inputs the parameter is; `AT_TAP` where a task reads the parameter itself.
        is_transposed: whether it enters as `W.T`.
    """

    node: Node
    slot: int
    is_transposed: bool


class Graph:
    """Everything that the taps were computed from.

    Args:
        taps: where they stand in the graph.
    """

    def __init__(self, taps: Sequence[GradientEdge]) -> None:
        self.consumers: dict[Node, list[tuple[Node, int]]] = defaultdict(list)
        self.leaf_nodes: dict[Tensor, Node] = {}
        self.nodes: set[Node] = set()
        self._tapped = {tap.node for tap in taps}
        waiting = [tap.node for tap in taps]
        while waiting:
            node = waiting.pop()
            if node in self.nodes:
                continue
            self.nodes.add(node)
            if node.name() == LEAF:
                self.leaf_nodes[leaf_of(node)] = node
            for slot, (below, _) in enumerate(node.next_functions):
                if below is not None:
                    self.consumers[below].append((node, slot))
                    waiting.append(below)

    @property
    def leaves(self) -> list[Tensor]:
        """What can be learned, each once."""
        return list(self.leaf_nodes)

    def above(self, targets: Iterable[Node]) -> set[Node]:
        """The nodes below which any of these lies."""
        waiting, found = list(targets), set[Node]()
        while waiting:
            for consumer, _ in self.consumers.get(waiting.pop(), ()):
                if consumer not in found:
                    found.add(consumer)
                    waiting.append(consumer)
        return found

    def uses(self, leaf: Tensor) -> list[Use]:
        """Every operation that a leaf enters, and every tap that it is, seen through transposes and casts."""
        return list(self._uses(self.leaf_nodes[leaf], False))

    def _uses(self, node: Node, is_transposed: bool) -> Iterator[Use]:
        if node in self._tapped:
            yield Use(node, AT_TAP, is_transposed)
        for consumer, slot in self.consumers[node]:
            if consumer.name() == CAST or is_transpose(consumer):
                yield from self._uses(consumer, is_transposed ^ (consumer.name() != CAST))
            else:
                yield Use(consumer, slot, is_transposed)


def is_transpose(node: Any) -> bool:
    """Of a matrix: `W.t()`, `W.T`, `W.mT`, `W.transpose(0, 1)`."""
    name = node.name()
    if name == "TBackward0" or name not in ("PermuteBackward0", "TransposeBackward0"):
        return bool(name == "TBackward0")
    is_matrix = len(node._input_metadata[0].shape) == 2
    dims = node._saved_dims if name == "PermuteBackward0" else (node._saved_dim0, node._saved_dim1)
    return is_matrix and (dims[0] % 2 != dims[1] % 2) and (name != "PermuteBackward0" or dims[0] % 2 == 1)


def leaf_of(node: Any) -> Tensor:
    """The tensor that a leaf's node adds gradients to."""
    leaf: Tensor = node.variable
    return leaf


def agreed_leaves(leaves: Iterable[Tensor], shared: Sequence[Tensor]) -> list[Tensor]:
    """The leaves of any rank, the same on all, those used last first.

    Args:
        leaves: of this rank.
        shared: what is shared is among these, in the same order on all ranks.

    Raises:
        ConfigError: a leaf is not among them.
    """
    here = set(leaves)
    if missing := len(here.difference(shared)):
        raise ConfigError(
            f"shared: {missing} of {len(here)} parameters that the tasks share are not among the {len(shared)} given; "
            "several processes must agree on their order, so name them all"
        )
    ranks = sum_counts([leaf in here for leaf in shared])
    return [leaf for leaf, count in zip(shared, ranks) if count][::-1]


def on_every_rank(taps: Sequence[GradientEdge], gradients: Gradients) -> Gradients:
    """One task's gradients at the taps; zeros for none where layers below may wait for the passes of other ranks."""
    if num_ranks() == 1:
        return gradients
    return [_zeros(tap) if gradient is None else gradient for tap, gradient in zip(taps, gradients, strict=True)]


def gradients_at(
    taps: Sequence[GradientEdge], inputs: Sequence[GradientEdge | Tensor], gradients: Gradients, *, keep: bool = True
) -> Gradients:
    """One task's gradients at `inputs`, from those at the taps: a pass of its own.

    Args:
        taps: where it starts.
        inputs: where it ends. Hooks of parameters among them do not run: they wait for the combined gradient.
        gradients: one a tap.
        keep: whether the graph is needed again.
    """
    read = [(t, g) for t, g in zip(taps, on_every_rank(taps, gradients), strict=True) if g is not None]
    if not read or not inputs:
        return [None] * len(inputs)
    outputs: Any
    outputs, own = zip(*read)
    ends: Any = inputs  # edges and tensors: PyTorch takes both together, its annotations do not
    with without_hooks(inputs):
        return torch.autograd.grad(outputs, ends, own, retain_graph=keep, allow_unused=True)


@contextmanager
def without_hooks(inputs: Sequence[GradientEdge | Tensor]) -> Iterator[None]:
    """Autograd would run the tensor hooks of the leaves that it is asked for."""
    hooks = {leaf: leaf._backward_hooks for leaf in inputs if isinstance(leaf, Tensor) and leaf._backward_hooks}
    for leaf in hooks:
        leaf._backward_hooks = None
    try:
        yield
    finally:
        for leaf, own in hooks.items():
            leaf._backward_hooks = own


def is_needed_again(nodes: Iterable[Node]) -> bool:
    """Whether the backward pass that runs, or a later one, goes through any of these nodes; leaves save nothing."""
    if torch._C._autograd._get_current_graph_task_keep_graph():
        return True
    return any(node.name() != LEAF and torch._C._will_engine_execute_node(node) for node in nodes)


def alike(column: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The tasks' gradients of one parameter, all dense where one of them is: else they cannot be added up."""
    if all(gradient is None or gradient.is_sparse for gradient in column):
        return list(column)
    return [None if gradient is None else dense(gradient) for gradient in column]


def dense(gradient: Tensor) -> Tensor:
    """The gradients of some embeddings are sparse."""
    return gradient.to_dense() if gradient.is_sparse else gradient


def _zeros(edge: GradientEdge) -> Tensor:
    node: Any = edge.node
    of = node._input_metadata[edge.output_nr]
    return torch.zeros(of.shape, dtype=of.dtype, device=of.device)
