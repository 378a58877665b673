"""Hugging Face `datasets` → tables. Nothing is decoded: pictures and sounds stay bytes or paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from trunkline.data.arrow import arrow_column
from trunkline.data.concat import concatenate, with_split
from trunkline.data.table import Cells, Reading, Table
from trunkline.errors import DataError

_SPLITS = "dataset_dict.json"
_ONE = "dataset_info.json"


def is_dataset(source: Any) -> bool:
    """Whether it is a `Dataset` or a `DatasetDict`."""
    return type(source).__module__.partition(".")[0] == "datasets"


def is_saved_dataset(folder: Path) -> bool:
    """Whether `save_to_disk` wrote the folder."""
    return (folder / _SPLITS).is_file() or ((folder / _ONE).is_file() and (folder / "state.json").is_file())


def read_saved(folder: Path, how: Reading) -> Table:
    """A folder that `save_to_disk` wrote.

    Raises:
        DataError: the package `datasets` is not there.
    """
    try:
        from datasets import load_from_disk
    except ImportError as error:
        raise DataError(f"{folder} is a saved dataset: install `trunkline[datasets]` to read it") from error
    return read_dataset(load_from_disk(str(folder)), how, folder.name)


def read_dataset(source: Any, how: Reading, name: str = "dataset") -> Table:
    """A `Dataset`; or the splits of a `DatasetDict`, one below the other, with a column `split`."""
    if isinstance(source, Mapping):
        if not source:
            raise DataError(f"{name} holds no split")
        return concatenate(
            [with_split(read_dataset(part, how, f"{name}/{key}"), str(key)) for key, part in source.items()]
        )
    if not hasattr(source, "features") or not hasattr(source, "num_rows"):
        raise DataError(f"{name} is a {type(source).__name__}, which has no rows to go back to; use a `Dataset`")
    table = source.with_format("arrow")[:]
    return Table(name, {n: _column(table.column(n), source.features[n], how) for n in table.column_names})


def _column(column: pa.ChunkedArray, feature: Any, how: Reading) -> Cells:
    """Class numbers as names, -1 as absent, and so is a list that has one; the rest as in any Arrow table."""
    names = getattr(feature, "names", None)
    if names is not None and pa.types.is_integer(column.type):
        return [_named(number, names) for number in column.to_pylist()]
    inner = getattr(getattr(feature, "feature", None), "names", None)
    if inner is not None and pa.types.is_integer(getattr(column.type, "value_type", pa.null())):
        return [_all_named(cell, inner) for cell in column.to_pylist()]
    return arrow_column(column, how.na)


def _named(number: int | None, names: Sequence[str]) -> str | None:
    return None if number is None or number < 0 else names[number]


def _all_named(numbers: Sequence[int | None] | None, names: Sequence[str]) -> list[str | None] | None:
    found = None if numbers is None else [_named(number, names) for number in numbers]
    return None if found is None or None in found else found
