"""Folders of sounds whose names say what they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from formats.paths import relative, require
from trunkline.errors import DataError


def read_sounds(folder: Path, pattern: str, base: Path) -> Iterator[dict[str, Any]]:
    """A row for each file of a folder, its columns taken from the file's name.

    Args:
        folder: holds the files.
        pattern: of a whole name, with columns in braces, as in `{digit}_{speaker}_{take}.wav`.
        base: the folder of the table to come.

    Raises:
        DataError: there is no such folder, a name does not fit, or no file has the pattern's ending.
    """
    suffix = Path(pattern).suffix
    expression = name_pattern(pattern)
    paths = sorted(require(folder, "sounds").glob(f"*{suffix}"))
    if not paths:
        raise DataError(f"{folder} holds no {suffix} file")
    for path in paths:
        found = expression.fullmatch(path.name)
        if found is None:
            raise DataError(f"{path}: the name is not like {pattern}")
        yield {"sound": relative(path, base), **found.groupdict()}


def name_pattern(pattern: str) -> re.Pattern[str]:
    """`{digit}_{speaker}.wav` → a regular expression with a group a column; a column holds no `_`.

    Example:
        >>> name_pattern("{digit}_{speaker}.wav").fullmatch("7_theo.wav").groupdict()
        {'digit': '7', 'speaker': 'theo'}
    """
    parts = re.split(r"\{(\w+)\}", pattern)
    return re.compile("".join(f"(?P<{p}>[^_]+)" if i % 2 else re.escape(p) for i, p in enumerate(parts)))
