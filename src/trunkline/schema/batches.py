"""Rows of a table → batches. Everything that is read, augmented or left out happens here, on the host."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from trunkline.contexts import Context
from trunkline.data import Draw, Table
from trunkline.errors import DataError
from trunkline.machine import memory
from trunkline.schema.dropping import drop_inputs
from trunkline.schema.keeping import Kept
from trunkline.schema.learned import LEARNED_FROM, leave_unanswerable
from trunkline.schema.mixing import mixed
from trunkline.schema.mosaics import Mosaic, Mosaics, keep_only
from trunkline.schema.preprocessing import EncoderUnit, HeadUnit, Preprocessing, label_flags
from trunkline.schema.reading import read_cell
from trunkline.schema.stored import store
from trunkline.schema.targets import Targets
from trunkline.schema.whole_columns import prepare_column
from trunkline.types import Batch, Flags, Part

CACHE_BYTES = min(2 << 30, memory() // 32)  # of cells that are kept, for each table


class RowBatches(Dataset[Batch]):
    """A table as a source of batches: `batches[Draw(rows, seed)]`.

    A draw with a seed is a training batch: inputs are augmented, and left out at random; the same draw gives the same
    batch anywhere. A draw without one is plain.

    Numbers, categories and row targets are prepared once and indexed; pictures, sounds and texts are read when they
    are first needed and kept while there is room.

    Args:
        preprocessing: fitted states.
        table: the rows.
        input_dropout: see `drop_inputs`; in training batches only.
        with_targets: read the target columns too.
        rows: that will be drawn; all by default.
        pool: training rows that others may be put together with (mosaics); without them none are made.
        is_lenient: what turns out to be unreadable while it is drawn is absent, with a warning.

    Raises:
        DataError: a row has none of the inputs, or a cell of a table-like column cannot be read.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        table: Table,
        *,
        input_dropout: float = 0.0,
        with_targets: bool = True,
        rows: Sequence[int] | np.ndarray | None = None,
        pool: Sequence[int] | np.ndarray | None = None,
        is_lenient: bool = False,
    ) -> None:
        schema = preprocessing.schema
        schema.check_columns(table, is_training=False, with_targets=with_targets)
        self.preprocessing = preprocessing
        self.table = table
        self.input_dropout = input_dropout
        self.is_lenient = is_lenient
        self.with_targets = with_targets
        columns = [schema.inputs[n].column for n in preprocessing.inputs]
        self.present = np.stack([table.present(column) for column in columns], 1)
        drawn = np.arange(len(table)) if rows is None else np.asarray(rows)
        if len(empty := drawn[~self.present[drawn].any(1)]):
            names = ", ".join(map(repr, preprocessing.inputs[:5]))
            source, row = table.place(int(empty[0]))
            raise DataError(f"{source}, row {row}: none of the inputs ({names}) is present"
                            + (f", nor in {len(empty) - 1} more rows" if len(empty) > 1 else "")
                            + "; a row needs at least one")  # fmt: skip
        tasks = preprocessing.tasks if with_targets else ()
        self.labelled = label_flags(schema, table, tasks)
        able = preprocessing.answerable(self.present)
        leave_unanswerable(self.labelled, tasks, able, preprocessing.states.get(LEARNED_FROM, {}), table.source, drawn)
        self._of = {j: preprocessing.inputs.index(of) for j, t in enumerate(tasks) if (of := schema.tasks[t].of)}
        self._pool = None if pool is None else np.asarray(pool)
        self._mosaics = self._make_mosaics()
        self._kept = Kept(CACHE_BYTES)
        self._looked_at: set[int] = set()
        self._lengths: list[np.ndarray | None] = []  # measured once, when they are asked for
        self._blocks = {u.name: self._pack(u) for u in preprocessing.encoders if u.is_block}
        self._labels = Targets(preprocessing, table, preprocessing.heads if with_targets else (), self._kept)

    def __len__(self) -> int:
        return len(self.table)

    def pass_by(self, rows: np.ndarray) -> None:
        """These rows are drawn once at most: what is made of them is not kept."""
        self._kept.passing = np.zeros(len(self.table), dtype=bool)
        self._kept.passing[rows] = True

    def __getitem__(self, draw: Draw) -> Batch:
        """The batch of a draw."""
        rows = np.asarray(draw.rows, dtype=np.int64)
        rng = None if draw.seed is None else np.random.default_rng(draw.seed)
        if self.is_lenient:
            self._forget_unreadable(rows.tolist(), rng is not None)
        present, labelled = self.present[rows], self.labelled[rows]
        if rng is not None and self.input_dropout > 0:
            present, labelled = self._leave_out(present, labelled, rng)
        mosaics = {} if rng is None or draw.is_late else self._draw_mosaics(rows, present, labelled, rng)
        context: dict[str, list[Context | None]] = {}
        inputs = {
            unit.name: part
            for unit in self.preprocessing.encoders
            if (part := self._input(unit, rows, present[:, unit.columns], context, rng, mosaics)) is not None
        }
        batch = Batch(
            size=len(rows),
            inputs=inputs,
            present=Flags(self.preprocessing.inputs, torch.from_numpy(present)),
            targets=self._targets(rows, labelled, context, mosaics) if labelled.shape[1] else {},
            labelled=Flags(self.preprocessing.tasks[: labelled.shape[1]], torch.from_numpy(labelled)),
            counts=tuple(labelled.sum(0).tolist()),
            context=context,
            rows=tuple(rows.tolist()),
            sources=self._sources(context),
        )
        return batch if rng is None else self._mixed(batch, rng)

    def _mixed(self, batch: Batch, rng: np.random.Generator) -> Batch:
        name, column = next(iter(self.preprocessing.schema.inputs.items()))  # the only one, where rows are mixed
        return mixed(batch, name, column.modality, rng) if column.modality.mixup > 0 else batch

    def lengths(self) -> np.ndarray | None:
        """How long each row's texts are, read and to be written, and graphs as they stand, in characters `[rows]`.

        `None` where there are neither. Without targets only those that are read.
        """
        if not self._lengths:
            self._lengths.append(self._measured())
        return self._lengths[0]

    def _measured(self) -> np.ndarray | None:
        schema = self.preprocessing.schema
        read = [column.column for column in schema.inputs.values() if column.modality.axis in ("words", "nodes")]
        tasks = schema.tasks.values() if self.with_targets else ()
        written = [column.column for column in tasks if column.task.is_written]
        columns = [name for name in (*read, *written) if name in self.table.columns]
        if not columns:
            return None
        return np.sum([self.table.letters(name) for name in columns], axis=0)

    def hiding(self, inputs: Collection[str]) -> RowBatches:
        """The same rows as if these inputs were absent, and with them the labels of tasks bound to them.

        A row may be left with no input at all.
        """
        hidden = copy(self)
        hidden._looked_at = set(self._looked_at)
        gone = [name in inputs for name in self.preprocessing.inputs]
        hidden.present = self.present & ~np.array(gone)
        hidden.labelled = self.labelled.copy()
        for task, of in self._of.items():
            hidden.labelled[:, task] &= hidden.present[:, of]
        return hidden

    def teaching(self, tasks: Collection[str]) -> RowBatches:
        """The same rows as if they had no labels for other tasks than these."""
        few = copy(self)
        few._looked_at = set(self._looked_at)
        few.present = self.present.copy()  # what turns out to be unreadable is taken out of it
        few.labelled = self.labelled & np.array([name in tasks for name in self.preprocessing.tasks])
        few._mosaics = few._make_mosaics()
        return few

    def _make_mosaics(self) -> Mosaics | None:
        return None if self._pool is None else Mosaics(self.preprocessing, self.present, self.labelled, self._pool)

    def _leave_out(
        self, present: np.ndarray, labelled: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Leave inputs out, and with them the labels bound to them; a row that would teach nothing is left alone."""
        groups = [unit.columns for unit in self.preprocessing.encoders]
        fewer, taught = drop_inputs(present, groups, self.input_dropout, rng), labelled.copy()
        for task, of in self._of.items():
            taught[:, task] &= fewer[:, of]
        mute = labelled.any(1) & ~taught.any(1)
        fewer[mute], taught[mute] = present[mute], labelled[mute]
        return fewer, taught

    def _draw_mosaics(
        self, rows: np.ndarray, present: np.ndarray, labelled: np.ndarray, rng: np.random.Generator
    ) -> dict[int, Mosaic]:
        """Which rows become mosaics; what they lose is taken from `present` and `labelled`."""
        if self._mosaics is None:
            return {}
        mosaics = self._mosaics.draw(rows, present, labelled, rng)
        if self.is_lenient:
            self._forget_unreadable([row for mosaic in mosaics.values() for row in mosaic.rows], True)
            mosaics = {i: mosaic for i, mosaic in mosaics.items() if mosaic.is_there(self.present, self.labelled)}
        keep_only(mosaics, present, labelled)
        return mosaics

    def _forget_unreadable(self, rows: Sequence[int], is_training: bool) -> None:
        """What cannot be read is absent from now on, and a row with no input left teaches nothing."""
        states = self.preprocessing
        lazy = [(u.start, u.name) for u in states.encoders if not u.is_block]
        targets = [(u.start, u.name) for u in states.heads if not self._labels.is_ready(u.name)]
        for row in (row for row in rows if row not in self._looked_at):
            self._looked_at.add(row)
            for place, name in ((p, n) for p, n in lazy if self.present[row, p]):
                if self._is_unreadable(self._keep, name, row, is_training):
                    self.present[row, place] = False
                    self.labelled[row, [task for task, of in self._of.items() if of == place]] = False
            for place, name in targets if self.labelled.shape[1] else ():
                if self.labelled[row, place] and self._is_unreadable(self._labels.look_at, name, row):
                    self.labelled[row, place] = False
            self.labelled[row] &= self.present[row].any()

    def _is_unreadable(self, read: Callable[..., Any], *of: Any) -> bool:
        try:
            read(*of)
        except DataError as error:
            warnings.warn(f"taken for absent: {error}", stacklevel=2)
            return True
        return False

    def _input(
        self,
        unit: EncoderUnit,
        rows: np.ndarray,
        present: np.ndarray,
        context: dict[str, list[Context | None]],
        rng: np.random.Generator | None,
        mosaics: Mapping[int, Mosaic],
    ) -> Part | None:
        """One encoder's part; a block always has one, since it knows absence itself."""
        if unit.is_block:
            index = torch.from_numpy(rows)
            flags = None if present.all() else torch.from_numpy(present)
            return Part({k: v[index] for k, v in self._blocks[unit.name].items()}, flags=flags)
        name = unit.name
        context[name] = [None] * len(rows)
        where = np.flatnonzero(present[:, 0])
        if len(where) == 0:
            return None
        items = []
        for i in where.tolist():
            if i in mosaics:
                assert rng is not None, "only training puts rows together"
                item, context[name][i] = self._mosaic_item(name, mosaics[i].rows, rng)
            else:
                item, context[name][i] = self._item(name, int(rows[i]), rng)
            items.append(item)
        values = self.preprocessing.schema.inputs[name].modality.collate(items)
        return Part(values, _as_rows(where, len(rows)))

    def _targets(
        self,
        rows: np.ndarray,
        labelled: np.ndarray,
        context: dict[str, list[Context | None]],
        mosaics: Mapping[int, Mosaic],
    ) -> dict[str, Part]:
        parts = {}
        for unit in self.preprocessing.heads:
            if len(where := np.flatnonzero(labelled[:, unit.columns].any(1))):
                of = self._task_of(unit)
                contexts = [None if of is None else context[of][i] for i in where.tolist()]
                whose = [mosaics[i].rows if i in mosaics else (int(rows[i]),) for i in where.tolist()]
                parts[unit.name] = Part(self._labels.take(unit, whose, contexts), _as_rows(where, len(rows)))
        return parts

    def _sources(self, context: Mapping[str, Sequence[Context | None]]) -> dict[str, dict[str, Tensor]]:
        """What tasks copy from, of all rows."""
        columns = {unit.name: self.preprocessing.schema.tasks[unit.name] for unit in self.preprocessing.heads}
        return {
            name: column.task.source(context[column.of], self.preprocessing.states["tasks"][name])
            for name, column in columns.items()
            if column.task.copies and column.of is not None  # which the schema holds
        }

    def _pack(self, unit: EncoderUnit) -> dict[str, Tensor]:
        """All rows of a block, prepared."""
        states = self.preprocessing
        columns = {n: (states.schema.inputs[n].modality, states.input_state(n)) for n in unit.inputs}
        block = next(iter(columns.values()))[0].block
        assert block is not None

        def pieces() -> Iterator[tuple[slice, dict[str, Tensor]]]:
            for rows in self.table.pieces():
                items = {name: self._prepared(name, rows) for name in unit.inputs}
                yield slice(int(rows[0]), int(rows[-1]) + 1), block.pack(columns, items)

        return store(len(self.table), pieces())

    def _prepared(self, name: str, rows: np.ndarray) -> list[Any]:
        """One input in these rows, prepared once; `None` where it is absent."""
        column, state = self.preprocessing.schema.inputs[name], self.preprocessing.input_state(name)
        return prepare_column(
            column.modality, self.table, column.column, rows, lambda v: column.modality.prepare(v, state, None)[0]
        )

    def _mosaic_item(self, name: str, rows: Sequence[int], rng: np.random.Generator) -> tuple[Any, Context]:
        """One input of several rows, put together."""
        column, state = self.preprocessing.schema.inputs[name], self.preprocessing.input_state(name)
        return column.modality.prepare_mosaic([self._shrunk(name, row) for row in rows], state, rng)

    def _shrunk(self, name: str, row: int) -> Any:
        """What is kept for training of one input of a row that has it."""
        column, state = self.preprocessing.schema.inputs[name], self.preprocessing.input_state(name)
        cell = self.table.cell(row, column.column)
        return self._kept.get(
            ("shrunk", name, row),
            lambda: column.modality.shrink(read_cell(column.modality, self.table, column.column, row, cell), state),
        )

    def _item(self, name: str, row: int, rng: np.random.Generator | None) -> tuple[Any, Context | None]:
        """One input of one row, prepared; `(None, None)` where it is absent."""
        column = self.preprocessing.schema.inputs[name]
        cell = self.table.cell(row, column.column) if column.column in self.table.columns else None
        if cell is None:
            return None, None
        modality, state = column.modality, self.preprocessing.input_state(name)
        if modality.is_random and rng is not None:
            return modality.prepare(self._shrunk(name, row), state, rng)
        return self._kept.get(
            ("plain", name, row),
            lambda: modality.prepare(read_cell(modality, self.table, column.column, row, cell), state, None),
        )

    def _keep(self, name: str, row: int, is_training: bool) -> None:
        """Read one input of a row that has it, as it will be needed."""
        if is_training and self.preprocessing.schema.inputs[name].modality.is_random:
            self._shrunk(name, row)
        else:
            self._item(name, row, None)

    def _task_of(self, unit: HeadUnit) -> str | None:
        return self.preprocessing.schema.tasks[unit.name].of


def _as_rows(where: np.ndarray, size: int) -> Tensor | None:
    return None if len(where) == size else torch.from_numpy(where)
