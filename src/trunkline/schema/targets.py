"""Labels of a table → targets: row targets prepared once and indexed, all others as they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trunkline.contexts import Context, MosaicContext
from trunkline.data import Table
from trunkline.schema.keeping import Kept
from trunkline.schema.preprocessing import HeadUnit, Preprocessing
from trunkline.schema.reading import read_cell
from trunkline.schema.stored import store
from trunkline.schema.whole_columns import prepare_column
from trunkline.tasks import Task


class Targets:
    """The targets of a table.

    Args:
        preprocessing: fitted states.
        table: with target columns.
        heads: whose.
        kept: where values are kept while there is room.
    """

    def __init__(self, preprocessing: Preprocessing, table: Table, heads: Sequence[HeadUnit], kept: Kept) -> None:
        self.preprocessing, self.table, self.kept = preprocessing, table, kept
        self._of_rows = {u.name: self._collate_rows(u) for u in heads if self._task(u.name).reads == "row"}

    def is_ready(self, head: str) -> bool:
        """Whether all of a head's targets have been prepared, so that none can turn out to be unreadable."""
        return head in self._of_rows

    def take(
        self, unit: HeadUnit, whose: Sequence[Sequence[int]], contexts: Sequence[Context | None]
    ) -> dict[str, Tensor]:
        """Targets of one head; of each row of the batch its own label, or those of the rows that it shows."""
        if unit.name in self._of_rows:
            index = torch.tensor([row for (row,) in whose])
            return {k: v[index] for k, v in self._of_rows[unit.name].items()}
        return self._task(unit.name).collate([[self._label(unit.name, rows, c)] for rows, c in zip(whose, contexts)])

    def look_at(self, head: str, row: int) -> None:
        """Read one target as it will be needed.

        Raises:
            DataError: it cannot be read.
        """
        if self._task(head).heeds_context:
            self._value(head, row)
        else:
            self._prepared(head, row)

    def _label(self, name: str, rows: Sequence[int], context: Context | None) -> Any:
        """One prepared target."""
        if not self._task(name).heeds_context and len(rows) == 1:
            return self._prepared(name, rows[0])
        contexts = context.tiles if isinstance(context, MosaicContext) else (context,)
        items = [
            self.preprocessing.prepare_target(name, self.table, row, self._value(name, row), own)
            for row, own in zip(rows, contexts, strict=True)
        ]
        if isinstance(context, MosaicContext):
            return self._task(name).join(items, context.places, context.size)
        return items[0]

    def _prepared(self, name: str, row: int) -> Any:
        """A target that nothing done to an input changes: prepared once, and its cell not kept beside it."""
        return self.kept.get(
            ("ready", name, row),
            lambda: self.preprocessing.prepare_target(name, self.table, row, self._read(name, row), None),
        )

    def _value(self, name: str, row: int) -> Any:
        return self.kept.get(("", name, row), partial(self._read, name, row))

    def _read(self, name: str, row: int) -> Any:
        column = self.preprocessing.schema.tasks[name]
        return read_cell(column.task, self.table, column.column, row, self.table.cell(row, column.column))

    def _collate_rows(self, unit: HeadUnit) -> dict[str, Tensor]:
        """All rows of a row head's targets, prepared."""
        collate = self._task(unit.name).collate

        def pieces() -> Iterator[tuple[slice, dict[str, Tensor] | None]]:
            for rows in self.table.pieces():
                items = self._items(unit, rows)
                # Where there is no label, nothing says what shape one has.
                is_any = any(item is not None for row in items for item in row)
                yield slice(int(rows[0]), int(rows[-1]) + 1), collate(items) if is_any else None

        return store(len(self.table), pieces()) or collate([(None,) * len(unit.tasks)] * len(self.table))

    def _items(self, unit: HeadUnit, rows: np.ndarray) -> list[tuple[Any, ...]]:
        columns = []
        for name in unit.tasks:
            column, state = self.preprocessing.schema.tasks[name], self.preprocessing.states["tasks"][name]
            prepare = partial(column.task.prepare, state=state, context=None)
            columns.append(prepare_column(column.task, self.table, column.column, rows, prepare))
        return list(zip(*columns))

    def _task(self, name: str) -> Task:
        return self.preprocessing.schema.tasks[name].task
