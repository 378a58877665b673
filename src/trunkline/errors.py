"""What can go wrong, as a tree.

    TrunklineError
    ├── ConfigError   the config (or the way components were put together) cannot work
    ├── DataError     a table, a row or a cell cannot be used
    └── RunError      a run folder is not one, is incomplete, or a run cannot go on

Arguments of Python functions that are out of range raise `ValueError`; a broken invariant of trunkline's own
is an `assert`. Every message says where, what was given, and what would work.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

SHOWN = 200  # letters of a value in an error


class TrunklineError(Exception):
    """Base of everything trunkline raises on purpose."""


class ConfigError(TrunklineError):
    """The config, or the way components were put together, cannot work."""


class DataError(TrunklineError):
    """A table, a row or a cell cannot be used."""

    def at(self, source: str, row: int | None, column: str) -> DataError:
        """The same error with its place in front: `train.csv, row 17, column 'photo': …`."""
        where = f"{source}, column {column!r}" if row is None else f"{source}, row {row}, column {column!r}"
        return DataError(f"{where}: {self}")


class RunError(TrunklineError):
    """A run folder is not one, is incomplete, or a run cannot go on."""


def suggest(word: str, known: Iterable[str]) -> str:
    """` Did you mean 'category'?` where a known word is near, else the list of what is known."""
    known = sorted(known)
    return nearest(word, known) or f" Known: {', '.join(known)}."


def check_names(given: Iterable[str], known: Collection[str], option: str | None = None) -> None:
    """Every name is a task's.

    Args:
        given: the names.
        known: tasks.
        option: of a config, that has the names.

    Raises:
        ValueError: one is not.
        ConfigError: likewise, in an option.
    """
    for name in given:
        if name not in known:
            told = f"there is no task {name!r}.{suggest(name, known)}"
            raise ValueError(told) if option is None else ConfigError(f"{option}: {told}")


def refuse(what: str, faults: Mapping[str, Any]) -> None:
    """Refuse options that cannot work, all at once.

    Args:
        what: has them.
        faults: what may be wrong, and whether it is.

    Raises:
        ConfigError: all that is wrong.
    """
    if said := [fault for fault, is_so in faults.items() if is_so]:
        raise ConfigError("\n".join(f"{what}: {fault}" for fault in said))


def brief(value: Any) -> str:
    """A value as errors show it: the beginning of what is long.

    Example:
        >>> brief("red"), len(brief("red" * 1000))
        ("'red'", 201)
    """
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def one_line(text: str) -> str:
    """A name as errors show it: in one line, without what moves a terminal's cursor, and not too long.

    Example:
        >>> one_line("a\\nb"), len(one_line("a" * 1000))
        ('a\\\\nb', 201)
    """
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text[: SHOWN + 1])
    return shown if len(text) <= SHOWN else f"{shown[:SHOWN]}…"


def nearest(word: str, known: Iterable[str]) -> str:
    """` Did you mean 'category'?` where a known word is near, else nothing."""
    near = difflib.get_close_matches(word[:SHOWN], sorted(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""


def counted(number: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
