"""The tasks' gradients of one parameter, formed a few of its rows at a time.

A layer's weight gradients `Gₖ = δₖᵀ a` are products of what the graph holds anyway, so that any rows of them can be
formed alone: a comparison needs no more memory than one gradient, whatever the number of tasks.

Shape legend: `T'` tasks that read, `r` rows of the parameter, `N` rows that go through a layer, `in` and `out` widths.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trunkline.engine.graph import Graph, Use, dense
from trunkline.engine.levels import precise
from trunkline.engine.measures import Kind, measure_kind

AT_ONCE = 2**18  # numbers of all tasks together, at least: fewer are not worth the calls

Row = list[Tensor | None]  # of one edge: one gradient a task
Results = tuple[Tensor | None, ...]


class Layer(ABC):
    """An operation that multiplies a parameter with what goes into it, for one call in the whole graph."""

    def __init__(self, use: Use) -> None:
        self.node: Any = use.node
        self.is_transposed = use.is_transposed

    @abstractmethod
    def rows(self, deltas: Sequence[Tensor], start: int, stop: int) -> Tensor:
        """Of the parameter's gradients `[T', r · …]`, from those at the output."""

    @abstractmethod
    def others(self, delta: Tensor) -> Results:
        """Gradients of all that enters the operation beside the parameter, by slot; `None` for those not wanted."""

    def wants(self, slot: int) -> bool:
        """Whether what enters there requires a gradient."""
        return self.node.next_functions[slot][0] is not None


class Product(Layer):
    """`x W` or `x Wᵀ`, and something added to it or not."""

    def rows(self, deltas: Sequence[Tensor], start: int, stop: int) -> Tensor:
        """`δᵀ a` for `W [out, in]`, else `aᵀ δ`."""
        a = self.node._saved_mat1 if self._adds else self.node._saved_self  # [N, in]
        if self.is_transposed:
            found = a.new_empty(len(deltas) * (stop - start), a.shape[1])
            for place, joined in _joined(deltas, start, stop):
                torch.mm(joined.T, a, out=found[place])
            return found.view(len(deltas), -1)
        found = a.new_empty(len(deltas), stop - start, deltas[0].shape[1])
        for row, delta in zip(found, deltas):
            torch.mm(a[:, start:stop].T, delta, out=row)
        return found.flatten(1)

    def others(self, delta: Tensor) -> Results:
        """`δ Wᵀ`, and δ itself of what is added."""
        below = delta @ self.node._saved_mat2.mT if self.wants(int(self._adds)) else None
        if not self._adds:
            return below, None
        return (self.node._saved_beta * delta if self.node._saved_beta != 1 else delta), below, None

    @property
    def _adds(self) -> bool:
        return bool(self.node.name() == "AddmmBackward0")


class Convolution(Layer):
    """Of one group."""

    def rows(self, deltas: Sequence[Tensor], start: int, stop: int) -> Tensor:
        """The weight gradient of a convolution that has the channels of several tasks."""
        kernel = self.node._saved_weight.shape[1:]
        found = deltas[0].new_empty(len(deltas) * (stop - start), *kernel)
        for place, joined in _joined(deltas, start, stop):
            found[place] = self._backward(joined, joined.new_empty(()).expand(joined.shape[1], *kernel), 1)
        return found.view(len(deltas), -1)

    def others(self, delta: Tensor) -> Results:
        """The bias gradient as a sum: on CPUs the convolution would form the weight's on the way."""
        below = self._backward(delta, self.node._saved_weight, 0) if self.wants(0) else None
        bias = precise(delta).flatten(2).sum((0, 2)) if self.wants(2) else None
        return below, None, bias

    def _backward(self, delta: Tensor, weight: Tensor, which: int) -> Tensor:
        geometry = (getattr(self.node, f"_saved_{name}") for name in ("stride", "padding", "dilation"))
        mask = [which == slot for slot in range(3)]
        found: Tensor = torch.ops.aten.convolution_backward(
            delta, self.node._saved_input, weight, None, *geometry, False, self.node._saved_output_padding, 1, mask
        )[which]
        return found


class LookUp(Layer):
    """An embedding."""

    def rows(self, deltas: Sequence[Tensor], start: int, stop: int) -> Tensor:
        """Gradients of the entries that were looked up, added; all others go to a row that is thrown away."""
        entries = self.node._saved_indices.flatten()
        is_here = (entries >= start) & (entries < stop) & (entries != self.node._saved_padding_idx)
        places = torch.where(is_here, entries - start, stop - start)
        flat = [precise(delta).reshape(-1, delta.shape[-1]) for delta in deltas]  # [N, D]
        formed = flat[0].new_zeros(len(deltas), stop - start + 1, flat[0].shape[1])
        for row, delta in zip(formed, flat):
            row.index_add_(0, places, delta)
        return formed[:, :-1].flatten(1)

    def others(self, delta: Tensor) -> Results:
        """Nothing else enters that can be learned."""
        return (None,)


def _joined(deltas: Sequence[Tensor], start: int, stop: int) -> Iterator[tuple[slice, Tensor]]:
    """Some outputs of several tasks side by side, and their places among those of all.

    As many as one task has outputs in all: a copy of one gradient at a time.
    """
    rows = stop - start
    together = max(1, deltas[0].shape[1] // rows)
    for first in range(0, len(deltas), together):
        parts = [delta[:, start:stop] for delta in deltas[first : first + together]]
        yield slice(first * rows, (first + len(parts)) * rows), torch.cat(parts, 1) if len(parts) > 1 else parts[0]


_LAYERS: dict[Kind, type[Layer]] = {
    "linear": Product,
    "matrix": Product,
    "convolution": Convolution,
    "embedding": LookUp,
}


class Found(NamedTuple):
    """A layer, and whose gradients it forms.

    Attributes:
        leaf: the parameter.
        layer: the one operation that it enters.
    """

    leaf: Tensor
    layer: Layer


def layers_of(graph: Graph) -> dict[Any, Found]:
    """By node; parameters that enter one operation of a known kind, and nothing else."""
    uses = {leaf: graph.uses(leaf) for leaf in graph.leaves}
    once = [(leaf, own[0], measure_kind(own)) for leaf, own in uses.items() if len(own) == 1]
    return {use.node: Found(leaf, _LAYERS[kind](use)) for leaf, use, kind in once if kind in _LAYERS}


class Column(NamedTuple):
    """Of one parameter.

    Attributes:
        readers: the tasks that have a gradient.
        rows: `(start, stop) -> [T', r · …]` of the parameter's rows.
    """

    readers: list[int]
    rows: Callable[[int, int], Tensor]


def to_be_formed(layer: Layer, row: Row) -> Column:
    """From the tasks' gradients at a layer's output."""
    deltas = [delta for delta in row if delta is not None]
    return Column(_readers(row), lambda start, stop: layer.rows(deltas, start, stop))


def formed(leaf: Tensor, row: Row) -> Column:
    """From the parameter's gradients."""
    length, _ = rows_of(leaf)
    flat = [dense(gradient).reshape(length, -1) for gradient in row if gradient is not None]
    return Column(_readers(row), lambda start, stop: torch.stack([g[start:stop].flatten() for g in flat]))


def _readers(row: Row) -> list[int]:
    return [k for k, gradient in enumerate(row) if gradient is not None]


def rows_of(leaf: Tensor) -> tuple[int, int]:
    """How many rows a parameter has, and how many numbers each."""
    length = leaf.shape[0] if leaf.dim() else 1
    return length, leaf.numel() // max(1, length)


def pieces_of(leaf: Tensor, tasks: int) -> Iterator[tuple[int, int]]:
    """Rows from and to: of all tasks together no more than the parameter itself has, or `AT_ONCE`."""
    length, width = rows_of(leaf)
    step = max(1, max(AT_ONCE, leaf.numel()) // max(1, tasks * width))
    for start in range(0, length, step):
        yield start, min(length, start + step)
