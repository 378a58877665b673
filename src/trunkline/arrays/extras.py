"""What comes with extras, and is imported where it is used."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from trunkline.errors import ConfigError


def need(module: str, extra: str, what: str) -> Any:
    """Import a module of one of trunkline's extras.

    Args:
        module: its name.
        extra: that brings it.
        what: needs it, as the error begins: `encoder: 'timm:resnet18'`, `a boxes task`.

    Raises:
        ConfigError: it is not installed.
    """
    root = module.partition(".")[0]
    if importlib.util.find_spec(root) is None:
        raise ConfigError(f'{what} needs {root}, which is missing; pip install "trunkline[{extra}]"')
    return importlib.import_module(module)
