"""What is wrong with a table, a config or a folder is said in one message; nothing half-written is left."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from trunkline.cli import app
from trunkline.errors import TrunklineError

HEAD = "x,kind,hit,split\n"
ROWS = [f"{i}.5,{'ab'[i % 2]},{i % 2},{'train' if i < 30 else 'test'}\n" for i in range(40)]
GOOD = HEAD + "".join(ROWS)
CONFIG = (
    "data: {train: t.csv}\ninputs: {x: number}\ntasks: {kind: category, hit: binary}\ntraining: {steps: 2}\nwidth: 8\n"
)


def with_data(more: str) -> str:
    return CONFIG.replace("t.csv}", f"t.csv, {more}}}")


def said(folder: Path, *arguments: str) -> str:
    """The error of a command."""
    result = CliRunner().invoke(app, list(arguments))
    assert isinstance(result.exception, TrunklineError), result.output
    return str(result.exception)


@pytest.mark.parametrize(
    ("table", "config", "message"),
    [
        (None, CONFIG, "t.csv: there is no such file"),
        ("", CONFIG, "t.csv is empty: the first line must name the columns"),
        (HEAD, CONFIG, "t.csv holds no rows"),
        (GOOD, CONFIG.replace("x: number", "xx: number"), "inputs.xx: the table has no column 'xx'"),
        (HEAD.replace("hit", "x") + "".join(ROWS), CONFIG, "t.csv has more than one column named 'x'"),
        (HEAD + "".join(r.replace(",0,", ",,").replace(",1,", ",,") for r in ROWS), CONFIG,
         "column 'hit': a binary task needs labels in the training rows, found none"),
        (HEAD + "".join(r.replace(",a,", ",b,") for r in ROWS), CONFIG,
         "column 'kind': a category task needs at least 2 classes in the training rows, found ['b']"),
        (GOOD + "many,a,1,train\n", CONFIG, "t.csv, row 41, column 'x': 'many' is not a number"),
        (GOOD + "nan,a,1,train\n", CONFIG, "t.csv, row 41, column 'x': 'nan' is not finite"),
        (GOOD + "-inf,a,1,train\n", CONFIG, "t.csv, row 41, column 'x': '-inf' is not finite"),
        (GOOD + "1,a,maybe,train\n", CONFIG, "row 41, column 'hit': 'maybe' is not a yes or no"),
        (GOOD + "1,a,1,later\n", with_data("split: split"),
         "column 'split': a split is 'train', 'val' (also 'validation', 'dev') or 'test'; there are 'later' (1 rows)"),
        (GOOD + "1,a,1,\n", with_data("split: split"), "there are '' (1 rows)"),
        (GOOD, with_data("split: splitt"), "data.split: the table has no column"),
        (GOOD, with_data("group: who"), "data.group: the table has no column 'who'"),
        (GOOD, with_data("on_bad_row: drop"), "data.on_bad_row: 'drop' is not known here"),
        (GOOD, CONFIG.replace("train: t.csv", "trian: t.csv"), "data.trian: there is no such option. Did you mean"),
        (GOOD, CONFIG.replace("width: 8", "trunk: mmo"), "'mmo' is not a trunk. Did you mean 'mmoe'?"),
    ],
)  # fmt: skip
def test_check_and_fit_say_what_is_wrong(tmp_path: Path, table: str | None, config: str, message: str) -> None:
    if table is not None:
        (tmp_path / "t.csv").write_text(table)
    (tmp_path / "c.yaml").write_text(config)
    assert message in said(tmp_path, "check", str(tmp_path / "c.yaml"))
    assert message in said(tmp_path, "fit", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG)
    latin = GOOD.replace("a", "ä").encode("latin-1")
    (tmp_path / "t.csv").write_bytes(latin.replace("späte".encode("latin-1"), b"").replace(b"tr\xe4in", b"train"))
    told = said(tmp_path, "check", str(tmp_path / "c.yaml"))
    assert (
        "t.csv, line 2 is not UTF-8 (byte 0xe4). Save the file as UTF-8, or say `encoding: latin-1` under `data:`"
        in told
    )
    (tmp_path / "t.csv").write_bytes((HEAD + ROWS[0].replace("a", "ä")).encode() + latin.partition(b"\n")[2])
    assert "the file mixes encodings" in said(tmp_path, "check", str(tmp_path / "c.yaml"))


def test_one_class_in_training_but_two_in_the_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(HEAD + "".join(r.replace(",a,", ",b,") if "train" in r else r for r in ROWS))
    (tmp_path / "c.yaml").write_text(with_data("split: split"))
    assert "needs at least 2 classes in the training rows, found ['b']" in said(
        tmp_path, "check", str(tmp_path / "c.yaml")
    )


def test_no_folder_is_taken_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(GOOD)
    to = ["--out", str(tmp_path / "o.csv")]
    for command in (
        ["evaluate", str(tmp_path)],
        ["predict", str(tmp_path), str(tmp_path / "t.csv"), *to],
        ["export", str(tmp_path)],
    ):
        assert f"{tmp_path} is no finished run" in said(tmp_path, *command)
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]
