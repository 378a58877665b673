"""Files are whole, strict, and the same on every machine."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trunkline.files import plain_json, write_json

SOURCE = Path(__file__).parents[1] / "src" / "trunkline"


def test_json_is_strict_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": 1.0})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("inf")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1.0}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_plain_json_has_null_for_what_is_no_number(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", plain_json({"x": [float("nan"), 1.0], "y": {"z": float("-inf")}}))
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [None, 1.0], "y": {"z": None}}


def test_files_are_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    code = "import sys, pathlib, trunkline.files as f; f.write_json(pathlib.Path(sys.argv[1]), {'a': '\\u2713'})"
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.json")], env=env, check=True)
    assert json.loads((tmp_path / "a.json").read_bytes()) == {"a": "\u2713"}


def test_every_text_file_is_opened_as_utf_8() -> None:
    assert [f"{p.relative_to(SOURCE)}:{n}" for p in SOURCE.rglob("*.py") for n in lines_without_encoding(p)] == []


def lines_without_encoding(path: Path) -> list[int]:
    """Where a file is read or written as text in the encoding of the locale."""
    found = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            modes = [a.value for a in node.args if isinstance(a, ast.Constant) and a.value in ("r", "w", "a", "x")]
            is_text = name in ("read_text", "write_text") or (name == "open" and modes)
            if is_text and not any(keyword.arg == "encoding" for keyword in node.keywords):
                found.append(node.lineno)
    return found
