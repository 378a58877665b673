"""All tasks' gradients through one graph side by side, so that each parameter's can be used and thrown away.

Autograd's own passes come one after the other: to compare T of them, T gradients of every parameter must be kept.
Here each node is run for every task before the next node, latest first, as autograd itself would: at no time is more
alive than the tasks' gradients at the frontier. Hooks that somebody put on tensors are not run.

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

Row = list[Tensor | None]  # of one edge: one gradient a task


class Walk:
    """One backward pass for several tasks.

    Args:
        taps: where it starts.
        gradients: of each task, at each tap; `None` where it does not read that tap.
    """

    def __init__(self, taps: Sequence[GradientEdge], gradients: Sequence[Sequence[Tensor | None]]) -> None:
        self.tasks = len(gradients)
        self._arrived: dict[Node, dict[int, Row]] = defaultdict(dict)
        self._missing = _edges_into([tap.node for tap in taps])
        self._ready: list[tuple[int, int, int, Node]] = []
        self._tie = count()
        for tap, row in zip(taps, zip(*gradients), strict=True):
            self._add(tap.node, tap.output_nr, list(row))
        for node in {tap.node for tap in taps}:
            if self._missing[node] == 0:
                self._push(node)

    def leaves(self) -> Iterator[tuple[Tensor, Row]]:
        """Each leaf and the tasks' gradients at it, as soon as they are whole."""
        while self._ready:
            node = heapq.heappop(self._ready)[-1]
            arrived = self._arrived.pop(node, {})
            if node.name() == LEAF:
                yield leaf_of(node), arrived.get(0, [None] * self.tasks)
                continue
            self._run(node, arrived)
            for below, _ in node.next_functions:
                if below is not None:
                    self._missing[below] -= 1
                    if self._missing[below] == 0:
                        self._push(below)

    def _run(self, node: Node, arrived: dict[int, Row]) -> None:
        edges = [(place, below, number) for place, (below, number) in enumerate(node.next_functions) if below]
        made: list[Row] = [[None] * self.tasks for _ in edges]
        for task in range(self.tasks):
            own = {output: row[task] for output, row in arrived.items()}
            if all(gradient is None for gradient in own.values()):
                continue
            results = _run_node(node, own)
            for row, (place, _, _) in zip(made, edges):
                row[task] = results[place]
        for row, (_, below, number) in zip(made, edges):
            self._add(below, number, row)

    def _add(self, node: Node, output: int, row: Row) -> None:
        before = self._arrived[node].get(output)
        fitted = [None if gradient is None else _fitted(gradient, node, output) for gradient in row]
        self._arrived[node][output] = fitted if before is None else [_sum(a, b) for a, b in zip(before, fitted)]

    def _push(self, node: Any) -> None:
        # Latest first, as autograd; leaves at once, so that their gradients do not wait.
        rank = (0, 0) if node.name() == LEAF else (1, -node._sequence_nr())
        heapq.heappush(self._ready, (*rank, next(self._tie), node))


def _edges_into(starts: Sequence[Node]) -> dict[Node, int]:
    """How many edges lead into each node."""
    edges: dict[Node, int] = defaultdict(int)
    waiting, seen = list(starts), set(starts)
    while waiting:
        for below, _ in waiting.pop().next_functions:
            if below is not None:
                edges[below] += 1
                if below not in seen:
                    seen.add(below)
                    waiting.append(below)
    return edges


def _run_node(node: Any, arrived: Mapping[int, Tensor | None]) -> Sequence[Tensor | None]:
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


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return a if b is None else b if a is None else a + b
