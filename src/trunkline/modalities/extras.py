"""What comes with extras, and is imported where it is used."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from trunkline.errors import ConfigError


def need(module: str, extra: str, encoder: str) -> ModuleType:
    """Import what an encoder needs.

    Raises:
        ConfigError: it is not installed; names the extra that brings it.
    """
    if importlib.util.find_spec(module) is None:
        raise ConfigError(f'encoder: {encoder!r} needs {module}, which is missing; pip install "trunkline[{extra}]"')
    return importlib.import_module(module)
