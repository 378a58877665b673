"""Folders of pictures or sounds → a table: one row a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from trunkline.data.concat import concatenate, with_split
from trunkline.data.kinds import PICTURES, SOUNDS
from trunkline.data.splits import SPLIT_NAMES
from trunkline.data.table import Table
from trunkline.errors import DataError

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet", "metadata.tsv", "_annotations.coco.json")
FILES = ("image", "audio", "picture")  # columns that name them; the last is that of COCO
FOLDER_SPLITS = {**SPLIT_NAMES, "training": "train", "testing": "test"}


def read_folder(folder: Path, read_file: Callable[[Path], Table]) -> Table:
    """One row a picture (column `image`) or sound (`audio`), with paths relative to the folder.

    Subfolders named `train`, `val`, `test` … make a column `split`; subfolders of them (or of the folder) are classes
    and make a column `label`. Where there is a `metadata.csv` (or `.jsonl`, `.parquet`) with a column `file_name`, its
    rows are the table, as Hugging Face lays out an `imagefolder`; likewise an `_annotations.coco.json`. Rows whose file
    lies in such a subfolder are of its split, all others then for training, unless the table has a column `split`.

    Args:
        folder: to look into.
        read_file: reads a metadata file.

    Raises:
        DataError: there is neither a picture nor a sound in it.
    """
    splits = {path: name for path in _subfolders(folder) if (name := FOLDER_SPLITS.get(path.name.lower()))}
    if _metadata(folder) is not None:
        return _with_folders(_with_metadata(folder, "", read_file), {path.name: name for path, name in splits.items()})
    if splits and all(_metadata(path) is not None for path in splits):
        parts = [with_split(_with_metadata(path, f"{path.name}/", read_file), name) for path, name in splits.items()]
        return concatenate([Table(part.source, part.cells, folder, part.split) for part in parts])
    if splits:
        rows = [{**row, "split": name} for path, name in splits.items() for row in _rows(path, f"{path.name}/")]
    else:
        rows = _rows(folder, "")
    if not rows:
        raise DataError(f"{folder} holds neither a table's `metadata.csv` nor pictures or sounds")
    columns = [column for column in ("image", "audio", "label", "split") if any(column in row for row in rows)]
    cells = {column: [row.get(column) for row in rows] for column in columns}
    return Table(folder.name, cells, folder.absolute(), "split" if splits else None)


def _rows(folder: Path, prefix: str) -> list[dict[str, Any]]:
    """One row a file, in the order of names; its first subfolder is its class."""
    rows = []
    for path in sorted(folder.rglob("*")):
        place = PurePosixPath(path.relative_to(folder).as_posix())
        kind = {**dict.fromkeys(PICTURES, "image"), **dict.fromkeys(SOUNDS, "audio")}.get(path.suffix.lower())
        if kind is not None and path.is_file() and not any(part.startswith(".") for part in place.parts):
            label = {"label": place.parts[0]} if len(place.parts) > 1 else {}
            rows.append({kind: f"{prefix}{place}", **label})
    return rows


def _with_metadata(folder: Path, prefix: str, read_file: Callable[[Path], Table]) -> Table:
    path = _metadata(folder)
    assert path is not None
    table = read_file(path)
    names: dict[str, str] = {name: name for name in table.columns}
    for given in (name for name in ("file_name", "filename") if name in names):
        first = next((cell for cell in table.column(given) if cell is not None), "")
        names[given] = "audio" if Path(first).suffix.lower() in SOUNDS else "image"
    cells: Mapping[str, Any] = {
        names[name]: cells if names[name] == name or not prefix else [c and f"{prefix}{c}" for c in table.column(name)]
        for name, cells in table.cells.items()
    }
    return Table(f"{folder.name}/{path.name}", cells, folder.absolute())


def _with_folders(table: Table, splits: Mapping[str, str]) -> Table:
    """With a column `split` where files lie in folders that are called so: what the table says itself goes before."""
    files = next((table.column(name) for name in FILES if name in table.cells), [])
    bases = [] if table.base is None else [Path(os.path.abspath(table.base)), table.base.resolve()]
    places = [_place(str(file or "").replace("\\", "/"), bases) for file in files]
    found = [splits.get(place.parts[0]) if place.parts else None for place in places]
    if not any(found):
        return table
    told = table.column("split") if "split" in table.cells else [None] * len(table)
    names = [own or name or "train" for own, name in zip(told, found, strict=True)]
    return replace(table, cells={**table.cells, "split": names}, split="split")


def _place(file: str, bases: Sequence[Path]) -> PurePosixPath:
    """Of a file, within the folder: as it is called, or where links lead; `bases`: the folder's own path as either."""
    if Path(file).is_absolute():
        for path, base in zip((Path(os.path.abspath(file)), Path(file).resolve()), bases):
            if path.is_relative_to(base):
                return PurePosixPath(path.relative_to(base).as_posix())
    return PurePosixPath(file)


def _metadata(folder: Path) -> Path | None:
    return next((folder / name for name in METADATA if (folder / name).is_file()), None)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
