"""Reading plain cells: a number, a name, a yes or no, a list. A cell that cannot be read says why."""

from __future__ import annotations

import json
import math
from typing import Any

from trunkline.errors import DataError

YES = frozenset({"1", "1.0", "true", "yes", "y"})
NO = frozenset({"0", "0.0", "false", "no", "n"})


def as_number(cell: Any) -> float:
    """A finite number, from a number or its text.

    Raises:
        DataError: it is neither, or it is NaN or infinite.
    """
    try:
        value = float(cell)
    except (TypeError, ValueError):
        raise DataError(f"{cell!r} is not a number") from None
    if not math.isfinite(value):
        raise DataError(f"{cell!r} is not finite; leave the cell empty where the value is absent")
    return value


def as_name(cell: Any) -> str:
    """A name as text; 3.0 and 3 are the same name.

    Raises:
        DataError: the cell is a list or an object.
    """
    if isinstance(cell, (list, dict)):
        raise DataError(f"one name is wanted here, not {cell!r}")
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return str(cell)


def as_truth(cell: Any) -> bool:
    """A yes or no: booleans, 0/1, true/false, yes/no, y/n in any case.

    Raises:
        DataError: it is none of these.
    """
    word = str(cell).strip().lower()
    if word in YES:
        return True
    if word in NO:
        return False
    raise DataError(f"{cell!r} is not a yes or no (0/1, true/false, yes/no); name the yes with `positive:`")


def as_list(cell: Any, *, separator: str = "|") -> list[Any]:
    """A list: as it is, from JSON, or from text with separators. Empty text is an empty list.

    Raises:
        DataError: it looks like JSON but is not, or is not a list.
    """
    if isinstance(cell, (list, tuple)):
        return list(cell)
    if not isinstance(cell, str):
        raise DataError(f"a list is wanted here, not {cell!r}")
    if not cell.lstrip().startswith("["):
        return [part.strip() for part in cell.split(separator) if part.strip()]
    try:
        return json.loads(cell)
    except json.JSONDecodeError as error:
        raise DataError(f"{cell[:80]!r} starts like a JSON list but is none: {error}") from None
