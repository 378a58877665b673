"""The preprocessing state of a schema, and what follows from it: which encoders and heads there are."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from trunkline.cells import tell_odd_names
from trunkline.data import Table
from trunkline.errors import DataError
from trunkline.schema.columns import InputColumn, Schema, TaskColumn
from trunkline.schema.learned import LEARNED_FROM, learned_from
from trunkline.tasks import Task
from trunkline.types import State


@dataclass(frozen=True)
class EncoderUnit:
    """One encoder and the inputs it reads: one, or all inputs of a block. Named after the first.

    Attributes:
        inputs: names.
        is_block: whether its encoder is a block, which knows absence itself.
        start: the first input's place among all inputs of the preprocessing.
    """

    inputs: tuple[str, ...]
    is_block: bool
    start: int

    @property
    def columns(self) -> slice:
        """Its inputs' places among all inputs."""
        return slice(self.start, self.start + len(self.inputs))

    @property
    def name(self) -> str:
        """The first input's name."""
        return self.inputs[0]


@dataclass(frozen=True)
class HeadUnit:
    """One head and the tasks it serves: one, or a stack of equal ones. Named after the first.

    Attributes:
        tasks: names.
        start: the first task's place among all tasks of the preprocessing.
    """

    tasks: tuple[str, ...]
    start: int

    @property
    def columns(self) -> slice:
        """Its tasks' places among all tasks."""
        return slice(self.start, self.start + len(self.tasks))

    @property
    def name(self) -> str:
        """The first task's name."""
        return self.tasks[0]


class Preprocessing:
    """A schema with its states: vocabularies, scales, class names.

    Args:
        schema: what is bound to what.
        states: `{"inputs": {name: state}, "tasks": {name: state}}`, plain JSON; beside them `learned_from`, see
            `trunkline.schema.learned`.
    """

    def __init__(self, schema: Schema, states: State) -> None:
        self.schema = schema
        self.states = states
        self.encoders = _encoder_units(schema)
        self.heads = _head_units(schema, states["tasks"])
        self.inputs = tuple(name for unit in self.encoders for name in unit.inputs)
        self.tasks = tuple(name for unit in self.heads for name in unit.tasks)
        self._place = {name: place for place, name in enumerate(self.tasks)}

    @classmethod
    def fit(
        cls, schema: Schema, table: Table, rows: Sequence[int] | np.ndarray, known: State | None = None
    ) -> Preprocessing:
        """Learn every state from these rows (the training split) and no other.

        Args:
            schema: what is bound to what.
            table: whose rows.
            rows: numbers.
            known: states of a trained network, which stay as they are; what is in them is not looked at here.

        Raises:
            DataError: a cell cannot be read, or a task has nothing to learn from.
        """
        schema.check_columns(table, is_training=True)
        numbers = np.asarray(rows, dtype=np.int64).tolist()
        states: State = {kind: dict((known or {}).get(kind, {})) for kind in ("inputs", "tasks")}
        faults: list[str] = []
        for name, column in schema.inputs.items():
            if column.share is None and name not in states["inputs"]:
                values = sampled(schema.readers(name), table, numbers)
                _collect(faults, states["inputs"], name, column, table, values, column.modality.fit)
        together: dict[str, list[Any]] = {}
        new = [name for name in schema.tasks if name not in states["tasks"]]
        for name, target in ((name, schema.tasks[name]) for name in new):
            labels = (value for _, value in target.values(table, numbers))
            is_alone = target.share is None and len(schema.sharers(name)) == 1
            found = states["tasks"] if is_alone else together
            _collect(faults, found, name, target, table, labels, target.task.fit if is_alone else _labelled)
        if faults:
            raise DataError("\n".join(faults))
        for name, target in schema.tasks.items():
            if target.share is None and name in together:
                own = schema.sharers(name)
                states["tasks"].update(zip(own, target.task.fit_shared([together[n] for n in own]), strict=True))
        for name, column in schema.inputs.items():
            if column.share is not None:
                states["inputs"][name] = states["inputs"][column.share]
        _warn_odd_names(schema, table, states["tasks"])
        told = learned_from(schema, table, np.asarray(rows, dtype=np.int64), new)
        if found := {**(known or {}).get(LEARNED_FROM, {}), **told}:
            states[LEARNED_FROM] = found
        return cls(schema, states)

    def before_settling(self) -> Preprocessing:
        """The same without what was settled after training: temperatures, thresholds."""
        tasks = {
            name: self.schema.tasks[name].task.before_settling(state) for name, state in self.states["tasks"].items()
        }
        return Preprocessing(self.schema, {**self.states, "tasks": tasks})

    def answerable(self, present: np.ndarray) -> dict[str, np.ndarray]:
        """By task that was learned from some of the inputs only, which rows have one of these, `[B]` bool.

        Args:
            present: which row has which input, `[B, inputs]`.
        """
        told = self.states.get(LEARNED_FROM, {})
        places = {name: place for place, name in enumerate(self.inputs)}
        columns = {task: [places[name] for name in names] for task, names in told.items()}
        return {task: np.asarray(present[:, own].any(1)) for task, own in columns.items()}

    def places(self, tasks: Sequence[str]) -> list[int]:
        """Where these stand in `tasks`."""
        return [self._place[name] for name in tasks]

    def input_state(self, name: str) -> State:
        """State of one input."""
        return self.states["inputs"][name]

    def task_states(self, unit: HeadUnit) -> list[State]:
        """States of the tasks of one head, in order."""
        return [self.states["tasks"][name] for name in unit.tasks]

    def prepare_target(self, name: str, table: Table, row: int, value: Any, context: Any) -> Any:
        """One target value, prepared; a label that does not fit is a `DataError` with its place."""
        column = self.schema.tasks[name]
        try:
            return column.task.prepare(value, self.states["tasks"][name], context)
        except DataError as error:
            raise error.at(*table.place(row), column.column) from None


