"""`key=value` from a command line → a place in a config."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from trunkline.config.dialect import parse_yaml
from trunkline.config.problems import Problems
from trunkline.config.reader import OFF
from trunkline.errors import ConfigError, brief, one_line, suggest

ENTRIES = re.compile(r"(inputs|tasks)\.(.+)")
TABLES = re.compile(r"data\.(tables\..+\.)?(train|table|validation|test)|start")


def override(config: Mapping[str, Any], overrides: Iterable[str], problems: Problems) -> dict[str, Any]:
    """The config with other values in some places.

    A key is a dotted path. Where a name has dots itself, the longest key that is there already is taken. The value is
    YAML. Below a short form (`trunk: mmoe`) options can be set (`trunk.experts=8`). `tasks.NAME=off` and
    `inputs.NAME=off` leave one out, also one column of those that a pattern or a group stands for. Tables are looked
    for from the working directory on, as all that a command line names, not from the config's folder.

    Example:
        >>> override({"tasks": {"a.b": "binary", "c": None}}, ["tasks.a.b.weight=2", "tasks.c=off"], Problems())
        {'tasks': {'a.b': {'type': 'binary', 'weight': 2}}}
    """
    changed = copy.deepcopy(dict(config))
    for text in overrides:
        path, is_assignment, value = text.partition("=")
        if not (path and is_assignment):
            problems.add(text, "an override is written `key=value`, as in `training.epochs=5`.")
            continue
        if not value.strip():
            problems.add(one_line(path), "it is given no value; `null` stands for none.")
            continue
        try:
            given = parse_yaml(value, one_line(path))
            if given == OFF and (entry := ENTRIES.fullmatch(path)) and _is_left_out(changed, *entry.groups()):
                continue
            _put(changed, path, _from_here(given, path) if TABLES.fullmatch(path) else given)
        except ConfigError as error:
            problems.lines.append(str(error))
    return changed


def _is_left_out(config: dict[str, Any], section: str, name: str) -> bool:
    """Take an input or a task out of the config, if it is there by that name.

    Raises:
        ConfigError: it is not, and nothing else is meant.
    """
    entries = config.get(section)
    if isinstance(entries, list):  # names whose types are left out
        entries = {str(one): None for one in entries}
    if not isinstance(entries, dict):
        entries = {}
    if name in entries:
        config[section] = {other: entry for other, entry in entries.items() if other != name}
        return True
    stands_for_more = any(fnmatchcase(name, other) or _has_columns(entry) for other, entry in entries.items())
    is_option = any(name[: dot.start()] in entries for dot in re.finditer(r"\.", name))
    if stands_for_more and not is_option:
        config[section] = {**entries, name: OFF}  # of what a pattern or a group stands for
        return True
    if "." not in name:
        raise ConfigError(f"{section}.{one_line(name)}: there is none to be left out.{suggest(name, entries)}")
    return False  # one of its options is off


def _has_columns(entry: Any) -> bool:
    return isinstance(entry, Mapping) and "columns" in entry


def _from_here(given: Any, path: str) -> Any:
    """A table's path, or several, made absolute; a share of rows stays as it is."""
    if isinstance(given, list):
        return [_from_here(one, path) for one in given]
    try:
        return str(Path(given).expanduser().absolute()) if isinstance(given, str) else given
    except RuntimeError as error:
        raise ConfigError(f"{path}: {given!r}: {error}") from error


def _put(tree: dict[str, Any], path: str, value: Any) -> None:
    """Set a value, making mappings on the way."""
    key = _next_key(tree, path)
    if key == path:
        tree[key] = value
        return
    below = tree.get(key)
    if isinstance(below, str):
        below = {"type": below}
    if isinstance(below, list):  # names whose types are left out
        below = {str(name): None for name in below}
    if not (below is None or isinstance(below, dict)):
        raise ConfigError(f"{one_line(path)}: {brief(key)} is {brief(below)}, which has nothing below it.")
    tree[key] = {} if below is None else below
    _put(tree[key], path[len(key) + 1 :], value)


def _next_key(tree: Mapping[str, Any], path: str) -> str:
    """The longest key of `tree` that the path starts with; else its first word."""
    there = [key for key in tree if path == key or path.startswith(f"{key}.")]
    return max(there, key=len) if there else path.partition(".")[0]
