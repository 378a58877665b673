"""Level `trunk`: gradients compared at everything that the tasks share, exactly.

Shape legend: `T` tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakSet

from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from trunkline.engine.distributed import num_ranks, sum_over_ranks
from trunkline.engine.graph import Graph, agreed_leaves, alike, dense, gradients_at, is_needed_again
from trunkline.engine.levels import Comparison, Gradients, weighted_sum
from trunkline.engine.products import add_at, add_products, gram, nothing_yet
from trunkline.engine.refusals import check_passable

Column = Sequence[Tensor | None]  # of one leaf: one gradient a task

_OPEN: WeakSet[Trunk] = WeakSet()  # whose passes are still to come


class Trunk(Comparison):
    """One pass a task down to the shared parameters, whose gradients are kept until the weights are known.

    Then their weighted sum *is* the shared part's gradient: the boundary gives it to the parameters, and the taps are
    cut off, so no pass comes after. Costs T passes, and T copies of the shared parameters.

    Args:
        taps: through which the tasks read.
        shared: what is shared is among these, in the same order on all ranks; needed where there are several.
        cuts: whether the boundary is cut off from the taps. Else the weighted sum goes through them in a pass more, as
            it must where weights may be there without a comparison.
    """

    def __init__(self, taps: Sequence[Tensor], shared: Sequence[Tensor], *, cuts: bool = True) -> None:
        self.taps = [get_gradient_edge(tap) for tap in taps]
        self.shared = shared
        self._graph = self._checked_graph() if cuts else None  # else perhaps not needed in this step
        self.leaves = () if self._graph is None else tuple(self._graph.leaves)
        self._columns: list[Column] = []
        _OPEN.add(self)

    def _checked_graph(self) -> Graph:
        graph = Graph(self.taps)
        check_passable("trunk", graph, self.shared)
        return graph

    def gramian(
        self, gradients: Sequence[Gradients], tasks: Sequence[int], kept: Sequence[Tensor], blank: Tensor
    ) -> Tensor:
        """Linear forms, summed over ranks before products are taken."""
        graph = self._graph or self._checked_graph()
        leaves = graph.leaves
        _OPEN.discard(self)
        # Cut off, the graph is nobody else's to free.
        keep = not self.leaves or is_needed_again(graph.nodes) or any(other.passes(graph) for other in _OPEN)
        last = len(gradients) - 1
        rows = [gradients_at(self.taps, leaves, own, keep=keep or k < last) for k, own in enumerate(gradients)]
        columns: list[Column] = [alike(column) for column in zip(*rows)]
        self._columns = columns if self.leaves else []
        found = dict(zip(leaves, columns))
        gramian = nothing_yet(len(blank), blank)
        for leaf in agreed_leaves(leaves, self.shared) if num_ranks() > 1 else leaves:
            gramian += products(leaf.numel(), found.get(leaf, ()), blank)
        return gramian

    def passes(self, graph: Graph) -> bool:
        """Whether passes that are still to come go through a part of this graph."""
        own = self._graph or Graph(self.taps)
        return not own.nodes.isdisjoint(graph.nodes)

    def combined(self, weights: Sequence[float]) -> Gradients | None:
        """`Σ wₖ gₖ` of each leaf; the tasks' gradients are given up."""
        if not self.leaves:
            return None
        columns, self._columns = self._columns, []
        return [weighted_sum(column, weights, leaf.dtype) for leaf, column in zip(self.leaves, columns)]


def products(size: int, column: Column, blank: Tensor) -> Tensor:
    """`⟨gᵢ, gⱼ⟩ [T, T]` of gradients of `size` numbers, averaged over ranks."""
    gramian = nothing_yet(len(blank), blank)
    readers = [k for k, gradient in enumerate(column) if gradient is not None]
    found = [dense(g) for g in column if g is not None]
    if num_ranks() > 1:
        every = blank.new_zeros(len(blank), size)
        for k, gradient in zip(readers, found):
            every[k] = gradient.flatten()
        every = sum_over_ranks(every) / num_ranks()
        add_products(gramian, every, every)
        return gramian
    if found:
        add_at(gramian, readers, gram(found, blank.dtype))
    return gramian
