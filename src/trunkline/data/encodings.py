"""Files of text → bytes of UTF-8, or which line is none."""

from __future__ import annotations

import codecs
import gzip
import io
import re
from pathlib import Path
from typing import IO, NamedTuple, cast

from trunkline.errors import DataError

_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_ONLY_CP1252 = re.compile(rb"[\x80-\x9f]")


def open_plain(path: Path) -> IO[bytes]:
    """The file's bytes, unpacked where it ends in `.gz`."""
    return cast(IO[bytes], gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")


def as_utf8(path: Path, encoding: str | None) -> IO[bytes]:
    """The file as UTF-8: as it is, or converted from an encoding that was named or that its first bytes tell.

    Raises:
        DataError: there is no such encoding, or the file is not in it.
    """
    name = encoding or _marked(path)
    try:
        if name is None or codecs.lookup(name).name == "utf-8":
            return open_plain(path)
        with open_plain(path) as file:
            return io.BytesIO(file.read().decode(name).encode())
    except LookupError:
        raise DataError(
            f"{path.name}: there is no encoding {encoding!r}. Known: utf-8, latin-1, cp1252, utf-16 …"
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is not {name}: {error}") from error


def guess_encoding(path: Path) -> str | None:
    """The encoding to name for a file of text that is not UTF-8; `None` where none is needed.

    Raises:
        DataError: the file mixes encodings.
    """
    if not path.is_file() or not {suffix.lower() for suffix in path.suffixes} & {".csv", ".tsv", ".jsonl"}:
        return None
    good, bad = _first_lines(path, None)
    if good is not None:
        explain_bytes(path, None)
    return None if bad is None else bad.guess


def explain_bytes(path: Path, encoding: str | None) -> None:
    """Say which line of a file is not UTF-8.

    Raises:
        DataError: with the line and what would work; nothing where every line is UTF-8.
    """
    good, bad = _first_lines(path, encoding)
    if bad is None:
        return
    where = f"{path.name}, line {bad.number} is not UTF-8 (byte 0x{bad.byte.hex()})"
    if good is not None:
        raise DataError(f"{where}, but line {good} is: the file mixes encodings. Save all of it as UTF-8")
    raise DataError(f"{where}. Save the file as UTF-8, or say `encoding: {bad.guess}` under `data:`")


class _Bad(NamedTuple):
    """A line that is not UTF-8."""

    number: int
    byte: bytes
    guess: str


def _first_lines(path: Path, encoding: str | None) -> tuple[int | None, _Bad | None]:
    """The first line (below the header) with letters beyond ASCII in UTF-8, and the first that is not UTF-8."""
    good, bad = None, None
    with as_utf8(path, encoding) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
                good = number if good is None and not line.isascii() and number > 1 else good
            except UnicodeDecodeError as error:
                guess = "cp1252" if _ONLY_CP1252.search(line) else "latin-1"
                bad = bad or _Bad(number, line[error.start : error.start + 1], guess)
            if good and bad:
                break
    return good, bad


def _marked(path: Path) -> str | None:
    """The encoding that the file's first bytes tell; `None` for UTF-8 with or without its mark."""
    with open_plain(path) as file:
        return _MARKS.get(file.read(2))
