"""Anything that holds rows → `Table`."""

from __future__ import annotations

import gzip
import warnings
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from trunkline.data.arrow import arrow_cells
from trunkline.data.arrow_files import arrow_file_cells, parquet_cells
from trunkline.data.coco import coco_cells, split_in_name
from trunkline.data.concat import concatenate, with_split, with_splits_of_all
from trunkline.data.csv_files import csv_cells, tsv_cells
from trunkline.data.folders import read_folder
from trunkline.data.hub import is_dataset, is_saved_dataset, read_dataset, read_saved
from trunkline.data.jsonl import jsonl_cells
from trunkline.data.rows import frame_cells, row_cells
from trunkline.data.shards import files_of, is_pattern, shards_in
from trunkline.data.table import Cells, Na, Reading, Table
from trunkline.data.tar import tar_cells
from trunkline.data.voc import is_voc, read_voc
from trunkline.errors import DataError, brief
from trunkline.files import is_json

NAMED = 3  # files of which a warning tells the names


def read_table(
    source: Any,
    *,
    na: Na = (),
    encoding: str | None = None,
    delimiter: str | None = None,
    pictures: str | Path | None = None,
) -> Table:
    """Read a table.

    In CSV and TSV every cell stays text, so `007` stays `007`, and an empty cell is absent. In Parquet a null and a
    NaN are absent; in JSONL (one object a line) a `null`, a NaN and a missing key. Of large files the table is written
    once as Arrow into a folder of its own (`TRUNKLINE_CACHE`) and mapped: memory does not grow with them.

    Args:
        source: a path to `.csv`, `.tsv`, `.parquet` or `.jsonl` (each also `.gz`), to Arrow's `.arrow` or `.feather`,
            to a shard of WebDataset's (`.tar`), to COCO's `instances_*.json`, to a folder of pictures or sounds, of
            such files, of Pascal VOC or COCO, or to a saved Hugging Face dataset; or a pattern such as
            `part-*.parquet`, or a list of paths, whose rows follow each other (of COCO's files each is a split, where
            all their names tell one); or a list of dicts, an Arrow table, a Hugging Face `Dataset` or `DatasetDict`,
            or a data frame (anything with `columns` and `frame[column]`). A `Table` is given back as it is.
        na: further values that mean absent, such as `?` or `NA`.
        encoding: of files of text, such as `latin-1`; by default UTF-8, or UTF-16 with its mark.
        delimiter: between the cells of a CSV file; by default a comma, or what the first lines tell.
        pictures: the folder that the file names in COCO's file start from; by default found near the file.

    Raises:
        DataError: there is no such file, it cannot be read, or it holds no rows.

    Example:
        >>> read_table([{"age": 3}, {"age": "?"}], na=["?"]).column("age")
        [3, None]
    """
    return _read(source, Reading(na, encoding, delimiter, None if pictures is None else Path(pictures)))


def _read(source: Any, how: Reading) -> Table:
    if isinstance(source, Table):
        return source
    if isinstance(source, str | Path):
        return _read_path(Path(source), how)
    if is_dataset(source):
        return _checked(read_dataset(source, how))
    if isinstance(source, pa.Table):
        return _checked(Table("Arrow table", arrow_cells("Arrow table", source, how)))
    if hasattr(source, "columns"):
        return _checked(Table("data frame", frame_cells(source, how)))
    if isinstance(source, list | tuple) and source and all(isinstance(part, str | Path | Table) for part in source):
        named = [Path(part) if isinstance(part, str | Path) and is_json(Path(part)) else None for part in source]
        return concatenate(with_splits_of_all(_named_splits(named, [_read(part, how) for part in source])))
    if not isinstance(source, Iterable):
        raise DataError(f"{source!r} is not a table: give a path, a list of dicts or a data frame")
    return _checked(Table("rows", row_cells("rows", "row", enumerate(source, start=1), how.na)))


