"""Level `trunk-lean`: as `trunk`, parameter by parameter, so that no task's gradients of all of them are kept.

Shape legend: `T` tasks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from trunkline.balancers import index_like
from trunkline.engine.distributed import num_ranks, sum_over_ranks
from trunkline.engine.graph import Graph, agreed_leaves, on_every_rank
from trunkline.engine.levels import Comparison, Gradients
from trunkline.engine.pieces import Column, layers_of, pieces_of, rows_of
from trunkline.engine.products import add_at, add_products, nothing_yet
from trunkline.engine.refusals import check_passable
from trunkline.engine.walk import Walk


class Lean(Comparison):
    """The Gramian of `trunk` without copies of the parameters, but one pass more, with the weighted sum.

    Hooks on activations count where they change the first task's gradient; one that leaves that alone and changes
    another's is not seen.

    Args:
        taps: through which the tasks read.
        shared: what is shared is among these, in the same order on all ranks; needed where there are several.
    """

    def __init__(self, taps: Sequence[Tensor], shared: Sequence[Tensor]) -> None:
        self.taps: list[GradientEdge] = [get_gradient_edge(tap) for tap in taps]
        self.shared = shared

    def gramian(
        self, gradients: Sequence[Gradients], tasks: Sequence[int], kept: Sequence[Tensor], blank: Tensor
    ) -> Tensor:
        """Linear forms, summed over ranks before products are taken."""
        graph = Graph(self.taps)
        check_passable("trunk-lean", graph, self.shared)
        walk = Walk(self.taps, [on_every_rank(self.taps, own) for own in gradients], layers_of(graph))
        columns: Iterator[tuple[Tensor, Column | None]] = walk.columns()
        if num_ranks() > 1:
            columns = _in_order(columns, agreed_leaves(graph.leaves, self.shared), set(graph.leaves))
        gramian = nothing_yet(len(blank), blank)
        for leaf, column in columns:
            gramian += products_by_pieces(leaf, column, blank)
            del column  # the walk goes on without it
        return gramian


def _in_order(
    columns: Iterable[tuple[Tensor, Column | None]], leaves: Sequence[Tensor], own: Collection[Tensor]
) -> Iterator[tuple[Tensor, Column | None]]:
    """One column for each leaf, `None` where this rank has none; what comes too early waits."""
    coming, early = iter(columns), dict[Tensor, Column | None]()
    for leaf in leaves:
        while leaf in own and leaf not in early and (found := next(coming, None)) is not None:
            early[found[0]] = found[1]
        yield leaf, early.pop(leaf, None)


def products_by_pieces(leaf: Tensor, column: Column | None, blank: Tensor) -> Tensor:
    """`⟨gᵢ, gⱼ⟩ [T, T]` of a parameter, averaged over ranks."""
    gramian = nothing_yet(len(blank), blank)
    is_alone, readers = num_ranks() == 1, column.readers if column else []
    if is_alone and not readers:
        return gramian
    index = index_like(readers, blank)
    _, width = rows_of(leaf)
    for start, stop in pieces_of(leaf, len(blank)):
        found = column.rows(start, stop).to(blank.dtype) if column and readers else None
        if is_alone and found is not None:
            own = nothing_yet(len(readers), blank)
            add_products(own, found, found)
            add_at(gramian, readers, own)
            continue
        every = blank.new_zeros(len(blank), (stop - start) * width)
        if found is not None:
            every[index] = found
        every = sum_over_ranks(every) / num_ranks()
        add_products(gramian, every, every)
    return gramian
