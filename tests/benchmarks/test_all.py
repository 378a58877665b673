"""Every benchmark can be started: what it imports is there."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import benchmarks

MODULES = sorted(path.stem for path in Path(benchmarks.__file__).parent.glob("[!_]*.py"))


@pytest.mark.parametrize("name", MODULES)
def test_is_imported(name):
    assert importlib.import_module(f"benchmarks.{name}").__doc__
