"""Rows as training sees them, on one page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from trunkline.contexts import MosaicContext
from trunkline.data import Draw, draw_seed
from trunkline.plan import Plan
from trunkline.report import SeenRow, View, write_preview
from trunkline.schema import Preprocessing, RowBatches
from trunkline.schema.preprocessing import evenly_spaced
from trunkline.schema.reading import read_cell
from trunkline.showing import WHOLE, Shown, shown_picture, shown_text
from trunkline.types import Batch, Part

ROWS, DRAWS = 12, 3  # shown, and how often each is drawn as training draws it


def preview(plan: Plan, out: str | Path, *, title: str) -> Path:
    """A page with some training rows: as they are seen later, and in several draws of training.

    Args:
        plan: what will be trained.
        out: the HTML file to write.
        title: of the page.
    """
    split = plan.splits.train
    source = plan.source(split)
    useful = split.rows[source.labelled[split.rows].any(1)]
    rows = tuple(evenly_spaced(useful.tolist(), ROWS))
    seed = plan.config.training.seed
    drawn = [source[Draw(rows, draw_seed(seed, 0, number))] for number in range(DRAWS)]
    batches = {"plain": source[Draw(rows, None)]} | {f"draw {n}": batch for n, batch in enumerate(drawn, start=1)}
    return write_preview(title, [_row(source, batches, place, row) for place, row in enumerate(rows)], out)


def _row(source: RowBatches, batches: Mapping[str, Batch], place: int, row: int) -> SeenRow:
    schema, table = source.preprocessing.schema, source.table
    views = [_view(source.preprocessing, title, batch, place) for title, batch in batches.items()]
    drawn = {name for view in views for name in view.pictures}
    drawn |= {of for name in drawn & schema.tasks.keys() if (of := schema.tasks[name].of) is not None}
    cells: dict[str, Shown] = {}
    for name, column in schema.inputs.items():
        cell = table.cell(row, column.column)
        if cell is not None and name not in drawn:
            cells[name] = column.modality.show(read_cell(column.modality, table, column.column, row, cell))
    labels: dict[str, Shown] = {}
    for name, target in schema.tasks.items():
        cell = table.cell(row, target.column)
        if cell is not None and name not in drawn:
            labels[name] = _label(read_cell(target.task, table, target.column, row, cell))
    return SeenRow(row + 1, cells, labels, views)


def _label(value: Any) -> Shown:
    """A label that is not drawn on its input; of arrays only what they are."""
    return shown_text(f"array of shape {list(value.shape)}" if isinstance(value, np.ndarray) else value)


def _view(states: Preprocessing, title: str, batch: Batch, place: int) -> View:
    """What one draw makes of a row."""
    pictures: dict[str, Shown] = {}
    for unit in (unit for unit in states.encoders if not unit.is_block):
        values = values_of(batch.inputs.get(unit.name), place)
        value = None if values is None else states.schema.inputs[unit.name].modality.seen(values)
        if value is not None:
            targets = _targets(states, batch, place, unit.name, value)
            pictures |= targets or {unit.name: shown_picture(value, side=WHOLE)}
    flags = [*zip(batch.present.names, batch.present.values[place].tolist())]
    absent = [name for name, is_there in flags if not is_there]
    unlabelled = [n for n, is_there in zip(batch.labelled.names, batch.labelled.values[place].tolist()) if not is_there]
    is_mosaic = any(isinstance(contexts[place], MosaicContext) for contexts in batch.context.values())
    notes = ["of four rows"] if is_mosaic else []
    notes += [f"{batch.mix.share:.0%} its own, mixed with another row"] if batch.mix is not None else []
    return View(title, pictures, absent, unlabelled, notes)


def _targets(states: Preprocessing, batch: Batch, place: int, of: str, value: Any) -> dict[str, Shown]:
    """What tasks bound to an input learn from it, drawn."""
    shown = {}
    for unit in states.heads:
        column = states.schema.tasks[unit.name]
        target = values_of(batch.targets.get(unit.name), place) if column.of == of else None
        drawn = None if target is None else column.task.show_target(target, states.states["tasks"][unit.name], value)
        if drawn is not None:
            shown[unit.name] = drawn
    return shown


def values_of(part: Part | None, place: int) -> dict[str, Tensor] | None:
    """One row of a part, by its place in the batch; `None` where it has nothing."""
    if part is None:
        return None
    if part.rows is not None:
        found = (part.rows == place).nonzero().flatten().tolist()
        if not found:
            return None
        (place,) = found
    return {name: value[place] for name, value in part.values.items()}
