"""Which column is which input or task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trunkline.data import Table
from trunkline.errors import ConfigError, DataError, suggest
from trunkline.modalities import Modality
from trunkline.schema.reading import read_values
from trunkline.tasks import Task


@dataclass(frozen=True)
class InputColumn:
    """A column that is an input.

    Attributes:
        modality: its kind.
        column: its name in the table.
        share: the input whose encoder reads this one, too; both are of one kind and have equal options.
    """

    modality: Modality
    column: str
    share: str | None = None

    def values(self, table: Table, rows: Iterable[int]) -> Iterator[tuple[int, Any]]:
        """Row numbers and decoded values, where present."""
        return read_values(self.modality, table, self.column, rows)


@dataclass(frozen=True)
class TaskColumn:
    """A column that is a target.

    Attributes:
        task: its kind.
        column: its name in the table.
        of: the input whose tokens the task reads, for kinds that read an axis.
        weight: preference, 1 by default; multiplies the task's weight after balancing.
        share: the task whose head learns this one, too; both are of one kind and have equal options.
        added: how often tasks had been added to the trained network when this one was, itself included; 0: it was there
            from the first. Tasks that came at other times have no head in common.
    """

    task: Task
    column: str
    of: str | None = None
    weight: float = 1.0
    share: str | None = None
    added: int = 0

    def values(self, table: Table, rows: Iterable[int]) -> Iterator[tuple[int, Any]]:
        """Row numbers and decoded values, where labelled."""
        return read_values(self.task, table, self.column, rows)

    def readable(self, table: Table, rows: Iterable[int]) -> Iterator[tuple[int, Any]]:
        """The same without what cannot be read."""
        return read_values(self.task, table, self.column, rows, skips=True)


class Schema:
    """Inputs and tasks by name, each bound to a column.

    Args:
        inputs: by name; a bare modality is bound to the column of that name.
        tasks: by name; a bare task is bound to the column of that name.

    Raises:
        ConfigError: no input, no task, or a task whose `of` does not fit; all faults at once.
    """

    def __init__(self, inputs: Mapping[str, InputColumn | Modality], tasks: Mapping[str, TaskColumn | Task]) -> None:
        self.inputs = {n: i if isinstance(i, InputColumn) else InputColumn(i, n) for n, i in inputs.items()}
        self.tasks = {n: t if isinstance(t, TaskColumn) else TaskColumn(t, n) for n, t in tasks.items()}
        faults = [] if self.inputs else ["inputs: a model needs at least one"]
        faults += [] if self.tasks else ["tasks: a model needs at least one"]
        faults += [f"tasks.{name}.{fault}" for name, task in self.tasks.items() if (fault := self._unfit(task))]
        faults += [
            f"inputs.{name}.share: {fault}" for name in self.inputs if (fault := self._misshared(name)) is not None
        ]
        faults += [
            f"tasks.{name}.share: {fault}" for name in self.tasks if (fault := self._misshared_task(name)) is not None
        ]
        faults += [
            f"inputs.{name}.mixup: it mixes rows that have no other input; leave it out, or the other inputs"
            for name, column in self.inputs.items()
            if column.modality.mixup > 0 and len(self.inputs) > 1
        ]
        read = {column.column: name for name, column in self.inputs.items()}
        faults += [
            f"tasks.{name}.column: {task.column!r} is read by input {read[task.column]!r}, which would give it away"
            for name, task in self.tasks.items()
            if task.column in read
        ]
        if faults:
            raise ConfigError("\n".join(faults))

    @property
    def newest(self) -> tuple[str, ...]:
        """The tasks that came last: all, where none was added to a trained network."""
        last = max(column.added for column in self.tasks.values())
        return tuple(name for name, column in self.tasks.items() if column.added == last)

    @property
    def kept_inputs(self) -> tuple[str, ...]:
        """Inputs whose tokens some task reads, in order."""
        bound = {task.of for task in self.tasks.values() if task.of is not None}
        reads_all = any(task.task.reads == "tokens" and task.of is None for task in self.tasks.values())
        return tuple(name for name in self.inputs if reads_all or name in bound)

    @property
    def pyramids(self) -> frozenset[str]:
        """Inputs with an encoder of their own, of which some task reads the pyramid."""
        read = {task.of for task in self.tasks.values() if task.task.reads == "pyramid"}
        return frozenset(column.share or name for name, column in self.inputs.items() if name in read)

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Columns that the inputs read, each once."""
        return tuple(dict.fromkeys(column.column for column in self.inputs.values()))

    def readers(self, name: str) -> list[InputColumn]:
        """The columns that one input's encoder reads: its own, and those of the inputs that share it."""
        return [column for other, column in self.inputs.items() if name in (other, column.share)]

    def sharers(self, name: str) -> list[str]:
        """The tasks that one task's head learns: its own first, then those that share it."""
        return [name, *(other for other, column in self.tasks.items() if column.share == name)]

    def check_columns(self, table: Table, *, is_training: bool, with_targets: bool = True) -> None:
        """Is every column there that must be?

        To train, all of them but the targets of tasks that were there before others were added. To evaluate, one input
        and one target; to predict, one input. The others are absent. A column that has an input's name, and not that of
        the column it reads, would be passed over: that is an error.

        Raises:
            DataError: all missing columns, at once.
        """
        inputs = self.input_columns
        learned = self.newest if is_training else self.tasks
        targets = [self.tasks[name].column for name in learned] if with_targets else []
        missing: list[str] = []
        for columns in (inputs, targets):
            gone = [c for c in dict.fromkeys(columns) if c not in table.columns]
            missing += gone if is_training or len(gone) == len(set(columns)) else []
        if missing:
            raise DataError("\n".join(f"{table.source}: no column {c!r}.{suggest(c, table.columns)}" for c in missing))
        known = {*inputs, *(column.column for column in self.tasks.values())}
        if called := {
            name: column.column
            for name, column in self.inputs.items()
            if column.column not in table.columns and name in table.columns and name not in known
        }:
            raise DataError("\n".join(
                f"{table.source}: input {name!r} reads column {column!r}, which is not there, and nothing reads column "
                f"{name!r}; call that one {column!r}, or leave it out" for name, column in called.items()
            ))  # fmt: skip

    def _misshared(self, name: str) -> str | None:
        column = self.inputs[name]
        if column.share is None:
            return None
        if (other := self.inputs.get(column.share)) is None:
            return f"{column.share!r} is not an input.{suggest(column.share, self.inputs)}"
        if other.share is not None:
            return f"{column.share!r} has no encoder of its own; name an input that has one"
        if other.modality.block is not None:
            return f"{column.share!r} is encoded in a table block, which has weights for each input"
        return unlike(column.share, other.modality, column.modality)

    def _misshared_task(self, name: str) -> str | None:
        column = self.tasks[name]
        if column.share is None:
            return None
        if (other := self.tasks.get(column.share)) is None:
            return f"{column.share!r} is not a task.{suggest(column.share, self.tasks)}"
        if other.share is not None:
            return f"{column.share!r} has no head of its own; name a task that has one"
        if other.added != column.added:
            return f"{column.share!r} has a head that is trained already and stays as it is; leave `share` out"
        if not other.task.can_share:
            return f"{column.share!r} is of a kind whose heads are not shared"
        return unlike(column.share, other.task, column.task)

    def _unfit(self, task: TaskColumn) -> str | None:
        reads = task.task.reads
        if task.of is None and task.task.copies:
            return "of: names the input whose words this task copies"
        if task.of is None:
            is_free = reads == "row" or (reads == "tokens" and not task.task.needs_of)
            return None if is_free else f"of: names the input whose {reads} this task reads"
        if task.of not in self.inputs:
            return f"of: {task.of!r} is not an input.{suggest(task.of, self.inputs)}"
        if self.inputs[task.of].modality.block is not None:
            return f"of: {task.of!r} is one cell of a table and has no tokens of its own to read"
        if reads == "row":
            return "of: this kind of task reads the whole row; leave `of` out"
        modality = self.inputs[task.of].modality
        if not can_read(reads, modality):
            return f"of: {task.of!r} has {had_by(modality, reads)} tokens, this kind of task reads {reads}"
        if task.task.copies and modality.axis != "words":
            return f"of: {task.of!r} has no words to copy from"
        return None


def can_read(reads: str, modality: Modality | type[Modality]) -> bool:
    """Whether an input of this kind has what a task reads; nodes are as good as words."""
    if reads == "pyramid":
        return modality.gives_pyramid
    return reads in ("tokens", modality.axis) or (reads, modality.axis) == ("words", "nodes")


def had_by(modality: Modality | type[Modality], reads: str) -> str:
    """What it has instead, in a word or two."""
    return "single-grid" if (reads, modality.axis) == ("pyramid", "grid") else modality.axis


def unlike(name: str, one: Any, other: Any) -> str | None:
    """Why a component cannot have the layers of the one with this name: they are not alike; `None` where they are."""
    if type(one) is not type(other) or vars(one) != vars(other):
        return f"{name!r} is of another kind, or has other options"
    return None
