"""Parallel text files: line by line, what one says belongs to what the others say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path

from formats.paths import read_lines
from trunkline.errors import DataError


def read_parallel(files: Mapping[str, Path], *, tags_of: Mapping[str, str] | None = None) -> Iterator[dict[str, str]]:
    """A row for each line that the files have in common; an empty line is an absent cell.

    Args:
        files: column → its file, also `.gz`.
        tags_of: column with a tag a word → the column of the words.

    Raises:
        DataError: a file is missing or ends before another, or there are not as many tags as words.
    """
    for lines in zip_longest(*(read_lines(path) for path in files.values())):
        short = [path for path, line in zip(files.values(), lines) if line is None]
        number = next(line[0] for line in lines if line is not None)
        if short:
            longer = next(path for path, line in zip(files.values(), lines) if line is not None)
            raise DataError(f"{short[0]} ends before line {number}, which {longer} has")
        row = {column: text for column, (_, text) in zip(files, lines)}
        for tags, words in (tags_of or {}).items():
            if len(row[tags].split()) != len(row[words].split()):
                raise DataError(
                    f"{files[tags]}, line {number}: {len(row[tags].split())} tags for the "
                    f"{len(row[words].split())} words of {files[words]}"
                )
        yield row
