"""Prepared values of all rows of a table: in memory, or, where they are many, in a file that is mapped.

Such a file has no name once it is mapped: it goes when nothing uses it any more, whatever becomes of the process.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from trunkline.data import cache_folder
from trunkline.errors import DataError

IN_MEMORY = 64 * 2**20  # bytes of one tensor, above which it lies in a file


def store(size: int, pieces: Iterable[tuple[slice, Mapping[str, Tensor] | None]]) -> dict[str, Tensor]:
    """Tensors over all rows, from tensors over some of them.

    Args:
        size: number of rows.
        pieces: rows and their values, `[rows, …]` by name; `None` where these rows have nothing: 0 stands there.

    Raises:
        DataError: there is no room for the file.
    """
    whole: dict[str, Tensor] = {}
    for rows, values in pieces:
        for name, value in (values or {}).items():
            if rows == slice(0, size):
                whole[name] = value  # in one piece already
                continue
            if name not in whole:
                whole[name] = _zeros((size, *value.shape[1:]), value.dtype)
            whole[name][rows] = value
    return whole


def _zeros(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    count = math.prod(shape)
    length = count * dtype.itemsize
    return torch.zeros(shape, dtype=dtype) if length <= IN_MEMORY else _in_file(length, count, dtype).view(shape)


def _in_file(length: int, count: int, dtype: torch.dtype) -> Tensor:
    folder = cache_folder() / "values"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            _reserve(file.fileno(), length)
            return torch.from_file(file.name, shared=True, size=count, dtype=dtype)
    except OSError as error:
        raise DataError(f"the prepared columns of this table take {length / 2**30:.1f} GiB, for which {folder} has no "
                        f"room: {error}. Make room, or name another folder by TRUNKLINE_CACHE") from error  # fmt: skip


def _reserve(descriptor: int, length: int) -> None:
    """Take the room now: a mapped file that finds none later ends the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, length)
    else:
        os.truncate(descriptor, length)
