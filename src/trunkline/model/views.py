"""What a head reads: its task's view of the taps, of the rows it is asked about, from one lot or from several.

Shape legend: `B` rows of a batch, `n` rows asked about, `D` width, `V` views (1, or one a task), `E` experts of late
fusion, `M` members of an ensemble.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trunkline.model.ensemble import rows_of_members
from trunkline.model.late import rows_of_each
from trunkline.model.lots import Lot, Shared, at, order, within
from trunkline.schema import HeadUnit, Schema
from trunkline.trunks import Taps, TrunkModule
from trunkline.types import Part, Tokens

Sources = Mapping[str, Mapping[str, Tensor]]


class Views:
    """Makes them.

    Args:
        schema: says what each task reads.
        trunk: makes a task's view.
        experts: of late fusion, whose rows lie one expert after the other; 0 for any other.
    """

    def __init__(self, schema: Schema, trunk: TrunkModule, experts: int) -> None:
        self.schema, self.trunk, self.experts = schema, trunk, experts

    def of(
        self,
        unit: HeadUnit,
        shared: Shared | Mapping[str, Shared],
        part: Part | None,
        sources: Sources,
        *,
        is_first: bool = False,
    ) -> Any:
        """What one head reads.

        Args:
            unit: the head.
            shared: one for all tasks, or each task's own copies.
            part: of the rows that are asked about; `None` for all.
            sources: of the whole batch, see `Batch.sources`.
            is_first: it is the head of the first answer, see `TrunkModule.first_weight`.

        Returns:
            `[V, n, D]` for a row head, of late fusion `[V, E · n, D]`, of an ensemble `[V, M · n, D]`; Tokens for any
            other.
        """
        rows, wanted = (None, None) if part is None else (part.rows, part.on_host)
        tasks = unit.tasks[:1] if self.trunk.one_view and not isinstance(shared, Mapping) else unit.tasks
        lots = shared if not isinstance(shared, Mapping) else shared[tasks[0]]
        found: list[list[Any]] = []  # by lot and view
        whose = []
        for place, lot in enumerate(lots):
            here = within(lot, wanted)
            if here is not None and len(here) == 0:
                continue
            if lot.rows is None:
                index = rows
            else:
                index = None if here is None else at(here, lot.taps[0].values)
                whose.append(lot.rows if here is None else lot.rows[here])
            own = [shared[task][place] if isinstance(shared, Mapping) else lot for task in tasks]
            found.append([self._read(unit, one, index, is_first, task) for task, one in zip(tasks, own)])
        places = order(whose, wanted) if whose else None
        views = [_joined(list(parts), places) for parts in zip(*found)]
        if self.is_ensemble(unit):
            return torch.stack([rows_of_members(view) for view in views])
        if self.schema.tasks[unit.name].task.reads == "row":
            return torch.stack(views)
        (view,) = views
        if (source := sources.get(unit.name)) is None:
            return view
        return replace(view, source=source if rows is None else {k: v.index_select(0, rows) for k, v in source.items()})

    def is_ensemble(self, unit: HeadUnit) -> bool:
        """Whether this head is asked about every member's row."""
        return self.trunk.members > 1 and self.schema.tasks[unit.name].task.reads == "row"

    def _read(self, unit: HeadUnit, lot: Lot, index: Tensor | None, is_first: bool, task: str) -> Tensor | Tokens:
        """What one task reads of a lot's rows at `index`: `[n, D]`, of an ensemble `[n, M, D]`, or Tokens."""
        column = self.schema.tasks[unit.name]
        if self.experts:
            index = rows_of_each(index, self.experts, lot.taps[0].values.shape[0])
        taps: Taps = tuple(tap.take(index) for tap in lot.taps)
        view = self.trunk.first_view(task, taps) if is_first else self.trunk.view(task, taps)
        if self.is_ensemble(unit):
            return view.values[:, : self.trunk.members]
        if column.task.reads == "row":
            return view.row()
        own = view if column.of is None else view.of(column.of)
        if column.task.reads == "pyramid":
            return own
        return own.finest() if column.task.reads == "grid" else own.coarsest()


def _joined(parts: Sequence[Any], places: np.ndarray | None) -> Any:
    """The rows of all lots, in the order that is asked for."""
    if isinstance(parts[0], Tokens):
        view = Tokens.below(parts)
        return view if places is None else view.take(at(places, view.values))
    rows = parts[0] if len(parts) == 1 else torch.cat(list(parts))
    return rows if places is None else rows.index_select(0, at(places, rows))
