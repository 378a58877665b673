"""Files of text → bytes of UTF-8, or which line is none."""

from __future__ import annotations

import codecs
import gzip
import io
import re
from pathlib import Path
from typing import IO, NamedTuple, cast

from trunkline.errors import DataError

_MARKS = {  # longer ones first: a mark of UTF-32 begins like one of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_UNMARKED = {"x0x0": "utf-16-le", "0x0x": "utf-16-be"}  # `0` a NUL, which is in no table's first letters otherwise
AROUND = 12  # bytes on each side of one that is wrong, in an error
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
    except UnicodeError as error:
        raise DataError(f"{path.name} is not {name}: {error}") from error
    except ValueError as error:  # a NUL in its name
        raise DataError(f"{path.name}: there is no encoding {encoding!r}: {error}") from error


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
    if bad.is_half:
        raise DataError(f"{where}: half a surrogate pair, or half a letter. Write the file as UTF-8 anew")
    if good is not None:
        raise DataError(f"{where}, but line {good} is: the file mixes encodings. Save all of it as UTF-8")
    others = "; or the encoding it was written in, such as cp1251, shift_jis or gb18030" if bad.is_foreign else ""
    raise DataError(
        f"{where}. Save the file as UTF-8, or say `encoding: {bad.guess}` under `data:`, which reads it as "
        f"{bad.as_guessed!r}{others}"
    )


class _Bad(NamedTuple):
    """A line that is not UTF-8."""

    number: int
    line: bytes
    start: int

    @property
    def byte(self) -> bytes:
        """The first that is wrong."""
        return self.line[self.start : self.start + 1]

    @property
    def guess(self) -> str:
        """An encoding of western Europe."""
        return "cp1252" if _ONLY_CP1252.search(self.line) else "latin-1"

    @property
    def as_guessed(self) -> str:
        """The beginning of the line, or what stands around the byte."""
        first = max(0, self.start - AROUND)
        return self.line[first : self.start + AROUND].decode(self.guess, "replace").strip()

    @property
    def is_foreign(self) -> bool:
        """Whether most letters are beyond ASCII, as in no text of western Europe."""
        letters = [byte for byte in self.line if byte >= 0x80 or chr(byte).isalpha()]
        return sum(byte >= 0x80 for byte in letters) * 2 > len(letters)

    @property
    def is_half(self) -> bool:
        """Whether it is UTF-8 but for half a surrogate pair, or for a letter that the file's end cuts through."""
        try:
            self.line.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            return error.reason == "unexpected end of data" and len(self.line) - error.start > 1
        return True


def _first_lines(path: Path, encoding: str | None) -> tuple[int | None, _Bad | None]:
    """The first line (below the header) with letters beyond ASCII in UTF-8, and the first that is not UTF-8."""
    good, bad = None, None
    with as_utf8(path, encoding) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
                good = number if good is None and not line.isascii() and number > 1 else good
            except UnicodeDecodeError as error:
                bad = bad or _Bad(number, line, error.start)
            if good and bad:
                break
    return good, bad


def _marked(path: Path) -> str | None:
    """The encoding that the file's first bytes tell; `None` for UTF-8 with or without its mark."""
    with open_plain(path) as file:
        first = file.read(4)
    for mark, name in _MARKS.items():
        if first.startswith(mark):
            return name
    return _UNMARKED.get("".join("x" if byte else "0" for byte in first))
