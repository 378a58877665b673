"""What is wrong with states that were read from a file, which anybody may have written."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from trunkline.errors import brief
from trunkline.modalities import Text
from trunkline.modalities.text import EMPTY
from trunkline.schema.columns import Schema
from trunkline.schema.learned import LEARNED_FROM, faulty

NUMBERS = ("mean", "std", "prior", "average", "weights", "knots", "common", "temperature", "threshold", "least_logit")
POSITIVE = ("std", "temperature")
TABLES = ("values", "ids")  # name → its row in a table of embeddings


def faulty_states(schema: Schema, states: Any) -> Iterator[str]:
    """One line for each input or task whose state cannot be: numbers that are none, ids outside of their table.

    Of columns that code of the user's own reads only their being there, as mappings, is looked at.

    Args:
        schema: what the states are of.
        states: as `Preprocessing` takes them.
    """
    inputs = {name: column.modality for name, column in schema.inputs.items()}
    tasks = {name: column.task for name, column in schema.tasks.items()}
    for kind, columns in (("inputs", inputs), ("tasks", tasks)):
        told = states.get(kind) if isinstance(states, dict) else None
        if not isinstance(told, dict):
            yield f"{kind}: {brief(told)} is no mapping"
            continue
        for name, column in columns.items():
            where, state = f"{kind[:-1]} {name!r}", told.get(name)
            if not isinstance(state, dict):
                yield f"{where}: " + ("it has no state" if state is None else f"{brief(state)} is no state")
            elif type(column).__module__.startswith("trunkline."):
                first = EMPTY + 1 + column.buckets if isinstance(column, Text) else 1
                yield from (f"{where}: {fault}" for fault in _faults(state, first))
    if isinstance(states, dict) and LEARNED_FROM in states:
        yield from faulty(schema, states[LEARNED_FROM])


def _faults(state: dict[str, Any], first: int) -> Iterator[str]:
    for key in NUMBERS:
        if key in state and not _are_numbers(state[key], is_positive=key in POSITIVE):
            yield f"{key} is {brief(state[key])}; it is of finite numbers{' over 0' if key in POSITIVE else ''}"
    mean, std = state.get("mean"), state.get("std")
    if "std" in state and (len(mean) if isinstance(mean, list) else 0) != (len(std) if isinstance(std, list) else 0):
        yield "mean and std are not of one length"
    for key in TABLES:
        if key in state and not _are_rows(state[key], first):
            yield f"{key} is {brief(state[key])}; it numbers names from {first}, each number once"


def _are_numbers(told: Any, *, is_positive: bool) -> bool:
    """A number, or lists of them; integers too large for a float are none."""
    if isinstance(told, list):
        return all(_are_numbers(one, is_positive=is_positive) for one in told)
    if isinstance(told, bool) or not isinstance(told, int | float):
        return False
    return abs(told) < 1e300 and math.isfinite(told) and (told > 0 or not is_positive)


def _are_rows(told: Any, first: int) -> bool:
    if not isinstance(told, dict) or not all(type(number) is int for number in told.values()):
        return False
    return sorted(told.values()) == list(range(first, first + len(told)))
