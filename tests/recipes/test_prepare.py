"""The command line, the sets by name, and that every recipe and its table fit together."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from benchmarks.digit_strings import make_rows
from PIL import Image

import prepare
from sets import CENSUS, PACKAGES, REVIEWS, SETS, TOX21
from trunkline.config import load_config
from trunkline.data import read_table, write_rows
from trunkline.sources import columns_of

RECIPES = Path(prepare.__file__).parent
NAMES = sorted(path.stem for path in RECIPES.glob("*.yaml"))


def small_sources(folder: Path) -> dict[str, Path]:
    """A few rows of each set as it is published, by recipe; `mtr` is `enb`."""
    adult = {name: "1" for name in (*CENSUS.split(), "marital-status", "relationship")}
    write_rows(folder / "adult.csv.gz", [{**adult, "income": ">50K"}, {**adult, "marital-status": "Never-married"}])
    write_rows(folder / "reviews.csv", [{old: "1" for old in REVIEWS.values()}])
    write_rows(folder / "tox21.csv.gz", [{"smiles": "OCC", **dict.fromkeys(TOX21.split(), "0")}, {"smiles": "C(C"}])
    return {
        "tox21": folder / "tox21.csv.gz",
        "census": folder / "adult.csv.gz",
        "reviews": folder / "reviews.csv",
        "emoji": emoji(folder / "emoji"),
        "fsdd": fsdd(folder / "fsdd"),
        "atis": sentences(folder / "atis"),
        "snips": sentences(folder / "snips"),
        "multi30k": translations(folder / "multi30k"),
        "packages": packages(folder / "debian_de.jsonl.gz"),
        "bccd": voc(folder / "bccd"),
        "coco128": yolo(folder / "coco128"),
        "camvid": camvid(folder / "camvid"),
        "mtr": arff(folder / "enb.arff"),
        "emotions": emotions(folder / "emotions"),
    }


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def draw(path: Path, pixels: list[list[int]] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(pixels or [[1, 2], [3, 4]], dtype=np.uint8)).save(path)


def emoji(folder: Path) -> Path:
    names = {f"name_{code}": "x" for code in ("en", "de", "fr", "es", "it", "pt", "ru", "tr", "id")}
    rest = {"category": "a", "subcategory": "b", "added_in": "0.6", "has_skin_tones": "0", "split": "train"}
    write_rows(folder / "emoji.csv", [{"file": "png/a.png", **names, **rest}])
    return folder


def fsdd(folder: Path) -> Path:
    for take in (4, 5, 9, 10):
        write(folder / "recordings" / f"7_theo_{take}.wav", "")
    return folder


def sentences(folder: Path) -> Path:
    for split in ("train", "dev", "test"):
        for name, line in {"seq.in": "fly home", "seq.out": "O B-place", "label": split}.items():
            write(folder / split / name, f"{line}\n")
    return folder


def translations(folder: Path) -> Path:
    folder.mkdir()
    for stem in ("train", "val", "test_2016_flickr"):
        for language in ("en", "de"):
            (folder / f"{stem}.{language}.gz").write_bytes(gzip.compress(b"a\nb\n"))
    return folder


def packages(path: Path) -> Path:
    write_rows(path, [{name: "x" for name in PACKAGES.values()}])
    return path


def voc(folder: Path) -> Path:
    boxes = "".join(
        f"<object><name>{name}</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></object>"
        for name in ("RBC", "Platelets")
    )
    write(folder / "Annotations" / "a.xml", f"<annotation>{boxes}</annotation>")
    write(folder / "JPEGImages" / "a.jpg", "")
    write(folder / "ImageSets" / "Main" / "train.txt", "a\n")
    return folder


def yolo(folder: Path) -> Path:
    for name in ("a", "b"):
        draw(folder / "images" / "train2017" / f"{name}.png")
    draw(folder / "masks" / "train2017" / "a.png")
    write(folder / "object_detection_config.yaml", "path: .\ntrain: images/train2017\nnames: [cat]\n")
    return folder


def camvid(folder: Path) -> Path:
    for split in ("train", "val", "test"):
        draw(folder / split / "a.png")
        draw(folder / f"{split}annot" / "a.png", [[0, 8], [11, 0]])
    return folder


def arff(path: Path) -> Path:
    write(path, "@relation r\n@attribute a real\n@attribute Y1 real\n@attribute Y2 real\n@data\n1,2,3\n")
    return path


def emotions(folder: Path) -> Path:
    for split in ("train", "test"):
        write(folder / f"emotions-{split}.arff", "@relation r\n@attribute a real\n@attribute b {0,1}\n@data\n1,1\n")
    write(folder / "emotions.xml", "<labels><label name='b'/></labels>")
    return folder


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return small_sources(tmp_path_factory.mktemp("sources"))


def prepare_table(name: str, sources: dict[str, Path], table: Path) -> None:
    """As the recipe's header says it is made."""
    if name in ("spoken_numbers", "hear_and_say"):
        recordings = {
            (split, "ann", digit): [np.zeros(8, np.float32)] for split in ("train", "val") for digit in range(10)
        }
        table.parent.mkdir(parents=True)
        write_rows(table, list(make_rows(recordings, table.parent, {"train": 2, "val": 1}, seed=0)))
    else:
        known = {"mtr": "enb", "say": "fsdd", "tox21_graph": "tox21"}.get(name, name)
        assert prepare.main([known, str(sources[known if known in sources else name]), str(table)]) == 0