def _named_splits(files: Sequence[Path | None], tables: Sequence[Table]) -> Sequence[Table]:
    """Each is a split, where the names of all files tell one, and one of them trains, but not all.

    Args:
        files: of each table, if its name may tell.
        tables: that were read from them.

    Raises:
        DataError: some are named after held-out rows, and others after no split: all of them would train.
    """
    if not any(files):
        return tables
    names = _names_of(files)
    if None in names and set(names) - {None, "train"}:
        told = ", ".join(f"{table.source if file is None else file.name} ({name or 'none'})"
                         for file, name, table in zip(files, names, tables))  # fmt: skip
        raise DataError(f"not every file's name tells a split: {told}; name one file each: data: {{train: …, "
                        "validation: …, test: …}")  # fmt: skip
    if None in names or "train" not in names or set(names) == {"train"}:
        return tables
    return [with_split(table, str(name)) for table, name in zip(tables, names)]


def _names_of(files: Sequence[Path | None]) -> list[str | None]:
    """The split that each file's name tells."""
    return [None if file is None else split_in_name(file) for file in files]


def _shards_below(files: Sequence[Path], how: Reading) -> Table:
    """Files that a folder holds or a pattern finds, below each other; if all are named after splits, they are these."""
    tables, names = [_read_path(file, how) for file in files], _names_of(files)
    if None not in names or all(is_json(file) for file in files):
        return concatenate(with_splits_of_all(_named_splits(files, tables)))
    if held := [file.name for file, name in zip(files, names) if name not in (None, "train")]:
        warnings.warn(
            f"{files[0].parent}: {', '.join(held[:NAMED])} sound held out, but not every file's name tells a split, so "
            "all are read alike. To keep some apart: data: {train: …, validation: …, test: …}",
            stacklevel=2,
        )
    return concatenate(with_splits_of_all(tables))


def _read_path(path: Path, how: Reading) -> Table:
    try:
        path.stat()
    except FileNotFoundError:
        pass  # is told below
    except (OSError, ValueError) as error:
        raise DataError(f"{brief(str(path))} cannot be read: {error}") from error
    if is_pattern(path):
        if not (files := files_of(path)):
            raise DataError(f"{path}: no file is called so")
        return _shards_below(files, how)
    if path.is_dir():
        if is_voc(path):
            return _checked(read_voc(path))
        if files := sorted((path / "annotations").glob("instances_*.json")):
            return _read(files, how)
        if is_saved_dataset(path):
            return _checked(read_saved(path, how))
        if shards := shards_in(path, _shards()):
            return _shards_below(shards, how)
        return _checked(read_folder(path, lambda file: _read_path(file, how)))
    suffixes = [s.lower() for s in path.suffixes]
    kind = next((s for s in reversed(suffixes) if s != ".gz"), "")
    if kind not in _READERS:
        there = "" if path.exists() else ", nor is it there"
        raise DataError(
            f"{path} is not a table that can be read{there}. Known: {', '.join(_READERS)}, those of text "
            "and .parquet also with .gz; and folders of such files, of pictures or sounds, of Pascal VOC or COCO"
        )
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    try:
        cells = _READERS[kind](path, how)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a whole gzip file: {error}") from error
    return _checked(Table(path.name, cells, path.parent.absolute()))


def origins(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Whole paths of the tables that rows are read from, in their order; of a folder of pictures or sounds, its own."""
    found = [file for path in paths for file in files_of(path)]
    return tuple(file.resolve() for path in found for file in (path.is_dir() and shards_in(path, _shards())) or [path])


def _shards() -> Collection[str]:
    """How files end that may be one table together."""
    return _READERS.keys() - {".json"}


def _checked(table: Table) -> Table:
    if len(table) == 0:
        raise DataError(f"{table.source} holds no rows")
    return table


_READERS: dict[str, Callable[[Path, Reading], Mapping[str, Cells]]] = {
    ".csv": csv_cells,
    ".tsv": tsv_cells,
    ".parquet": parquet_cells,
    ".jsonl": jsonl_cells,
    ".arrow": arrow_file_cells,
    ".feather": arrow_file_cells,
    ".tar": tar_cells,
    ".json": coco_cells,
}
