"""Cells that lie as JSON in a mapped table, since Arrow has no type for all of them: lists, objects, mixed kinds."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, overload

import numpy as np
import pyarrow as pa

from trunkline.data.table import LazyCells, emptied


class JsonCells(LazyCells):
    """Each cell is decoded when it is asked for.

    Args:
        texts: JSON by row, null where a cell is absent.
    """

    def __init__(self, texts: pa.ChunkedArray) -> None:
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, place: int) -> Any: ...
    @overload
    def __getitem__(self, place: slice) -> JsonCells: ...
    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return JsonCells(self.texts[place])
        text = self.texts[place].as_py()
        return None if text is None else json.loads(text)

    def present(self) -> np.ndarray:
        return self.texts.is_valid().to_numpy()

    @property
    def nbytes(self) -> int:
        return self.texts.nbytes

    def without(self, rows: Collection[int]) -> JsonCells:
        return JsonCells(emptied(self.texts, rows))
