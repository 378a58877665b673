"""Paths as a table's cells hold them."""

from __future__ import annotations

import os
from pathlib import Path

from trunkline.errors import DataError


def relative(path: Path, base: Path) -> str:
    """The path as seen from the table's folder, with forward slashes."""
    return Path(os.path.relpath(path.absolute(), base.absolute())).as_posix()


def require(path: Path, what: str) -> Path:
    """The path, if it is there.

    Raises:
        DataError: it is not.
    """
    if not path.exists():
        raise DataError(f"{path}: there is no such {'folder' if not path.suffix else 'file'} ({what})")
    return path
