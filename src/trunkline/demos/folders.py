"""Where a demo's table lies: in the user's cache, or wherever it is to be kept; whole, or not there at all."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from trunkline.errors import ConfigError


def cached(name: str, write: Callable[..., Path], *, rows: int, seed: int, keep: Path | None) -> Path:
    """A table from the user's cache, where it is written the first time it is asked for.

    Args:
        name: of the demo and of what it writes now; another name, another folder.
        write: the demo's own.
        rows: how many rows.
        seed: another seed, another table.
        keep: a new folder to copy the table to.

    Returns:
        The path of the config, in `keep` where that is given, else in the cache
        (`$XDG_CACHE_HOME/trunkline` or `~/.cache/trunkline`).
    """
    parameters = hashlib.sha256(f"rows={rows} seed={seed}".encode()).hexdigest()[:12]
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = caches / "trunkline" / f"{name}-{parameters}"
    if not folder.is_dir():
        try:
            write(folder, rows=rows, seed=seed)
        except ConfigError:
            if not folder.is_dir():  # else another process was first, with the same bytes
                raise
    if keep is None:
        return folder / "config.yaml"
    with whole_or_not_at_all(keep) as draft:
        shutil.copytree(folder, draft, dirs_exist_ok=True)
    return keep / "config.yaml"


@contextmanager
def whole_or_not_at_all(folder: Path) -> Iterator[Path]:
    """A draft that takes the folder's place when everything in it is written."""
    _check_empty(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as parent:
        draft = Path(parent) / folder.name
        draft.mkdir()
        yield draft
        _check_empty(folder)
        if folder.exists():  # an empty folder gives way to a full one on some systems only
            folder.rmdir()
        draft.rename(folder)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    """Rows as CSV; a key that is missing is an empty cell."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _check_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not empty: give a folder that is new or empty")
