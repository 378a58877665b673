"""One tiny real run, from the command line to predictions: several inputs, several tasks, absences."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from trunkline import load
from trunkline.cli import app
from trunkline.config import load_config
from trunkline.data import read_table, write_rows
from trunkline.errors import ConfigError, RunError
from trunkline.files import write_json
from worlds import write_world

CONFIG = """\
data: {train: rows.jsonl, validation: 0.2, test: held.jsonl}
inputs:
  photo: {type: image, size: 16}
  sound: {type: audio, rate: 8000}
  note: text
  size: number
  shop: category
tasks:
  kind: category
  loud: {type: binary, weight: 2}
  price: number
  weight: number
  marks: labels
  area: mask
  height: {type: dense, scale: 100, missing: 0}
  slots: tags
  german: {type: text, of: note, max_length: 12}
width: 32
training: {steps: 30, lr: 0.001, batch_size: 16, threads: 1}
"""


def call(*arguments: Any) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout  # alone: what is said on the way goes elsewhere


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    write_world(folder, 80)
    rows = (folder / "rows.jsonl").read_text().splitlines(keepends=True)
    (folder / "rows.jsonl").write_text("".join(rows[:60]))
    (folder / "held.jsonl").write_text("".join(rows[60:]))
    (folder / "world.yaml").write_text(CONFIG)
    said = call("fit", folder / "world.yaml", "--out", folder / "run")
    assert "30 steps" in said
    assert "span_f1" in said
    assert "To look at (in the report): TL002 few held-out rows; " in said
    return folder / "run"


def test_the_run_folder_is_whole(run: Path) -> None:
    assert {p.name for p in run.iterdir()} == {
        "MODEL_CARD.md", "checkpoints", "config.yaml", "files.json", "log.csv", "log.jsonl", "metrics.json",
        "model.safetensors",
        "predictions", "preprocessing.json", "report", "report.html",
    }  # fmt: skip
    said = [json.loads(line) for line in (run / "predictions" / "test.jsonl").read_text().splitlines()]
    assert len(said) == 20
    assert {p["kind"]["value"] for p in said} <= {"red", "green", "blue"}
    metrics = json.loads((run / "metrics.json").read_text())
    assert list(metrics["test"]) == ["kind", "loud", "price", "weight", "marks", "area", "height", "slots", "german"]
    assert set(metrics["test"]["kind"]) == {"accuracy", "macro_f1"}
    assert metrics["steps"] == 30
    assert metrics["seed"] == 0
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert any("validation" in line for line in lines)
    assert lines[0]["losses"]["kind"] > 0


def test_the_report_shows_every_kind_of_cell_and_answer(run: Path) -> None:
    page = (run / "report.html").read_text()
    assert page.count('<img src="data:image/png;base64,') > 40  # photos, and masks over them
    assert "<audio controls" in page
    assert '<mark class="span ' in page  # words with their tags
    gallery = json.loads((run / "report" / "gallery.json").read_text())
    files = [one["file"] for row in gallery["rows"] for one in row["inputs"].values() if one and one["file"]]
    assert all((run / "report" / name).is_file() for name in files)
    absence = json.loads((run / "report" / "absence.json").read_text())
    assert len(absence["subsets"]) == 15  # of photo, sound, note and the table
    assert all(s["scores"]["area"] is None for s in absence["subsets"] if "photo" not in s["kept"])
    before = page
    assert "report.html" in call("report", run)
    assert (run / "report.html").read_text() == before


def test_the_resolved_config_gives_the_same_run(run: Path, tmp_path: Path) -> None:
    """Bit for bit, on one thread."""
    call("fit", run / "config.yaml", "--out", tmp_path / "again")
    for name in ("model.safetensors", "log.jsonl", "preprocessing.json"):
        assert (tmp_path / "again" / name).read_bytes() == (run / name).read_bytes(), name
    first, again = (load_config(folder / "config.yaml", columns=None) for folder in (run, tmp_path / "again"))
    assert first == again


def test_evaluate_says_what_fit_said(run: Path) -> None:
    found = json.loads(call("evaluate", run, "--json"))
    assert found["scores"] == json.loads((run / "metrics.json").read_text())["test"]
    assert next(iter(found["scores"]["price"])) == "r2", "that which counts stands first"
    assert found["judged"] == "test" and call("evaluate", run).splitlines()[0].strip() == "test rows"
    other = run.parent / "rows.jsonl"
    assert json.loads(call("evaluate", run, other, "--json"))["judged"] == "table"
    assert "macro_f1" in (said := call("evaluate", run, other)) and said.replace("\n", "").startswith(str(other))


@pytest.mark.parametrize("missing", ["photo", "sound", "note", "size", "shop"])
def test_predict_without_any_one_input_and_without_labels(run: Path, tmp_path: Path, missing: str) -> None:
    inputs = ("photo", "sound", "note", "size", "shop")
    table = read_table(run.parent / "held.jsonl")
    rows = [{n: table.cell(i, n) for n in inputs if n != missing} for i in range(len(table))]
    rows = [row for row in rows if any(v is not None for v in row.values())]
    write_rows(run.parent / f"no-{missing}.jsonl", rows)
    with pytest.warns(UserWarning, match=rf"1 of 5 input columns are not there.*\n.*no column '{missing}'"):
        call("predict", run, run.parent / f"no-{missing}.jsonl", "--out", tmp_path / "said.jsonl")
    said = [json.loads(line) for line in (tmp_path / "said.jsonl").read_text().splitlines()]
    assert len(said) == len(rows)
    for row, prediction in zip(rows, said):
        assert abs(sum(prediction["kind"]["probabilities"].values()) - 1) < 1e-4
        assert isinstance(prediction["price"]["value"], float)
        assert (prediction["area"] is None) == (row.get("photo") is None)
        assert (prediction["slots"] is None) == (row.get("note") is None)
        assert prediction["area"] is None or (tmp_path / prediction["area"]).is_file()
        assert (prediction["height"] is None) == (row.get("photo") is None)
        assert prediction["height"] is None or np.load(tmp_path / prediction["height"]).shape == (16, 16)


def test_predict_to_a_table_of_text(run: Path, tmp_path: Path) -> None:
    call("predict", run, run.parent / "held.jsonl", "--out", tmp_path / "said.csv")
    said = read_table(tmp_path / "said.csv")
    assert said.columns == ("kind", "loud", "price", "weight", "marks", "area", "height", "slots", "german")
    assert set(said.column("kind")) <= {"red", "green", "blue"}


def test_check_shows_what_will_be_trained(run: Path) -> None:
    said = call("check", run.parent / "world.yaml")
    assert "shared" in said
    assert "private" in said
    assert re.search(r"30 steps of \d+ ms here: \d+ s; \d+ validations: \d+ s", said)
    assert "input photo:" in said


def test_list_names_every_catalog() -> None:
    said = call("list")
    for name in ("image", "mask", "concat", "mmoe", "upgrad"):
        assert name in said
    assert "upgrad" not in call("list", "trunks")


def test_names_with_brackets(tmp_path: Path) -> None:
    """Units in names are no markup."""
    rows = [{"len [mm]": i, "w[/kg]": i % 3, "y [a]": i % 2} for i in range(40)]
    write_rows(tmp_path / "rows.csv", rows)
    (tmp_path / "c.yaml").write_text(
        "data: {train: rows.csv}\n"
        'inputs: {"len [mm]": number, "w[/kg]": number}\n'
        'tasks: {"y [a]": binary}\n'
        "training: {steps: 2}\nwidth: 8\n"
    )
    for said in (call("check", tmp_path / "c.yaml"), call("fit", tmp_path / "c.yaml", "--out", tmp_path / "run")):
        assert "y [a]" in said
    assert "len [mm]" in call("check", tmp_path / "c.yaml")
    assert "w[/kg]" in call("check", tmp_path / "c.yaml")


class TestMistakes:
    def test_all_at_once(self, run: Path, tmp_path: Path) -> None:
        bad = CONFIG.replace("kind: category", "kind: categroy").replace("photo: {type: image", "photo: {type: imgae")
        (run.parent / "bad.yaml").write_text(bad.replace("steps: 30", "stepz: 30"))
        with pytest.raises(ConfigError) as caught:
            call("check", run.parent / "bad.yaml")
        assert "tasks.kind.type: 'categroy' is not a task type. Did you mean 'category'?" in str(caught.value)
        assert "Did you mean 'image'?" in str(caught.value)
        assert "training.stepz" in str(caught.value)

    def test_a_folder_that_is_not_free(self, run: Path) -> None:
        with pytest.raises(RunError, match="is not empty: a run never writes over another"):
            call("fit", run.parent / "world.yaml", "--out", run)

    def test_a_folder_that_is_no_run(self, tmp_path: Path) -> None:
        write_json(tmp_path / "metrics.json", {})
        with pytest.raises(RunError, match=r"is no finished run: it has no config.yaml"):
            call("evaluate", tmp_path)
        with pytest.raises(RunError, match="is not there"):
            call("evaluate", tmp_path / "nowhere")

    def test_the_console_says_it_plainly(self, tmp_path: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "trunkline", "check", str(tmp_path / "none.yaml")], capture_output=True, text=True
        )
        assert done.returncode == 1
        assert "ConfigError" in done.stderr
        assert "there is no such file" in done.stderr
        assert "Traceback" not in done.stderr


def test_weights_of_another_network_are_refused(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    text = config.read_text()
    config.write_text(re.sub(r"^width: \d+$", "width: 8", text, flags=re.MULTILINE))
    assert config.read_text() != text
    with pytest.raises(RunError, match="its weights are not those of the network that its config describes"):
        load(tmp_path / "run")
