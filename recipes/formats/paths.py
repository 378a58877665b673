"""Files and folders of other people, and how a table's cells name them."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path

from trunkline.errors import DataError

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def relative(path: Path, base: Path) -> str:
    """The path as seen from the table's folder, with forward slashes."""
    return Path(os.path.relpath(path.absolute(), base.absolute())).as_posix()


def require(path: Path, what: str) -> Path:
    """The path, if it is there.

    Raises:
        DataError: it is not.
    """
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder ({what})")
    return path


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines of a text file, also `.gz`, without their ends.

    Raises:
        DataError: there is no such file, or it is not UTF-8.
    """
    require(path, "text")
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise DataError(f"{path}, line {number} is not UTF-8 ({error})") from error


def find_picture(folder: Path, stem: str) -> Path:
    """The picture of this name, whatever its ending.

    Raises:
        DataError: there is none.
    """
    for suffix in PICTURES:
        for ending in (suffix, suffix.upper()):
            if (path := folder / f"{stem}{ending}").is_file():
                return path
    raise DataError(f"{folder}: there is no picture {stem!r} with one of the endings {', '.join(PICTURES)}")
