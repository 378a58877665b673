"""Tables larger than memory: written once as Arrow, a piece at a time, and mapped into memory from there.

What is mapped is read from the disk as it is asked for, and the system drops it again where memory is short.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import filelock
import pyarrow as pa

from trunkline.data.table import PIECE, Reading
from trunkline.errors import DataError
from trunkline.files import replacing

BIG = 128 * 2**20  # bytes of a file as it would lie in memory, from which on it is mapped
UNPACKED = 8  # times as large as its gzip file a text is, roughly
LAYOUT = 1  # of the files written here: another layout is another file


def is_big(size: int) -> bool:
    """Whether so many bytes are mapped rather than held."""
    return size > BIG


def unpacked_size(path: Path) -> int:
    """Bytes of a file of text, roughly, where it is packed."""
    return path.stat().st_size * (UNPACKED if path.suffix.lower() == ".gz" else 1)


def cache_folder() -> Path:
    """Where mapped tables lie: `TRUNKLINE_CACHE`, or `trunkline` in the user's folder for such files.

    It may be emptied at any time; a table is then written again.
    """
    if own := os.environ.get("TRUNKLINE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trunkline"


def mapped_copy(path: Path, how: Reading, pieces: Callable[[], Iterable[pa.Table]]) -> pa.Table:
    """The table that a file holds, as a mapped copy of it: found, or written now.

    A copy belongs to the file's place, size and time, and to the way it is read. Of several processes one writes.

    Args:
        path: of the file.
        how: it is read.
        pieces: what is in it, one below the other, of one schema.

    Raises:
        DataError: it cannot be written.
    """
    folder = cache_folder() / "tables"
    stat = path.stat()
    way = replace(how, na=tuple(sorted(map(repr, how.na))))  # a set has no order
    told = (LAYOUT, str(path.absolute()), stat.st_size, stat.st_mtime_ns, way)
    copy = folder / f"{hashlib.sha256(repr(told).encode()).hexdigest()[:32]}.arrow"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(copy.with_suffix(".lock")):
            if not copy.is_file():
                with replacing(copy) as unfinished:
                    _write(unfinished, _told(path, pieces()))
    except OSError as error:
        raise DataError(f"{path.name} is too large to be held in memory, and its copy cannot be written to {folder}: "
                        f"{error}. Make room, or name another folder by TRUNKLINE_CACHE") from error  # fmt: skip
    return read_mapped(copy)


def read_mapped(path: Path) -> pa.Table:
    """An Arrow file (the random-access format, also called Feather 2, or a stream), mapped.

    Raises:
        DataError: it is none.
    """
    try:
        source = pa.memory_map(str(path))
        try:
            return pa.ipc.open_file(source).read_all()
        except pa.ArrowInvalid:
            source.seek(0)
        return pa.ipc.open_stream(source).read_all()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path.name} is not an Arrow file: {error}") from error


def _told(path: Path, pieces: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The pieces; that the file itself cannot be read is no matter of its copy."""
    is_empty = True
    try:
        for piece in pieces:
            is_empty = False
            yield piece
    except OSError as error:
        raise DataError(f"{path.name} cannot be read: {error}") from error
    if is_empty:
        raise DataError(f"{path.name} holds no rows")


def _write(path: Path, pieces: Iterable[pa.Table]) -> None:
    writer = None
    try:
        for piece in pieces:
            if writer is None:
                writer = pa.ipc.new_file(str(path), piece.schema)
            writer.write_table(piece, max_chunksize=PIECE)
    finally:
        if writer is not None:
            writer.close()
