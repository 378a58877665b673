"""A table in many files: those that a pattern names, or that lie in a folder."""

from __future__ import annotations

import glob
from collections.abc import Collection
from pathlib import Path

from trunkline.data.folders import METADATA


def is_pattern(path: Path) -> bool:
    """Whether a path is no file's own name, but a pattern for several, such as `part-*.parquet`."""
    return glob.has_magic(str(path)) and not path.exists()


def files_of(path: Path) -> list[Path]:
    """The files that a pattern names, in the order of their names; of a plain path it alone."""
    return sorted(map(Path, glob.glob(str(path), recursive=True))) if is_pattern(path) else [path]


def shards_in(folder: Path, endings: Collection[str]) -> list[Path]:
    """The files of a folder in which there is nothing but tables of one format; else none.

    A table that describes a folder's pictures (`metadata.csv`) is no such file.

    Args:
        folder: to look into; what begins with `.` or `_` is passed over, as such files are others' marks.
        endings: of tables.
    """
    files = sorted(path for path in folder.iterdir() if not path.name.startswith((".", "_")))
    kinds = {next((s for s in reversed(file.suffixes) if s.lower() != ".gz"), "").lower() for file in files}
    if any(file.name in METADATA for file in files):
        return []
    return files if len(kinds) == 1 and kinds <= set(endings) and all(file.is_file() for file in files) else []
