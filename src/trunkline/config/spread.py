"""Patterns and groups → one entry a column; then each entry against the table, and tasks against inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from trunkline.config.components import InputConfig, TaskConfig
from trunkline.config.problems import Problems
from trunkline.config.reader import ALL_OTHER, Entry
from trunkline.errors import suggest
from trunkline.schema import can_read, had_by

Sections = Mapping[str, Mapping[str, Entry]]


def spread(
    sections: Sections, columns: Sequence[str], *, reserved: Sequence[str], problems: Problems
) -> dict[str, dict[str, Any]]:
    """`inputs` and `tasks` with every pattern and group written out, in order.

    A pattern takes no column that is named elsewhere, and `all_other` none that anything else takes. A column that is
    `off` is left out of all of them.

    Args:
        sections: entries by section.
        columns: of the table.
        reserved: columns that no pattern takes.
        problems: where faults are noted.
    """
    taken = {*reserved, *_named(sections, columns)}
    off = {section: {name for name, entry in entries.items() if entry.is_off} for section, entries in sections.items()}
    for section, names in off.items():
        for name in sorted(names - set(columns)):
            problems.add(f"{section}.{name}", f"there is no column to be left out.{suggest(name, columns)}")
    sections = {s: {name: e for name, e in entries.items() if not e.is_off} for s, entries in sections.items()}
    found = {
        (section, name): [column for column in _matches(name, entry, columns, taken) if column not in off[section]]
        for section, entries in sections.items()
        for name, entry in entries.items()
        if entry.columns != ALL_OTHER
    }
    taken |= {column for matched in found.values() for column in matched}
    others = [(s, n) for s, entries in sections.items() for n, e in entries.items() if e.columns == ALL_OTHER]
    for section, name in others[1:]:
        problems.add(
            f"{section}.{name}.columns", f"only one group can take {ALL_OTHER}, and {'.'.join(others[0])} does."
        )
    found |= {key: [column for column in columns if column not in taken] for key in others}
    return {s: _write_out(s, entries, found, columns, problems) for s, entries in sections.items()}


def is_pattern(name: str, entry: Entry, columns: Sequence[str]) -> bool:
    """Whether a key stands for all columns that match it."""
    is_wild = any(sign in name for sign in "*?[")
    return is_wild and name not in columns and not entry.names_column and entry.columns is None


def check_columns(sections: Mapping[str, Mapping[str, Any]], columns: Sequence[str], problems: Problems) -> None:
    """Is every column in the table? Targets of tasks that others were added to need not be."""
    there = set(columns)
    last = max((task.added for task in sections["tasks"].values()), default=0)
    for section, configs in sections.items():
        for name, config in configs.items():
            is_needed = section == "inputs" or config.added == last
            if is_needed and config.column not in there:
                says = " `column:` says which one is meant." if config.column == name else ""
                hint = suggest(config.column, columns)
                problems.add(f"{section}.{name}", f"the table has no column {config.column!r}.{hint}{says}")


def check_leaks(inputs: Mapping[str, InputConfig], tasks: Mapping[str, TaskConfig], problems: Problems) -> None:
    """Is some task's answer among the inputs?"""
    for name, task in tasks.items():
        for reader in (n for n, i in inputs.items() if i.column == task.column):
            problems.add(
                f"tasks.{name}",
                f"its target column {task.column!r} is read by inputs.{reader}, too. Leave one of them out.",
            )


def bind(
    inputs: Mapping[str, InputConfig], tasks: Mapping[str, TaskConfig], problems: Problems
) -> dict[str, TaskConfig]:
    """Tasks that read an axis get the only input that has one, where `of:` does not name it."""
    bound = {}
    for name, task in tasks.items():
        fits = [n for n, i in inputs.items() if _can_read(task, i)]
        if task.of is None and _wants_input(task) and len(fits) == 1:
            task = replace(task, of=fits[0])
        bound[name] = task
        if (fault := _misbound(task, inputs, fits)) is not None:
            problems.add(f"tasks.{name}.of", fault)
    return bound


def _misbound(task: TaskConfig, inputs: Mapping[str, InputConfig], fits: Sequence[str]) -> str | None:
    possible = f"Possible: {', '.join(fits)}." if fits else "No input has them."
    if task.of is None:
        return f"names the input whose {_read_by(task)} this task reads. {possible}" if _wants_input(task) else None
    if task.of not in inputs:
        return f"{task.of!r} is not an input.{suggest(task.of, inputs)}"
    if task.component is not None and task.component.reads == "row":
        return f"a {task.type} task reads the whole row. Leave `of` out."
    if task.of not in fits:
        return (
            f"this task reads {_read_by(task)}, and {task.of!r} has "
            f"{had_by(inputs[task.of].component, _read_by(task))}. {possible}"
        )
    return None


def _wants_input(task: TaskConfig) -> bool:
    return task.component is not None and _read_by(task) not in ("row", "tokens")


def _read_by(task: TaskConfig) -> str:
    return task.component.reads_with(task.options)


def _can_read(task: TaskConfig, reader: InputConfig) -> bool:
    # What has an unknown type may fit: its type is the fault to tell.
    if task.component is None or reader.component is None:
        return True
    return can_read(_read_by(task), reader.component)


def _named(sections: Sections, columns: Sequence[str]) -> set[str]:
    """Columns that an entry calls by name."""
    named: set[str] = set()
    for entries in sections.values():
        for name, entry in entries.items():
            if isinstance(entry.columns, list):
                named |= set(entry.columns)
            elif entry.columns is None and not is_pattern(name, entry, columns):
                named.add(entry.config.column)
    return named


def _matches(name: str, entry: Entry, columns: Sequence[str], taken: set[str]) -> list[str]:
    if isinstance(entry.columns, list):
        return entry.columns
    if is_pattern(name, entry, columns):
        return [column for column in columns if fnmatchcase(column, name) and column not in taken]
    return [entry.config.column]


def _write_out(
    section: str,
    entries: Mapping[str, Entry],
    found: Mapping[tuple[str, str], Sequence[str]],
    columns: Sequence[str],
    problems: Problems,
) -> dict[str, Any]:
    written: dict[str, Any] = {}
    came_from: dict[str, str] = {}
    for name, entry in entries.items():
        is_group = entry.columns is not None or is_pattern(name, entry, columns)
        if not found[section, name]:
            problems.add(f"{section}.{name}", f"no column is left that this stands for.{suggest(name, columns)}")
        for column in found[section, name]:
            key = column if is_group else name
            if key in written:
                problems.add(f"{section}.{name}", f"{key!r} is in {section}.{came_from[key]}, too.")
            written[key] = replace(entry.config, column=column)
            came_from[key] = name
    return written
