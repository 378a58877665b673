"""Decoded and prepared cells that are kept from batch to batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any

import numpy as np


class Kept:
    """Values that are kept while there is room; what comes later is made anew each time.

    Args:
        room: in bytes.

    Attributes:
        passing: `[rows of the table]`: of which nothing is kept.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.values: dict[tuple[str, str, int], Any] = {}
        self.passing: np.ndarray | None = None

    def get(self, key: tuple[str, str, int], make: Callable[[], Any]) -> Any:
        """What is kept under a key (what for, of which column, of which row), or what `make` gives."""
        if key in self.values:
            return self.values[key]
        value = make()
        is_passing = self.passing is not None and bool(self.passing[key[2]])
        if not is_passing and (size := _size(value)) <= self.room:
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
