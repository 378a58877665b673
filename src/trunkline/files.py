"""Files that are whole or not there: written beside, synced, renamed."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trunkline.errors import RunError

FORMATS = (".jsonl", ".csv", ".tsv", ".parquet", ".gz")  # that a table's name may end in


@contextmanager
def replacing(path: Path, *, keep: Path | None = None) -> Iterator[Path]:
    """A path to write to; when the block ends well, what was written stands at `path`, else nothing changes.

    Missing folders are made.

    Args:
        path: to be written.
        keep: where what stood at `path` goes; for a moment it alone is there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.chmod(0o666 & ~_umask())  # some writers make files that only their owner can read
        if keep is not None and path.exists():
            path.replace(keep)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any] | Sequence[Any]) -> None:
    """Readable JSON.

    Raises:
        ValueError: it holds NaN or infinity, which JSON does not have; `plain_json` makes them `null`.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    with replacing(path) as unfinished:
        unfinished.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """What a file of a run holds.

    Raises:
        RunError: it is no whole JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise RunError(f"{path} is no whole JSON file: {error}") from error


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_plain_file(path: str | Path) -> bool:
    """Whether there is a file that ends: no folder, no pipe, no device, and no name that no file can have."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def why_unread(path: str | Path, what: str = "") -> str:
    """Why `is_plain_file` says no, in words; `what` is what it should be, as in ` as a map`."""
    try:
        there = Path(path).exists()
    except (OSError, ValueError):
        there = False
    return f"{path} cannot be read{what}: it is a folder, a pipe or a device" if there else f"there is no file {path}"


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a file lies in a folder, wherever `..`, a root or a link in its path leads."""
    return path.resolve().is_relative_to(folder.resolve())


def bare_name(path: Path) -> str:
    """A table's name without what says its format.

    Example:
        >>> bare_name(Path("runs/cells.test.jsonl.gz"))
        'cells.test'
    """
    name = path.name
    while (suffix := Path(name).suffix).lower() in FORMATS:
        name = name.removesuffix(suffix)
    return name


def is_json(path: Path) -> bool:
    """Whether a name says JSON, which is COCO's, and not a table's JSON by line."""
    return ".json" in [suffix.lower() for suffix in path.suffixes]


def plain_json(content: Any) -> Any:
    """The same with `null` for NaN and infinity, which JSON does not have and most readers refuse."""
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {key: plain_json(value) for key, value in content.items()}
    return [plain_json(value) for value in content] if isinstance(content, list | tuple) else content


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
