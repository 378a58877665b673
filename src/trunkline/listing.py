"""What there is to choose from, and the options of each: from signatures and docstrings, so that it is what is true."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from trunkline import balancers, config, demos, fusion, modalities, tasks, trunks
from trunkline.errors import ConfigError, suggest

# By the name of a config's section, as far as it has one.
CATALOGS: dict[str, Mapping[str, Any]] = {
    "inputs": modalities.CATALOG,
    "tasks": tasks.CATALOG,
    "fusion": fusion.CATALOG,
    "trunk": trunks.CATALOG,
    "balancer": balancers.CATALOG,
    "demos": demos.CATALOG,
}
SECTIONS: dict[str, Any] = {"data": config.DataConfig, "training": config.Training}
SAME = {"modalities": "inputs", "trunks": "trunk", "balancers": "balancer"}  # the names of the rooms in Python
ARGUMENT = re.compile(r"^ {4}(\w+): (.*)$")


@dataclasses.dataclass(frozen=True)
class Option:
    """One option: how it is written in a config, what it is where nothing is said, and what it does."""

    name: str
    default: str
    about: str


def sections(name: str | None) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Of each section its types, or what it is where it has none, with a line about each.

    Args:
        name: of one section; all by default.
    """
    for section, catalog in CATALOGS.items():
        if name is None or SAME.get(name, name) == section:
            yield section, [(kind, _first_line(made)) for kind, made in catalog.items()]


def options_of(name: str) -> Iterator[tuple[str, str, list[Option]]]:
    """All that has this name, such as `tasks.number`, `mmoe` or `training`: full name, first line, options.

    Raises:
        ConfigError: nothing has this name.
    """
    named = {f"{s}.{kind}": made for s, catalog in CATALOGS.items() for kind, made in catalog.items()} | SECTIONS
    section, _, kind = name.rpartition(".")
    full = f"{SAME.get(section, section)}.{kind}" if section else name
    found = {key: made for key, made in named.items() if key == full or (not section and key.split(".")[-1] == name)}
    if not found:
        short = {*CATALOGS, *SECTIONS, *(key.split(".")[-1] for key in named)}
        raise ConfigError(f"{name!r} is neither a section nor a type.{suggest(full, named if section else short)}")
    for key, made in found.items():
        yield key, _first_line(made), list(_options(made)) if inspect.isclass(made) else []


def _options(made: Any) -> Iterator[Option]:
    about = _arguments(inspect.getdoc(made) or "")
    for name, parameter in inspect.signature(made, eval_str=True).parameters.items():
        said = about.get(name, "").replace("`None`", "`null`")
        words = [word for word in _words(parameter.annotation) if f"`{word}`" not in said]
        also = f" In words: {', '.join(f'`{word}`' for word in words)}." if said and words else ""
        yield Option(name, _told(parameter.default), said + also)


def _words(hint: Any) -> Iterator[str]:
    """Those of which an option may be one."""
    for one in get_args(hint):
        if get_origin(hint) is Literal:
            yield str(one)
        else:
            yield from _words(one)


def _told(default: Any) -> str:
    """As a config has it; nothing where it must be said or is no plain value."""
    if isinstance(default, bool):
        return str(default).lower()
    if default is None:
        return "null"
    return str(default) if isinstance(default, int | float | str) else ""


def _first_line(made: Any) -> str:
    return (made.__doc__ or "").splitlines()[0]


def _arguments(doc: str) -> dict[str, str]:
    """What a docstring in Google's style says of each argument or attribute, in one line."""
    found: dict[str, str] = {}
    name, is_inside = None, False
    for line in doc.splitlines():
        if line and not line.startswith(" "):
            is_inside, name = line in ("Args:", "Attributes:"), None
        elif is_inside and (begun := ARGUMENT.match(line)):
            name, found[begun[1]] = begun[1], begun[2]
        elif is_inside and name is not None and line.startswith(" " * 8):
            found[name] += " " + line.strip()
    return found
