"""Demos: ordinary tables that trunkline makes by itself, offline.

One file a demo. Each has `write(folder, *, rows, seed)` and `cached(*, rows, seed, keep)`; both return the path of a
config that is fitted like any other. The first line of its docstring says what it is.
"""

from __future__ import annotations

from types import ModuleType

from trunkline.demos import digits, emoji

CATALOG: dict[str, ModuleType] = {"digits": digits, "emoji": emoji}

__all__ = ["CATALOG"]
