"""Packages of the extra `demo`, imported only when a demo is made."""

from __future__ import annotations

import importlib
from types import ModuleType

from trunkline.errors import ConfigError


def load_extra(module: str, package: str) -> ModuleType:
    """Import a module of the extra `demo`.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise ConfigError(
            f'the demo needs the package {package!r}, which is not installed: pip install "trunkline[demo]"'
        ) from error
