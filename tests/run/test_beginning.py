"""A stranger's table: `init`, `fit`, `predict`, and nobody edits the config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from trunkline.cli import app
from trunkline.config import load_config
from trunkline.data import read_table, write_rows
from trunkline.errors import ConfigError, DataError
from trunkline.run import init
from trunkline.sources import columns_of, read_splits

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 40, 220)}


def messy(folder: Path, rows: int) -> Path:
    """Two pictures a row, three targets, and every kind of mess in the cells."""
    rng = np.random.default_rng(0)
    table = []
    for i in range(rows):
        colour, is_big = list(COLOURS)[int(rng.integers(3))], bool(rng.integers(2))
        for side, paint in (("front", COLOURS[colour]), ("back", (200, 200, 200) if is_big else (20, 20, 20))):
            Image.fromarray(np.full((12, 12, 3), paint, np.uint8)).save(folder / f"{i}-{side}.png")
        age = int(rng.integers(18, 90))
        table.append(
            {
                "record_id": f"R-{i:06d}",
                "front": f"{i}-front.png",
                "back": f"{i}-back.png",
                "age": age,
                "weight": f"{40 + age / 2:.1f} kg",
                "city": ["Ulm", "Bern ", "Graz", "Linz"][int(rng.integers(4))],
                "note": f"{'large' if is_big else 'small'} item {int(rng.integers(1000))} came in {colour} today",
                "source": "export v2",
                "seen_on": f"2024-0{1 + i % 9}-1{i % 9}",
                "colour": colour,
                "price": f"{(10 if is_big else 2) * age / 10:.2f}",
                "returned": "Yes" if is_big else "no",
                "price_copy": None,
            }
        )
    for row in table:
        row["price_copy"] = row["price"]
    mess = [("age", "?"), ("age", "n/a"), ("age", "forty"), ("price", "free"), ("city", "?"), ("returned", ""),
            ("front", "gone.png"), ("back", ""), ("note", ""), ("weight", ""), ("colour", ""), ("age", "")]  # fmt: skip
    for i, (column, cell) in enumerate(mess * 2):
        table[3 * i][column] = cell
    (folder / "0-back.png").write_bytes(b"no picture")
    write_rows(folder / "things.csv", table)
    return folder / "things.csv"


def call(*arguments: Any) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.filterwarnings("ignore:.*left out")
@pytest.mark.filterwarnings("ignore:.*count as absent")
def test_a_messy_table_from_start_to_end(tmp_path: Path) -> None:
    table = messy(tmp_path, 120)
    config = tmp_path / "config.yaml"
    said = call("init", table, "--target", "colour", "--target", "price", "--target", "returned", "--out", config)
    assert "rows cannot be used and will be left out" in said
    read = load_config(config, columns=read_table(table, na=["?", "n/a"]))
    assert {n: c.type for n, c in read.inputs.items()} == {
        "front": "image", "back": "image", "age": "number", "weight": "number", "city": "category", "note": "text",
    }  # fmt: skip
    assert {n: c.type for n, c in read.tasks.items()} == {"colour": "category", "price": "number", "returned": "binary"}
    assert read.data is not None
    assert set(read.data.na) == {"?", "n/a"}
    assert read.data.on_bad_row == "skip"
    text = config.read_text()
    for left_out in ("record_id: codes of one word", "source: every cell is 'export v2'", "seen_on: dates from",
                     "price_copy: equals 'price', which would give it away"):  # fmt: skip
        assert f"#   {left_out}" in text
    call(
        "fit",
        config,
        "--out",
        tmp_path / "run",
        "training.steps=30",
        "width=32",
        "inputs.front.size=16",
        "inputs.back.size=16",
    )
    call("predict", tmp_path / "run", table, "--out", tmp_path / "said.jsonl")
    said_rows = [json.loads(line) for line in (tmp_path / "said.jsonl").read_text().splitlines()]
    assert len(said_rows) == 120
    assert all(row["price"]["value"] is not None for row in said_rows)
    assert len((tmp_path / "run" / "skipped.jsonl").read_text().splitlines()) >= 4


def write(folder: Path, rows: list[dict[str, Any]], name: str = "t.csv") -> Path:
    write_rows(folder / name, rows)
    return folder / name


class TestGuesses:
    def test_names_of_targets_and_splits(self, tmp_path: Path) -> None:
        rows = [
            {
                "x": i / 7,
                "split": ("train", "val", "test")[i % 3],
                "Label": "ab"[i % 2],
                "rating": 1 + i * 7 % 5,
                "z": i % 9 + 0.5,
            }
            for i in range(60)
        ]
        begun = init(write(tmp_path, rows), out=tmp_path / "c.yaml")
        read = load_config(tmp_path / "c.yaml", columns=begun.look.table)
        assert read.data is not None
        assert read.data.split == "split"
        assert list(read.inputs) == ["x", "z"]
        assert list(read.tasks) == ["Label", "rating"]
        assert "guessed from names" in (tmp_path / "c.yaml").read_text()

    def test_else_the_last_column_that_can_be_learned(self, tmp_path: Path) -> None:
        rows = [{"x": i / 7, "kind": "ab"[i % 2], "id": i} for i in range(60)]
        assert list(init(write(tmp_path, rows), out=tmp_path / "c.yaml").look.tasks) == ["kind"]

    def test_groups_are_proposed_as_a_comment(self, tmp_path: Path) -> None:
        rows = [{"patient_id": i // 2, "x": i / 7, "label": i % 2} for i in range(60)]
        begun = init(write(tmp_path, rows), out=tmp_path / "c.yaml")
        assert "  # group: patient_id" in (tmp_path / "c.yaml").read_text()
        assert load_config(tmp_path / "c.yaml", columns=begun.look.table).data.group is None  # type: ignore[union-attr]

    @pytest.mark.parametrize(("rows", "split", "share"), [(500, False, 0.15), (499, False, None), (500, True, None)])
    def test_rows_are_spared_for_a_test(self, tmp_path: Path, rows: int, split: bool, share: float | None) -> None:
        """Where there are enough, and the table does not say itself which they are; others validate."""
        names = {"split": ("train", "val", "test")} if split else {}
        table = [
            {"x": i * 7 % 31 / 4, "label": "ab"[i % 2], **{n: of[i % 3] for n, of in names.items()}}
            for i in range(rows)
        ]
        init(write(tmp_path, table), out=tmp_path / "c.yaml")
        read = load_config(tmp_path / "c.yaml", columns=columns_of)
        assert read.data is not None
        assert read.data.test == share
        splits = read_splits(read)
        assert splits.validation is not None
        if share is not None:
            assert splits.test is not None
            assert len(splits.test) == 75
            parts = (splits.train, splits.validation, splits.test)
            assert sorted(row for part in parts for row in part.rows.tolist()) == list(range(rows))

    def test_leaks_in_other_names_and_scales(self, tmp_path: Path) -> None:
        rows = [
            {
                "x": i % 7 + 0.5,
                "code": (3, 8, 5)[i % 3],
                "label": "abc"[i % 3],
                "cents": 100 * (i % 11),
                "target": i % 11,
            }
            for i in range(66)
        ]
        look = init(write(tmp_path, rows), out=tmp_path / "c.yaml").look
        assert look.left_out["cents"].startswith("is 'target' on another scale")
        assert look.left_out["code"].startswith("says the same as 'label' in other names")
        assert list(look.inputs) == ["x"]

    def test_a_folder_of_classes(self, tmp_path: Path) -> None:
        for i in range(20):
            (tmp_path / "pets" / "train" / "cd"[i % 2]).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / "pets" / "train" / "cd"[i % 2] / f"{i}.png")
        begun = init(tmp_path / "pets", out=tmp_path / "c.yaml")
        assert {n: k.type for n, k in begun.look.inputs.items()} == {"image": "image"}
        assert {n: k.type for n, k in begun.look.tasks.items()} == {"label": "category"}

    def test_strange_names_and_values(self, tmp_path: Path) -> None:
        rows = [
            {
                "a: b": i / 7,
                "c#": "x, y z"[i % 3 :],
                'quo"te': ("no", "yes")[i // 2 % 2],
                "true": i % 5 / 2,
                "label": i % 2,
                "n": "?" if i % 7 == 0 else i / 3,
            }
            for i in range(60)
        ]
        begun = init(write(tmp_path, rows), out=tmp_path / "c.yaml")
        read = load_config(tmp_path / "c.yaml", columns=begun.look.table)
        assert list(read.inputs) == ["a: b", "c#", 'quo"te', "true", "n"]

    def test_files_that_are_not_utf8(self, tmp_path: Path) -> None:
        text = "größe;label\n" + "".join(f"{i},5;{'äö'[i % 2]}\n" for i in range(40))
        (tmp_path / "t.csv").write_bytes(text.encode("cp1252"))
        begun = init(tmp_path / "t.csv", out=tmp_path / "c.yaml")
        read = load_config(tmp_path / "c.yaml", columns=begun.look.table)
        assert read.data is not None
        assert read.data.encoding == "latin-1"
        assert read.inputs["größe"].make().read("3,5") == 3.5

    def test_numbers_that_mean_absent(self, tmp_path: Path) -> None:
        rows = [{"x": -999 if i % 5 == 0 else i % 17, "label": i % 2} for i in range(60)]
        for name in ("t.csv", "t.parquet"):
            begun = init(write(tmp_path, rows, name), out=tmp_path / f"{name}.yaml")
            assert begun.look.na == (-999,)
            assert begun.look.columns["x"].present == 48


ROWS = [{"x": i / 7, "same": 1, "label": i % 2} for i in range(40)]


@pytest.mark.parametrize(("rows", "line"), [(499, "  # test: 0.15"), (500, "  test: 0.15")])
def test_a_small_table_spares_no_rows_for_a_test_and_says_so(tmp_path: Path, rows: int, line: str) -> None:
    init(write(tmp_path, [{"x": i / 7, "label": i % 2} for i in range(rows)]), out=tmp_path / "c.yaml")
    assert any(one.startswith(line) for one in (tmp_path / "c.yaml").read_text().splitlines())


class TestRefusals:
    def test_nothing_is_written_over(self, tmp_path: Path) -> None:
        (tmp_path / "c.yaml").write_text("mine")
        with pytest.raises(ConfigError, match="is there already, and is not written over"):
            init(write(tmp_path, ROWS), out=tmp_path / "c.yaml")
        assert (tmp_path / "c.yaml").read_text() == "mine"
        with pytest.raises(DataError, match=r"nowhere\.csv"):
            init(tmp_path / "nowhere.csv", out=tmp_path / "c.yaml")

    def test_targets_that_cannot_be(self, tmp_path: Path) -> None:
        table = write(tmp_path, ROWS)
        with pytest.raises(ConfigError, match=r"--target lable: no such column. Did you mean 'label'\?"):
            init(table, targets=["lable"], out=tmp_path / "c.yaml")
        with pytest.raises(
            ConfigError, match="no kind of task for column same: every cell is 1: there is nothing to learn"
        ):
            init(table, targets=["same"], out=tmp_path / "c.yaml")
        with pytest.raises(ConfigError, match="no column is left to learn from"):
            init(table, targets=["label", "x"], out=tmp_path / "c.yaml")
        with pytest.raises(DataError, match="there is no such file"):
            init(tmp_path / "none.csv", out=tmp_path / "c.yaml")
        assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]
