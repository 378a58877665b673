"""A first look at a table: what its columns could be, for someone who has not decided yet."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trunkline.config.infer import Inferred, input_type, task_type
from trunkline.data import SPLIT_NAMES, Description, Table, describe, find_leak, guess_encoding, read_table
from trunkline.errors import ConfigError, suggest
from trunkline.tasks import CATALOG as TASKS

SPLIT_NAME = re.compile(r"split|set|subset|fold|partition|usage|part", re.IGNORECASE)
TARGET_NAME = re.compile(
    r"(?:^|[\W_])(?:labels?|targets?|class|y|outcome|rating|stars|category|subcategory|sentiment|diagnosis|churn|"
    r"survived|quality|recommended|species|grade)$|^(?:target|label|y)[\W_]",
    re.IGNORECASE,
)
LEARNABLE = ("binary", "category", "ordinal", "number", "labels", "boxes")
MOST_CLASSES = 200


@dataclass(frozen=True)
class Look:
    """What was found, and what it is proposed for.

    Attributes:
        table: with what means absent taken out.
        source: its path.
        encoding: of its file, where it must be said.
        na: what means absent.
        columns: what each holds.
        split: the column that names splits.
        inputs: type by column.
        tasks: type by column.
        left_out: why, by column.
        groups: columns that may name groups of rows.
        is_guessed: nobody named the targets.
    """

    table: Table
    source: Path
    encoding: str | None
    na: tuple[str | int, ...]
    columns: dict[str, Description]
    split: str | None
    inputs: dict[str, Inferred] = field(default_factory=dict)
    tasks: dict[str, Inferred] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    is_guessed: bool = False


def look_at(source: str | Path, targets: Sequence[str] = ()) -> Look:
    """Look at a table or folder and propose what to do with each column.

    Args:
        source: its path.
        targets: columns to learn; guessed where none is named.

    Raises:
        DataError: it cannot be read.
        ConfigError: a target is no column, or cannot be learned; or nothing is left to learn, or to learn from.
    """
    path = Path(source)
    encoding = guess_encoding(path)
    table = read_table(path, encoding=encoding)
    na = tuple(map(_as_na, sorted({text for found in describe(table).values() for text in found.na})))
    table = read_table(path, encoding=encoding, na=na) if na else table
    columns = describe(table)
    if unknown := [name for name in targets if name not in columns]:
        raise ConfigError("\n".join(f"--target {name}: no such column.{suggest(name, columns)}" for name in unknown))
    split = table.split or next((name for name, found in columns.items() if _names_splits(name, found)), None)
    named = list(targets) or _guess(columns, split)
    tasks = {name: task_type(name, columns[name], TASKS) for name in named}
    if wrong := [f"{name}: {kind.reason}" for name, kind in tasks.items() if kind.type is None]:
        raise ConfigError("\n".join(f"no kind of task for column {line}" for line in wrong))
    inputs, left_out = _sort(table, columns, [name for name in columns if name != split and name not in tasks], named)
    if not tasks:
        raise ConfigError(f"{path}: no column looks like something to learn. Name one with --target")
    if not inputs:
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise ConfigError(f"{path}: no column is left to learn from ({why})")
    groups = tuple(name for name, found in columns.items() if _may_be_group(found) and name not in tasks)
    return Look(table, path, encoding, na, columns, split, inputs, tasks, left_out, groups, not targets)


def _as_na(text: str) -> str | int:
    """A number as one, which also means its text in a file of text."""
    return int(text) if re.fullmatch(r"-?\d+", text) else text


def _sort(
    table: Table, columns: dict[str, Description], names: Sequence[str], targets: Sequence[str]
) -> tuple[dict[str, Inferred], dict[str, str]]:
    """Inputs with their types, and why the others are left out."""
    inputs, left_out = {}, {}
    for name in names:
        found = columns[name]
        kind = input_type(found)
        leaks = (find_leak(table, name, target) for target in targets)
        gone = next((mess for mess in found.mess if "look like paths" in mess), None)
        if gone is not None:
            left_out[name] = gone
        elif found.kind == "date":
            left_out[name] = f"{found.reason}; `{name}: text` among the inputs reads year, month and day as words"
        elif found.kind in ("constant", "empty", "identifier") or kind.type is None:
            left_out[name] = kind.reason
        elif leak := next((leak for leak in leaks if leak), None):
            left_out[name] = f"{leak}, which would give it away"
        else:
            inputs[name] = kind
    return inputs, left_out


def _names_splits(name: str, found: Description) -> bool:
    values = {value.lower() for value in found.common}
    is_all = found.distinct == len(found.common) and found.absent == 0
    return bool(SPLIT_NAME.search(name)) and is_all and values <= SPLIT_NAMES.keys() and "train" in values


def _guess(columns: dict[str, Description], split: str | None) -> list[str]:
    """Columns named like something to learn; else the last that can be learned."""
    able = [name for name, found in columns.items() if name != split and _is_learnable(found)]
    named = [name for name in able if TARGET_NAME.search(name) or columns[name].kind == "boxes"]
    return named if named and len(named) < len(columns) - (split is not None) else able[-1:]


def _is_learnable(found: Description) -> bool:
    is_few = found.kind != "category" or (found.distinct or 0) <= MOST_CLASSES
    return found.kind in LEARNABLE and is_few


def _may_be_group(found: Description) -> bool:
    return found.kind == "identifier" and found.distinct is not None and 2 <= found.distinct <= 0.8 * found.present


def as_plain(kind: Inferred, schema: Any) -> Any:
    """A type as a config says it, with the options its constructor knows."""
    told = {option: value for option, value in kind.options.items() if option in schema}
    return {"type": kind.type, **told} if told else kind.type
