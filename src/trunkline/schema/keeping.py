"""Decoded and prepared cells that are kept from batch to batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any


class Kept:
    """Values that are kept while there is room; what comes later is made anew each time.

    Args:
        room: in bytes.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.values: dict[Any, Any] = {}

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        """What is kept under a key, or what `make` gives."""
        if key in self.values:
            return self.values[key]
        value = make()
        if (size := _size(value)) <= self.room:
            self.room -= size
            self.values[key] = value
        return value


def _size(value: Any) -> int:
    """Bytes, roughly: what arrays and tensors hold, and a little for each object."""
    if isinstance(value, (str, bytes)):
        return 64 + len(value)
    if isinstance(value, (tuple, list)) and value and isinstance(value[0], int):
        return 64 + 8 * len(value)
    if isinstance(value, (tuple, list)):
        return 64 + sum(map(_size, value))
    if is_dataclass(value):
        return 64 + sum(map(_size, vars(value).values()))
    return 64 + int(getattr(value, "nbytes", 0))
