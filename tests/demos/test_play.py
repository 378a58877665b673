"""A demo from its table to its figures, with a small table of its own."""

from __future__ import annotations

import json
import types
from pathlib import Path

import numpy as np
import pytest

from trunkline.data import write_rows
from trunkline.demos import CATALOG
from trunkline.demos.play import find, play
from trunkline.errors import ConfigError

CONFIG = """\
data: {table: rows.csv, split: split}
inputs: {x: number, y: number}
tasks: {total: number, is_big: binary}
width: 16
trunk: {type: hard, members: 1}
training: {steps: 60, lr: 0.01, patience: off, threads: 1}
"""


def small_demo(folder: Path) -> types.ModuleType:
    """A demo module as the catalog holds them."""

    def cached(*, keep: Path | None = None) -> Path:
        rng = np.random.default_rng(0)
        rows = []
        for i in range(300):
            x, y = rng.normal(size=2)
            split = "train" if i % 5 else "test" if i % 2 else "val"
            rows.append({"split": split, "x": x, "y": y, "total": x + y if i % 3 else None, "is_big": int(x > 0)})
        folder.mkdir(exist_ok=True)
        write_rows(folder / "rows.csv", rows)
        (folder / "config.yaml").write_text(CONFIG)
        return folder / "config.yaml"

    module = types.ModuleType("small", "A small demo.\n\nMore of it.")
    vars(module)["cached"] = cached
    return module


def test_a_demo_shows_what_its_run_folders_say(tmp_path: Path) -> None:
    told: list[str] = []
    looks: list[int] = []
    shown = play(
        small_demo(tmp_path / "table"),
        folder=tmp_path / "run",
        say=told.append,
        on_validation=lambda look: looks.append(look.step),
    )
    assert told[0] == "A small demo." and "waiting for those of one" in told[-1]
    assert looks[-1] == 60 and len(looks) > 1
    assert [(row.task, row.metric) for row in shown.rows] == [("total", "r2"), ("is_big", "roc_auc")]
    together = json.loads((tmp_path / "run" / "metrics.json").read_text())
    for number, row in enumerate(shown.rows):
        twin = json.loads((tmp_path / "run-twins" / f"twin-{number}" / "metrics.json").read_text())
        assert row.together == together["test"][row.task][row.metric]
        assert row.alone == twin["test"][row.task][row.metric]
        assert row.majority == together["majority"][row.task][row.metric]
        assert list(twin["test"]) == [row.task]
        assert twin["steps"] == together["steps"] == 60
        assert row.alone is not None
        assert row.alone > 0.5
    together, alone = shown.closing.splitlines()[0].split("; higher alone: ")
    for row in shown.rows:
        assert (row.task in together) == ((row.difference or 0) > 0)
        assert (row.task in alone) == ((row.difference or 0) < 0)


def test_a_name_that_is_no_demo() -> None:
    with pytest.raises(ConfigError, match=r"'digit' is not a demo\. Did you mean 'digits'"):
        find(CATALOG, "digit")


def test_the_command_line_names_every_demo() -> None:
    from typer.testing import CliRunner

    from trunkline.cli import app

    for command in (["demo", "--help"], ["list", "demos"]):
        said = CliRunner().invoke(app, command).stdout
        assert all(name in said for name in CATALOG)
