"""VOC and YOLO: where things are in pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from formats.voc import read_voc
from formats.yolo import as_box, read_description, read_yolo
from trunkline.data.voc import read_objects
from trunkline.errors import DataError

OBJECT = """
  <object>
    <name>{name}</name>
    <difficult>0</difficult>
    <bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox>
  </object>"""


def annotation(*objects: tuple[str, tuple[object, ...]]) -> str:
    found = "".join(OBJECT.format(*box, name=name) for name, box in objects)
    return f"<annotation>\n  <size><width>640</width><height>480</height></size>{found}\n</annotation>\n"


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / "VOC" / folder).mkdir(parents=True)
    objects = {"a": [("WBC", (260, 177, 491, 376)), ("RBC", (1, 2, 1, 2))], "b": [("RBC", (5, 6, 7.5, 8))], "c": []}
    for name, found in objects.items():
        (tmp_path / "VOC" / "Annotations" / f"{name}.xml").write_text(annotation(*found))
        (tmp_path / "VOC" / "JPEGImages" / f"{name}.jpg").touch()
    (tmp_path / "VOC" / "ImageSets" / "Main" / "train.txt").write_text("a\nc\n")
    (tmp_path / "VOC" / "ImageSets" / "Main" / "val.txt").write_text("b 1\n\n")
    return tmp_path / "VOC"


def test_voc(voc: Path) -> None:
    a, b, c = read_voc(voc, voc.parent)
    assert a == {
        "picture": "VOC/JPEGImages/a.jpg",
        "split": "train",
        "boxes": [{"box": [259, 176, 491, 376], "label": "WBC"}, {"box": [0, 1, 1, 2], "label": "RBC"}],
        "labels": ["RBC", "WBC"],
        "num_RBC": 1,
        "has_RBC": 1,
        "num_WBC": 1,
        "has_WBC": 1,
    }
    assert (b["split"], b["has_WBC"], b["boxes"][0]["box"]) == ("validation", 0, [4, 5, 7.5, 8])
    assert (c["boxes"], c["labels"], c["num_RBC"]) == ([], [], 0)


def test_a_listed_picture_that_nobody_annotated(voc: Path) -> None:
    (voc / "Annotations" / "b.xml").unlink()
    _, b, _ = read_voc(voc, voc)
    assert b["boxes"] is None and "num_RBC" not in b


def test_voc_without_lists_has_no_split(voc: Path) -> None:
    for path in (voc / "ImageSets" / "Main").iterdir():
        path.unlink()
    assert all("split" not in row for row in read_voc(voc, voc))


def test_a_picture_in_two_splits(voc: Path) -> None:
    (voc / "ImageSets" / "Main" / "test.txt").write_text("b\n")
    with pytest.raises(DataError, match=r"test\.txt, line 1: 'b' is in 'validation', too"):
        read_voc(voc, voc)


def test_a_picture_that_is_missing(voc: Path) -> None:
    (voc / "JPEGImages" / "b.jpg").unlink()
    with pytest.raises(DataError, match=r"JPEGImages/b\.jpg: there is no such file or folder \(a picture\)"):
        read_voc(voc, voc)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation>\n<object>\n</annotation>", r"a\.xml, line 3 is not XML"),
        (annotation(("", (1, 2, 3, 4))), r"a\.xml, object 1 has no name"),
        (annotation(("cat", (1, 2, 3, 4)), ("dog", (1, "", 3, 4))), r"object 2 \(dog\): a box has four numbers"),
    ],
)
def test_annotations_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(DataError, match=message):
        read_objects(tmp_path / "a.xml")


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (tmp_path / "set" / kind / split).mkdir(parents=True)
        for name in ("a", "b"):
            Image.new("RGB", (200, 100)).save(tmp_path / "set" / "images" / split / f"{name}.png")
    (tmp_path / "set" / "labels" / "train" / "a.txt").write_text("1 0.5 0.5 0.5 1\n\n0 0.1 0.2 0.2 0.4\n")
    (tmp_path / "set" / "data.yaml").write_text(
        "path: .\ntrain: images/train\nval: images/val\nnames: {0: cat, 1: dog}\n"
    )
    return tmp_path / "set" / "data.yaml"


def test_yolo(yolo: Path) -> None:
    rows = list(read_yolo(yolo, yolo.parent.parent))
    assert [(row["picture"], row["split"]) for row in rows] == [
        ("set/images/train/a.png", "train"),
        ("set/images/train/b.png", "train"),
        ("set/images/val/a.png", "val"),
        ("set/images/val/b.png", "val"),
    ]
    assert rows[0]["boxes"] == [
        {"box": [50, 0, 150, 100], "label": "dog"},
        {"box": [0, 0, 40, 40], "label": "cat"},
    ]
    assert rows[0]["labels"] == ["cat", "dog"]
    assert rows[1]["boxes"] == rows[1]["labels"] == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 0.5 0.5 0.5", r"a\.txt, line 4: a class and four numbers are wanted, not '1 0.5"),
        ("1 0.5 x 0.5 1", "a class and four numbers are wanted"),
        ("2 0.5 0.5 0.5 1", "class 2 is not one of the 2 that have names"),
        ("-1 0.5 0.5 0.5 1", "class -1 is not one"),
        ("0.5 0.5 0.5 0.5 1", "class 0.5 is not one"),
    ],
)
def test_lines_that_are_no_box(line: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_box(line, (10, 10), ["cat", "dog"], "a.txt, line 4")


@pytest.mark.parametrize("names", ["", "names: {0: cat, 2: dog}", "names: []", "- cat"])
def test_descriptions_without_names(tmp_path: Path, names: str) -> None:
    (tmp_path / "data.yaml").write_text(names)
    with pytest.raises(DataError, match=r"data\.yaml: `names` lists the classes, or numbers them from 0 on"):
        read_description(tmp_path / "data.yaml")