def rows_with(column: InputColumn | TaskColumn, table: Table, rows: Sequence[int]) -> list[int]:
    """Those of these rows that have the input, or the label."""
    there = table.present(column.column)
    return [row for row in rows if there[row]]


def evenly_spaced(rows: Sequence[int], wanted: int | None) -> list[int]:
    """At most this many of the rows (`None`: all of them)."""
    count = len(rows) if wanted is None else min(wanted, len(rows))
    return [rows[int(i)] for i in np.linspace(0, len(rows) - 1, count)]


def sampled(columns: Sequence[InputColumn], table: Table, rows: Sequence[int]) -> Iterator[Any]:
    """The values that an encoder's `choose` and `fit` look at, from all columns that it reads.

    All of them, or as many as the modality asks for, evenly spread over the rows that have them.
    """
    for column in columns:
        wanted = column.modality.fit_sample
        if wanted is not None:
            looked_at = evenly_spaced(rows_with(column, table, rows), max(1, wanted // len(columns)))
        yield from (value for _, value in column.values(table, rows if wanted is None else looked_at))


def _collect(
    faults: list[str],
    states: dict[str, Any],
    name: str,
    column: InputColumn | TaskColumn,
    table: Table,
    values: Iterable[Any],
    fit: Callable[[Iterable[Any]], Any],
) -> None:
    """Fit one column's state, or note what is wrong with it."""
    try:
        states[name] = fit(values)
    except DataError as error:
        has_place = str(error).startswith((table.source, *(source for source, _ in table.parts)))
        faults.append(str(error if has_place else error.at(table.source, None, column.column)))


def _warn_odd_names(schema: Schema, table: Table, states: State) -> None:
    """Tell of classes that look the same."""
    for name, column in schema.tasks.items():
        if type(column.task).names is not Task.names and (odd := tell_odd_names(column.task.known_names(states[name]))):
            warnings.warn(f"{table.source}, column {column.column!r}: {odd}", stacklevel=3)


def _labelled(values: Iterable[Any]) -> list[Any]:
    """The labels of a task that shares a head."""
    labels = list(values)
    if not labels:
        raise DataError("no row of the training split has a label")
    return labels


def label_flags(schema: Schema, table: Table, tasks: Sequence[str]) -> np.ndarray:
    """Which row can teach which task, `[rows, tasks]`: labelled, and the input the task is bound to present."""
    flags = np.zeros((len(table), len(tasks)), dtype=bool)
    for j, name in enumerate(tasks):
        task = schema.tasks[name]
        for column in (task.column, *((schema.inputs[task.of].column,) if task.of is not None else ())):
            there = table.present(column)
            flags[:, j] = there if column == task.column else flags[:, j] & there
    return flags


def _encoder_units(schema: Schema) -> tuple[EncoderUnit, ...]:
    """One unit an input, but one for all inputs that share a block."""
    blocks: dict[type, list[str]] = {}
    units: list[tuple[list[str], bool]] = []
    for name, column in schema.inputs.items():
        block = column.modality.block
        if block is None:
            units.append(([name], False))
        elif block in blocks:
            blocks[block].append(name)
        else:
            blocks[block] = [name]
            units.append((blocks[block], True))
    starts = accumulate((len(names) for names, _ in units), initial=0)
    return tuple(EncoderUnit(tuple(names), is_block, start) for (names, is_block), start in zip(units, starts))


def _head_units(schema: Schema, states: dict[str, State]) -> tuple[HeadUnit, ...]:
    """One unit a task, but one for all of one kind with equal options that may be stacked."""
    stacks: dict[Any, list[str]] = {}
    for name, column in schema.tasks.items():
        key = column.task.stack_key(states[name])
        options = (column.added, type(column.task), repr(sorted(vars(column.task).items())), key)
        stacks.setdefault(name if key is None else options, []).append(name)
    starts = accumulate((len(names) for names in stacks.values()), initial=0)
    return tuple(HeadUnit(tuple(names), start) for names, start in zip(stacks.values(), starts))
