"""All tasks' gradients through one graph side by side, so that each parameter's can be used and thrown away.

Autograd's own passes come one after the other: to compare T of them, T gradients of every parameter must be kept.
Here each node is run for every task before the next node, latest first, as autograd itself would: at no time is more
alive than the tasks' gradients at the frontier. Weight gradients of most layers are not even formed (see `pieces`).

Shape legend: `T` tasks.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from trunkline.engine.graph import LEAF, leaf_of
from trunkline.engine.pieces import Column, Found, Layer, Row, formed, to_be_formed


class Walk:
    """One backward pass for several tasks.

    Args:
        taps: where it starts.
        gradients: of each task, at each tap; `None` where it does not read that tap.
        layers: by node, whose parameters' gradients are not to be formed in the pass.
    """

    def __init__(
        self,
        taps: Sequence[GradientEdge],
        gradients: Sequence[Sequence[Tensor | None]],
        layers: Mapping[Node, Found],
    ) -> None:
        self.tasks = len(gradients)
        self._layers = layers
        self._apart = {leaf for leaf, _ in layers.values()}
        self._arrived: dict[Node, dict[int, Row]] = defaultdict(dict)
        self._missing = _edges_into([tap.node for tap in taps])
        self._ready: list[tuple[int, int, int, Node]] = []
        self._tie = count()
        for tap, row in zip(taps, zip(*gradients), strict=True):
            for task, gradient in enumerate(row):
                self._add(tap.node, tap.output_nr, task, gradient)
        for node in {tap.node for tap in taps}:
            if self._missing[node] == 0:
                self._push(node)

    def columns(self) -> Iterator[tuple[Tensor, Column]]:
        """Each leaf and the tasks' gradients at it, as soon as they are whole."""
        while self._ready:
            node = heapq.heappop(self._ready)[-1]
            arrived = self._arrived.pop(node, {})
            if node.name() == LEAF:
                if (leaf := leaf_of(node)) not in self._apart:
                    yield leaf, formed(leaf, arrived.pop(0, []))
                continue
            _run_hooks(node, arrived)
            layer = None
            if node in self._layers:
                leaf, layer = self._layers[node]
                yield leaf, to_be_formed(layer, arrived.get(0, []))
            self._run(node, layer, arrived)
            for below, _ in node.next_functions:
                if below is not None:
                    self._missing[below] -= 1
                    if self._missing[below] == 0:
                        self._push(below)
        assert not any(self._missing.values()), "a part of the graph was not reached"

    def _run(self, node: Node, layer: Layer | None, arrived: dict[int, Row]) -> None:
        edges = [(slot, below, number) for slot, (below, number) in enumerate(node.next_functions) if below]
        for task in range(self.tasks):
            own = _of_task(arrived, task)
            if not own:
                continue
            results = list(_run_node(node, own) if layer is None else layer.others(own[0]))
            own.clear()
            for row in arrived.values():
                row[task] = None  # what has been used makes room for the next task's
            for slot, below, number in edges:
                self._add(below, number, task, results[slot])
                results[slot] = None

    def _add(self, node: Node, output: int, task: int, gradient: Tensor | None) -> None:
        if gradient is None:
            return
        row = self._arrived[node].setdefault(output, [None] * self.tasks)
        fitted, before = _fitted(gradient, node, output), row[task]
        row[task] = fitted if before is None else before + fitted

    def _push(self, node: Any) -> None:
        # Latest first, as autograd; leaves at once, so that their gradients do not wait.
        rank = (0, 0) if node.name() == LEAF else (1, -node._sequence_nr())
        heapq.heappush(self._ready, (*rank, next(self._tie), node))


def _of_task(arrived: Mapping[int, Row], task: int) -> dict[int, Tensor]:
    return {output: gradient for output, row in arrived.items() if (gradient := row[task]) is not None}


def _run_hooks(node: Node, arrived: dict[int, Row]) -> None:
    """Those that somebody put on the activation: autograd runs them on what passes through the edges.

    Where they leave the first task's gradients as they are, the others are not asked.
    """
    for task in range(max(map(len, arrived.values()), default=0)):
        own = _of_task(arrived, task)
        if not own:
            continue
        edges = [GradientEdge(node, output) for output in own]
        found = torch.autograd.grad(edges, edges, list(own.values()), retain_graph=True)
        if all(after is before for after, before in zip(found, own.values())):
            return
        for output, after in zip(own, found):
            arrived[output][task] = after


def _edges_into(starts: Sequence[Node]) -> dict[Node, int]:
    """How many edges lead into each node."""
    edges: dict[Node, int] = defaultdict(int)
    seen = set(starts)  # two taps may be outputs of one node
    waiting = list(seen)
    while waiting:
        for below, _ in waiting.pop().next_functions:
            if below is not None:
                edges[below] += 1
                if below not in seen:
                    seen.add(below)
                    waiting.append(below)
    return edges


def _run_node(node: Any, arrived: Mapping[int, Tensor]) -> Sequence[Tensor | None]:
    """One node's own backward function for one task: a gradient for each of its next functions."""
    outputs = [arrived.get(number) for number in range(len(node._input_metadata))]
    if callable(node):
        return _as_tuple(node(*outputs))
    # A torch.autograd.Function: it may count on zeros, and answers for every argument, not only for tensors.
    zeros = (torch.zeros(m.shape, dtype=m.dtype, device=m.device) for m in node._input_metadata)
    results = _as_tuple(node.apply(*(z if g is None else g for g, z in zip(outputs, zeros))))
    wanted = iter([result for result, needed in zip(results, node.needs_input_grad) if needed])
    return [next(wanted) if below is not None else None for below, _ in node.next_functions]


def _as_tuple(results: Any) -> tuple[Tensor | None, ...]:
    return results if isinstance(results, tuple) else (results,)


def _fitted(gradient: Tensor, node: Any, output: int) -> Tensor:
    """In the shape and precision of what it is a gradient of, as autograd makes it between two nodes."""
    wanted = node._input_metadata[output]
    if gradient.shape != wanted.shape:
        gradient = gradient.sum_to_size(wanted.shape)
    return gradient.to(wanted.dtype)
