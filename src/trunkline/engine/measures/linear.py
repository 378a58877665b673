"""Weights of linear layers: `Gₖ = Σ δₖᵀ a` over all that went through the layer, however often it was called.

Shape legend: `N` rows that go through a call, `in` and `out` widths, `c` columns of the basis, `T` tasks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from trunkline.engine.distributed import sum_over_ranks
from trunkline.engine.graph import Use
from trunkline.engine.levels import Gradients
from trunkline.engine.measures.basis import basis, draw, half
from trunkline.engine.measures.contract import Measure
from trunkline.engine.products import add_at, add_products, nothing_yet


def activation(use: Use) -> Tensor:
    """What a linear operation multiplied its weight with, `[N, in]`, as autograd has saved it."""
    saved = "_saved_mat1" if use.node.name() == "AddmmBackward0" else "_saved_self"
    return getattr(use.node, saved).detach()


class Projected(Measure):
    """Forms `Gₖ S [out, c]`.

    Args:
        uses: calls of this rank; none where only others have them.
        width: `in`.
        columns: `c`.
        outputs: `out`.
        generator: of the step's directions.
        blank: a zero, on the device and in the precision wanted.
    """

    def __init__(
        self,
        uses: Sequence[Use],
        *,
        width: int,
        columns: int,
        outputs: int,
        generator: torch.Generator,
        blank: Tensor,
    ) -> None:
        super().__init__()
        self.edges = [GradientEdge(use.node, 0) for use in uses]
        self._size = outputs * columns
        inputs = [activation(use).to(blank.dtype) for use in uses]
        start = draw(width, half(columns), generator, blank)
        image = sum((a.T @ (a @ start) for a in inputs), torch.zeros_like(start))
        directions = basis(sum_over_ranks(image), draw(width, columns - half(columns), generator, blank))
        self._seen = [a @ directions for a in inputs]  # [N, c] a call

    def form(self, gradients: Gradients) -> Tensor:
        """`δᵀ (a S)`, summed over calls."""
        read = [d.to(seen.dtype).T @ seen for d, seen in zip(gradients, self._seen) if d is not None]
        return torch.stack(read).sum(0) if len(read) > 1 else read[0]

    def size(self) -> int:
        """`out · c`."""
        return self._size


class ByRows(Measure):
    """Where rows are few: `⟨δᵢ δⱼᵀ, a aᵀ⟩`, exactly. For one process, since it takes pairs of rows.

    Args:
        uses: all calls.
        blank: a zero, on the device and in the precision wanted.
    """

    def __init__(self, uses: Sequence[Use], *, blank: Tensor) -> None:
        super().__init__()
        self.edges = [GradientEdge(use.node, 0) for use in uses]
        inputs = [activation(use).to(blank.dtype) for use in uses]
        self._lengths = [len(a) for a in inputs]
        joined = torch.cat(inputs)
        self._pairs = joined @ joined.T  # [N, N] over all calls
        self._size = 0

    def form(self, gradients: Gradients) -> Tensor:
        """`δ [N, out]` over all calls."""
        outputs = next(d.shape[1] for d in gradients if d is not None)
        blank = self._pairs.new_zeros(())
        rows = [blank.expand(n, outputs) if d is None else d.to(blank.dtype) for d, n in zip(gradients, self._lengths)]
        return torch.cat(rows)

    def size(self) -> int:
        """`N · out`; nobody sums over ranks."""
        return self._size

    def gramian(self, blank: Tensor) -> Tensor:
        """One product with the pairs a task."""
        forms, self.forms = self.forms, []
        readers = [k for k, form in enumerate(forms) if form is not None]
        if not readers:
            return nothing_yet(len(blank), blank)
        deltas = torch.stack([form for form in forms if form is not None])  # [T, N, out]
        inner, gramian = nothing_yet(len(readers), blank), nothing_yet(len(blank), blank)
        add_products(inner, deltas.flatten(1), (self._pairs @ deltas).flatten(1))
        add_at(gramian, readers, (inner + inner.T) / 2)
        return gramian
