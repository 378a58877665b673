"""trunkline: one network for many kinds of input and many tasks, trained on tables with holes in them.

    run = trunkline.fit("config.yaml")
    trunkline.load(run.folder).predict([{"photo": "cat.png"}])

Importing this loads nothing; each name is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trunkline import balancers, fusion, modalities, tasks, testing, trunks
    from trunkline.balancers import UPGrad
    from trunkline.engine import Engine
    from trunkline.errors import ConfigError, DataError, RunError, TrunklineError
    from trunkline.loading import load
    from trunkline.model import MultiTaskModel
    from trunkline.predictor import Predictor
    from trunkline.run import check, evaluate, fit, predict
    from trunkline.schema import InputColumn, TaskColumn

__version__ = "0.1.0"

_ROOMS = {
    "balancers": ("UPGrad",),
    "engine": ("Engine",),
    "errors": ("ConfigError", "DataError", "RunError", "TrunklineError"),
    "loading": ("load",),
    "model": ("MultiTaskModel",),
    "predictor": ("Predictor",),
    "run": ("check", "evaluate", "fit", "predict"),
    "schema": ("InputColumn", "TaskColumn"),
}
_HOMES = {name: room for room, names in _ROOMS.items() for name in names}
_MODULES = ("balancers", "fusion", "modalities", "tasks", "testing", "trunks")

__all__ = [
    "ConfigError",
    "DataError",
    "Engine",
    "InputColumn",
    "MultiTaskModel",
    "Predictor",
    "RunError",
    "TaskColumn",
    "TrunklineError",
    "UPGrad",
    "balancers",
    "check",
    "evaluate",
    "fit",
    "fusion",
    "load",
    "modalities",
    "predict",
    "tasks",
    "testing",
    "trunks",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"trunkline.{_HOMES[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"trunkline.{name}")
    raise AttributeError(f"module 'trunkline' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