def table_keys(data: Mapping[str, Any]) -> dict[str, str]:
    """The keys under `data` that name a table, and its file."""
    tables = {f"tables.{name}.": own for name, own in data.get("tables", {}).items()} or {"": data}
    return {f"{where}{key}": own[key] for where, own in tables.items() for key in ("train", "table") if key in own}


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_reads_the_table_that_is_prepared_for_it(name: str, sources: dict[str, Path], tmp_path: Path) -> None:
    said = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    assert set(said) == {"data", "inputs", "tasks"}  # all else is left to the defaults
    keys = table_keys(said["data"])
    tables = {file: tmp_path / "tables" / file for file in keys.values()}
    for file, table in tables.items():
        prepare_table(name if len(tables) == 1 else Path(file).stem, sources, table)
    config = load_config(
        RECIPES / f"{name}.yaml",
        columns=columns_of,
        overrides=[f"data.{key}={tables[file]}" for key, file in keys.items()],
    )
    assert config.inputs
    assert config.tasks
    assert config.data is not None
    read = [config.data.train] if not config.data.tables else [one.train for one in config.data.tables.values()]
    assert set(read) == set(tables.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_says_where_its_data_is_from(name: str) -> None:
    text = (RECIPES / f"{name}.yaml").read_text()
    comment = " ".join(line.removeprefix("#") for line in text.splitlines() if line.startswith("#"))
    for word in ("Source ", "Licence ", "Prepare ", f"trunkline fit recipes/{name}.yaml data."):
        assert word in comment, word
    assert "python recipes/prepare.py" in comment


def rows_of(name: str, sources: dict[str, Path], folder: Path) -> list[dict[str, object]]:
    table = folder / f"{name}.jsonl"
    assert prepare.main([name, str(sources[name]), str(table)]) == 0
    found = read_table(table)
    return [found.row(number) for number in range(len(found))]


def test_census(sources: dict[str, Path], tmp_path: Path) -> None:
    first, second = rows_of("census", sources, tmp_path)
    assert (first["income"], first["never_married"], second["never_married"]) == (">50K", 0, 1)
    assert not {"marital-status", "relationship"} & set(first)


def test_takes_of_spoken_digits_are_split_as_published(sources: dict[str, Path], tmp_path: Path) -> None:
    assert {row["take"]: row["split"] for row in rows_of("fsdd", sources, tmp_path)} == {
        "10": "train",
        "4": "test",
        "5": "val",
        "9": "val",
    }


def test_pictures_without_a_mask_have_none(sources: dict[str, Path], tmp_path: Path) -> None:
    with_mask, without = rows_of("coco128", sources, tmp_path)
    assert (tmp_path / str(with_mask["mask"])).is_file()
    assert without["mask"] is None


def test_classes_that_a_street_shows(sources: dict[str, Path], tmp_path: Path) -> None:
    rows = rows_of("camvid", sources, tmp_path)
    assert [row["split"] for row in rows] == ["train", "val", "test"]
    assert rows[0]["present"] == ["sky", "car"]  # 11 is void
    assert all((tmp_path / str(row[column])).is_file() for row in rows for column in ("picture", "mask"))


def test_a_source_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare.main(["fsdd", str(tmp_path / "nowhere"), str(tmp_path / "out.csv")]) == 1
    assert "nowhere/recordings: there is no such file or folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_fails_half_way_leaves_the_old_table(
    sources: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "enb.csv"
    table.write_text("old\n")
    write(tmp_path / "enb.arff", sources["mtr"].read_text() + "1,2\n")
    assert prepare.main(["enb", str(tmp_path / "enb.arff"), str(table)]) == 1
    assert "enb.arff, line 7: 2 cells for 3 attributes" in capsys.readouterr().err
    assert table.read_text() == "old\n"


def test_an_ending_that_is_no_table(
    sources: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare.main(["enb", str(sources["mtr"]), str(tmp_path / "enb.xlsx")]) == 1
    assert "rows are written as .csv, .tsv" in capsys.readouterr().err


def test_help_names_every_set_and_loads_no_torch() -> None:
    code = "import sys, prepare\ntry:\n  prepare.main(['--help'])\nfinally:\n  assert 'torch' not in sys.modules"
    said = subprocess.run([sys.executable, "-c", code], cwd=RECIPES, capture_output=True, text=True, check=True).stdout
    assert all(name in said for name in SETS)
