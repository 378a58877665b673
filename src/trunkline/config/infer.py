"""Types that a config leaves out → types, from what the columns hold, each with its reason."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from trunkline.config.components import AUTO, InputConfig, TaskConfig
from trunkline.config.options import read_options, signature_of
from trunkline.config.problems import Problems
from trunkline.config.reader import Reader
from trunkline.data import Description, Table, describe_column

CLASS_NAME = re.compile(r"(?:^|[\W_])(label|class|target|kind|type|category|digit|species|code|y)s?$", re.IGNORECASE)
RANK_NAME = re.compile(
    r"rating|star|score|grade|level|quality|rank|severity|stage|likert|satisf|priority", re.IGNORECASE
)


@dataclass(frozen=True)
class Inferred:
    """A type for a column.

    Attributes:
        type: in the catalog; `None` where there is none.
        reason: why; or why there is none, and what would work.
        options: what the type must be told to read the column.
    """

    type: str | None
    reason: str
    options: Mapping[str, Any]


def input_type(found: Description) -> Inferred:
    """The modality that reads a column."""
    kinds = {
        "ordinal": ("number", ""),
        "binary": ("category" if found.low is None else "number", ""),
        "constant": ("category" if found.low is None else "number", "; it can teach nothing"),
        "identifier": (_identifier_type(found), "; an identifier teaches nothing that holds for new rows"),
        "date": ("text", "; read as words, if at all: a number, such as the month, tells more"),
        "tags": ("text", ""),
        "labels": (None if found.distinct is None else "text", ""),
        "boxes": (None, ": no input type reads boxes; they are something to learn"),
        "empty": (None, ": leave it out"),
        "unknown": (None, ": no input type reads that; leave it out, or say a type"),
    }
    kind, more = kinds.get(found.kind, (found.kind, ""))
    if found.kind == "labels" and kind is None:
        more = ": no input type reads lists of names; leave it out, or write them as text"
    return Inferred(kind, found.reason + more, found.options)


def task_type(name: str, found: Description, catalog: Mapping[str, Any]) -> Inferred:
    """The kind of task that learns a column.

    Args:
        name: of the column: whole numbers called `rating` are a scale, called `label` they are classes.
        found: what it holds.
        catalog: which kinds of task there are.
    """
    kinds = {
        "ordinal": _scale_type(name, found, catalog),
        "identifier": ("number" if found.low is not None else "category", "; it looks like an identifier"),
        "constant": (None, ": there is nothing to learn"),
        "empty": (None, ": there is nothing to learn from"),
        "image": (None, ": say whether it is a `mask` or `dense`"),
        "audio": (None, ": say `speech` where a text input says what is to be said, with `of` its name"),
        "vector": (None, ": no kind of task learns lists of numbers; give each number a column"),
        "graph": (None, ": no kind of task makes graphs"),
        "date": (None, ": no kind of task learns dates; give the number you want, such as a year"),
        "unknown": (None, ": no kind of task learns that; say a type"),
    }
    kind, more = kinds.get(found.kind, (found.kind, ""))
    return Inferred(kind, found.reason + more, found.options)


def infer_types(
    sections: Mapping[str, Mapping[str, Any]], table: Table | None, reader: Reader, problems: Problems
) -> dict[str, dict[str, Any]]:
    """`inputs` and `tasks` with every type that was left out.

    Args:
        sections: configs by section and name; where the type is left out it is `AUTO`.
        table: to look at; `None` where there is none.
        reader: of components.
        problems: where faults are noted.
    """
    described: dict[str, Description] = {}

    def filled(section: str, name: str, config: InputConfig | TaskConfig) -> Any:
        if config.type != AUTO or config.share is not None:
            return config  # what shares takes the type of the other
        where = f"{section}.{name}"
        if table is None:
            problems.add(where, "a type can only be left out with a table at hand.")
            return config
        if config.column not in table.columns:
            return config  # told elsewhere
        if config.column not in described:
            described[config.column] = describe_column(config.column, table.cells[config.column], table.base)
        found = described[config.column]
        kind = reader.modality if section == "inputs" else reader.task
        inferred = input_type(found) if section == "inputs" else task_type(config.column, found, kind.catalog)
        if inferred.type is None or inferred.type not in kind.catalog:
            problems.add(where, f"no type can be chosen for column {config.column!r}: {inferred.reason}.")
            return config
        component = kind.catalog[inferred.type]
        schema = signature_of(component)
        told = {option: value for option, value in inferred.options.items() if option in schema}
        options = read_options(where, {**told, **config.options}, component, problems)
        return replace(config, type=inferred.type, component=component, options=options, reason=inferred.reason)

    return {s: {name: filled(s, name, config) for name, config in by_name.items()} for s, by_name in sections.items()}


def _identifier_type(found: Description) -> str:
    if found.distinct is not None and found.distinct < 0.5 * found.present:
        return "category"
    return "text" if found.low is None else "number"


def _scale_type(name: str, found: Description, catalog: Mapping[str, Any]) -> tuple[str, str]:
    """A few whole numbers without gaps are steps of a scale, or numbers of classes."""
    if RANK_NAME.search(name) and "ordinal" in catalog:
        return "ordinal", ", and the name says that they are steps of a scale"
    if CLASS_NAME.search(name) or found.low == 0 or "ordinal" not in catalog:
        return "category", ": taken for classes" + (
            "; write `type: ordinal` for steps of a scale" if "ordinal" in catalog else ""
        )
    return "ordinal", ": taken for steps of a scale; write `type: category` for classes"
