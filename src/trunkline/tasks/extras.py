"""Packages that some kinds of task need and that are installed on request."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from trunkline.errors import ConfigError


def extra(module: str, *, kind: str, name: str) -> Any:
    """A module of one of trunkline's extras.

    Args:
        module: its name.
        kind: of task, that needs it.
        name: of the extra.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise ConfigError(f'tasks of type {kind!r} need {error.name}: pip install "trunkline[{name}]"') from error
