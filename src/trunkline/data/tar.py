"""Tar shards → rows: files of one name are one row, and each ending is a column (as WebDataset lays data out).

Nothing is unpacked. What is large (pictures, sounds) is read from its place in the shard when it is asked for.
"""

from __future__ import annotations

import tarfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, overload

import numpy as np

from trunkline.cells import parse_json
from trunkline.data.rows import row_cells
from trunkline.data.table import Cells, LazyCells, Reading, check_unique
from trunkline.errors import DataError

TEXTS = ("txt", "text", "caption", "transcript", "cls", "cls2", "id", "index")  # endings of cells that are texts
OBJECTS = "json"  # the ending of a file whose keys are columns


class Members(LazyCells):
    """Files in a shard, as `{"path": name, "bytes": …}`, which every reader of files takes.

    Args:
        path: of the shard.
        names: of each row's file, empty where there is none.
        starts: its first byte in the shard, `[rows]`; -1 where there is none.
        sizes: its bytes, `[rows]`.
    """

    def __init__(self, path: Path, names: list[str], starts: np.ndarray, sizes: np.ndarray) -> None:
        self.path, self.names, self.starts, self.sizes = path, names, starts, sizes

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, place: int) -> dict[str, Any] | None: ...
    @overload
    def __getitem__(self, place: slice) -> Members: ...
    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return Members(self.path, self.names[place], self.starts[place], self.sizes[place])
        start, size = int(self.starts[place]), int(self.sizes[place])
        if start < 0:
            return None
        with self.path.open("rb") as file:
            file.seek(start)
            held = file.read(size)
        if len(held) < size:
            raise DataError(f"{self.path.name}: {self.names[place]} ends early; the shard was cut since it was opened")
        return {"path": self.names[place], "bytes": held}

    def present(self) -> np.ndarray:
        return self.starts >= 0

    @property
    def nbytes(self) -> int:
        return int(self.sizes.sum())

    def without(self, rows: Collection[int]) -> Members:
        starts = self.starts.copy()
        starts[list(rows)] = -1
        return Members(self.path, self.names, starts, self.sizes)


def tar_cells(path: Path, how: Reading) -> Mapping[str, Cells]:
    """Read a shard: `000.jpg`, `000.json`, `000.cls` are one row with the columns `jpg`, `cls`, and the JSON's keys.

    A file's ending is what stands behind the first dot of its name. `.json`, `.txt`, `.cls` and the like are read now,
    other files when they are asked for.

    Raises:
        DataError: it is no plain tar file, a file stands twice, or a text in it is not UTF-8 or not JSON.
    """
    rows: list[dict[str, Any]] = []
    places: dict[str, dict[int, tuple[str, int, int]]] = {}
    whose: dict[str, int] = {}
    end = path.stat().st_size
    with _opened(path) as tar:
        for member in _members_of(path, tar):
            if member.size < 0 or member.offset_data + member.size > end:
                raise DataError(
                    f"{path.name}: {member.name} ends behind the end of the shard, which was cut or damaged"
                )
            if member.issparse():
                raise DataError(f"{path.name}: {member.name} is a sparse file, whose bytes do not lie in a row; write "
                                "the shard without `--sparse`")  # fmt: skip
            name = PurePosixPath(member.name)
            stem, _, ending = name.name.partition(".")
            if not member.isfile() or not stem or not ending:
                continue
            key = str(name.with_name(stem))
            if key not in whose:
                whose[key] = len(rows)
                rows.append({})
            row = whose[key]
            if ending == OBJECTS or ending in TEXTS:
                _read_text(path, tar, member, ending, rows[row])
            elif row in (found := places.setdefault(ending, {})):
                raise DataError(f"{path.name}: {member.name} is there twice")
            else:
                found[row] = (member.name, member.offset_data, member.size)
    cells = row_cells(path.name, "sample", enumerate(rows, start=1), how.na)
    check_unique(path.name, [*cells, *places])
    return {**{ending: _members(path, found, len(rows)) for ending, found in places.items()}, **cells}


def _opened(path: Path) -> tarfile.TarFile:
    if path.suffix.lower() == ".gz":
        raise DataError(f"{path.name}: a packed shard cannot be read from the middle; write it as a plain .tar")
    try:
        return tarfile.open(path, "r:")
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError) as error:
        raise DataError(f"{path.name} is not a plain tar file: {error}") from error


def _members_of(path: Path, tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """In order; what the standard library raises of headers that are none is told."""
    try:
        yield from tar
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError) as error:
        raise DataError(f"{path.name} is not a whole tar file: {error}") from error


def _read_text(path: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, ending: str, row: dict[str, Any]) -> None:
    file = tar.extractfile(member)  # opens it within the shard; nothing is written anywhere
    assert file is not None, "a file, not a folder"
    try:
        text = file.read().decode("utf-8-sig")
        found = parse_json(text) if ending == OBJECTS else {ending: text.strip()}
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name}: {member.name} is not UTF-8 ({error})") from error
    except ValueError as error:
        raise DataError(f"{path.name}: {member.name} is not JSON: {error}") from error
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{path.name}: {member.name} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f'{path.name}: {member.name} holds no object. A row looks like {{"column": value}}')
    if twice := [name for name in found if name in row]:
        raise DataError(f"{path.name}: {member.name} gives {', '.join(map(repr, twice))} a second time")
    row.update(found)


def _members(path: Path, found: Mapping[int, tuple[str, int, int]], rows: int) -> Members:
    names, starts, sizes = [""] * rows, np.full(rows, -1, dtype=np.int64), np.zeros(rows, dtype=np.int64)
    for row, (name, start, size) in found.items():
        names[row], starts[row], sizes[row] = name, start, size
    return Members(path.absolute(), names, starts, sizes)
