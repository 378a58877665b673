"""What comes with extras, and is imported where it is used."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from trunkline.errors import ConfigError


def need(module: str, extra: str, what: str) -> ModuleType:
    """Import a module of one of trunkline's extras.

    Args:
        module: its name.
        extra: that brings it.
        what: needs it, as the error begins: `encoder: 'timm:resnet18'`.

    Raises:
        ConfigError: it is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise ConfigError(f'{what} needs {module}, which is missing; pip install "trunkline[{extra}]"')
    return importlib.import_module(module)
