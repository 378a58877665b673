"""What the tests of all demos ask of a table."""

from __future__ import annotations

import hashlib
import importlib
import subprocess
import sys
from pathlib import Path

import pytest


def fingerprint(folder: Path) -> dict[str, str]:
    """Hash of every file, by its path in the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def in_a_process_of_its_own(demo: str, folder: Path, rows: int, seed: int) -> dict[str, str]:
    """The fingerprint of a table that a fresh interpreter writes."""
    code = f"import sys, pathlib; from trunkline.demos import {demo}; "
    code += f"{demo}.write(pathlib.Path(sys.argv[1]), rows={rows}, seed={seed})"
    subprocess.run([sys.executable, "-c", code, folder], check=True)
    return fingerprint(folder)


def forget_package(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """As if a package were not installed."""
    really_import = importlib.import_module

    def import_module(name: str) -> object:
        if name.partition(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        return really_import(name)

    monkeypatch.setattr(importlib, "import_module", import_module)
