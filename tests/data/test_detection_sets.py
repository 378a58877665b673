"""COCO's files and Pascal VOC's folders, read as they were published."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from trunkline.config import load_config
from trunkline.data import coco_numbers, describe, read_table
from trunkline.errors import DataError
from trunkline.run import check, init
from trunkline.sources import columns_of, read_splits

CATEGORIES = [{"id": 3, "name": "dog"}, {"id": 18, "name": "cat"}]
CONFIG = """\
inputs: {picture: {type: image, size: 32, stem: 4}}
tasks: {boxes: {type: boxes, of: picture}}
training: {steps: 2, batch_size: 4}
width: 8
"""


def save_picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), (90, 120, 150)).save(path)


def coco(path: Path, names: list[str], annotations: list[dict[str, Any]] | None = None, **more: Any) -> Path:
    """A file whose pictures have the ids 100, 90, 80 …"""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [
        {"id": 100 - 10 * place, "file_name": name, "width": 40, "height": 30} for place, name in enumerate(names)
    ]
    said = {"images": images, "categories": CATEGORIES, **more}
    path.write_text(json.dumps(said if annotations is None else {**said, "annotations": annotations}))
    return path


def one(picture: int, category: int = 3, bbox: Any = (1, 2, 10, 20), **more: Any) -> dict[str, Any]:
    return {"id": picture + 1, "image_id": picture, "category_id": category, "bbox": bbox, **more}


def published(root: Path) -> Path:
    """As COCO lays itself out."""
    for split, names in {"train2017": "abcdef", "val2017": "gh"}.items():
        for name in names:
            save_picture(root / split / f"{name}.jpg")
        boxes = [one(100), one(100, 18, [0.5, 1, 2.25, 3]), one(90, 3, [0, 0, 40, 5], iscrowd=1)]
        coco(root / "annotations" / f"instances_{split}.json", [f"{name}.jpg" for name in names], boxes)
    return root


def test_a_file_of_coco_is_a_table(tmp_path: Path) -> None:
    path = published(tmp_path) / "annotations" / "instances_train2017.json"
    table = read_table(path)
    assert len(table) == 6 and table.columns == ("picture", "boxes") and table.split is None
    assert table.row(0) == {
        "picture": str(tmp_path / "train2017" / "a.jpg"),
        "boxes": [{"box": [1, 2, 11, 22], "label": "dog"}, {"box": [0.5, 1, 2.75, 4], "label": "cat"}],
    }
    assert table.cell(1, "boxes") == [{"box": [0, 0, 40, 5], "label": "dog", "iscrowd": True}]
    assert table.cell(2, "boxes") == [], "a picture without annotations shows nothing"
    numbers = coco_numbers(path)
    assert numbers.pictures[:3] == (100, 90, 80) and numbers.classes == {"dog": 3, "cat": 18}
    assert describe(table)["boxes"].kind == "boxes" and describe(table)["picture"].kind == "image"


def test_a_list_of_files_is_split_by_their_names(tmp_path: Path) -> None:
    files = [published(tmp_path) / "annotations" / f"instances_{split}2017.json" for split in ("train", "val")]
    for source in (files, tmp_path):
        table = read_table(source)
        assert table.split == "split" and table.column("split") == ["train"] * 6 + ["val"] * 2
    assert read_table(files[1:] * 2).split is None, "nothing trains: they are rows like any other"


def test_files_of_which_some_name_no_split_are_not_all_trained_on(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.jpg")
    names = ["instances_train.json", "instances_val.json", "instances_minival.json"]
    files = [coco(tmp_path / name, ["a.jpg"], [one(100)]) for name in names]
    with pytest.raises(DataError, match=r"instances_val\.json \(val\), instances_minival\.json \(none\)"):
        read_table(files)
    assert len(read_table([files[0], files[2]])) == 2, "none of these is held out"


def test_a_config_names_a_file_a_split(tmp_path: Path) -> None:
    published(tmp_path)
    where = "annotations/instances_{}2017.json".format
    (tmp_path / "c.yaml").write_text(f"data: {{train: {where('train')}, test: {where('val')}}}\n{CONFIG}")
    config = load_config(tmp_path / "c.yaml", columns=columns_of)
    splits = read_splits(config)
    assert splits.test is not None and len(splits.test) == 2
    assert splits.validation is not None and len(splits.train) + len(splits.validation) == 6
    assert check(tmp_path / "c.yaml").rows["test"] == 2


def test_pictures_are_found_or_named(tmp_path: Path) -> None:
    save_picture(tmp_path / "elsewhere" / "deep" / "a.jpg")
    path = coco(tmp_path / "set" / "labels.json", ["a.jpg"], [])
    with pytest.raises(DataError, match=r"labels\.json: pictures such as 'a\.jpg' are in none of .*set/labels, .*set/im"
                                        r"ages.*`pictures:` under `data:` names"):  # fmt: skip
        read_table(path)
    named = read_table(path, pictures=tmp_path / "elsewhere" / "deep")
    assert named.cell(0, "picture") == str(tmp_path / "elsewhere" / "deep" / "a.jpg")
    (tmp_path / "c.yaml").write_text(f"data: {{train: set/labels.json, pictures: elsewhere/deep}}\n{CONFIG}")
    data = load_config(tmp_path / "c.yaml", columns=None).data
    assert data is not None and columns_of(data).row(0) == named.row(0)
    save_picture(tmp_path / "set" / "images" / "a.jpg")
    assert read_table(path).cell(0, "picture") == str(tmp_path / "set" / "images" / "a.jpg")


def test_a_missing_picture_is_told_with_its_row(tmp_path: Path) -> None:
    published(tmp_path)
    (tmp_path / "train2017" / "c.jpg").unlink()
    (tmp_path / "c.yaml").write_text(f"data: {{train: annotations/instances_train2017.json}}\n{CONFIG}")
    with pytest.raises(
        DataError, match=r"instances_train2017\.json, row 3, column 'picture': there is no file .*c\.jpg"
    ):
        check(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("annotations", "more", "message"),
    [
        ([one(100, 7)], {}, r"a\.json, annotation 101: no category has the id 7; `categories` names 3 \(dog\), 18"),
        ([one(5)], {}, r"a\.json, annotation 6: no picture has the id 5"),
        ([one(100, bbox=[1, 2, 3])], {}, r"annotation 101: a bbox is \[x, y, width, height\], not \[1, 2, 3\]"),
        (
            [{"id": 1, "image_id": 100, "caption": "a dog"}],
            {},
            r"annotations 1: has no 'category_id'; things in pictur",
        ),
        ([], {"categories": [{"id": 1}]}, r"a\.json, categories 1: has no 'name'"),
        ([], {"images": [{"id": 1, "file_name": "a.jpg"}] * 2}, r"two pictures have the id 1"),
        ([], {"images": [{"file_name": "a.jpg"}]}, r"images 0: has no 'id'"),
        ([one(100, bbox=[5, 5, -3, 2])], {}, r"annotation 101: the bbox \[5, 5, -3, 2\] has a negative side"),
        ([one(100, category=[1])], {}, r"annotations 0: 'category_id' is \[1\], and no number"),
        ([], {"categories": None}, r"`categories` is None; it is a list, or is left out"),
        ([], {"images": None}, r"a\.json is no file of COCO's .*a table is \.jsonl, one object a line"),
    ],
)
def test_what_is_wrong_with_a_file_of_coco(
    tmp_path: Path, annotations: list[dict[str, Any]], more: dict[str, Any], message: str
) -> None:
    save_picture(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=message):
        read_table(coco(tmp_path / "a.json", ["a.jpg"], annotations, **more))


def test_json_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(DataError, match=r"a\.json is not JSON"):
        read_table(tmp_path / "a.json")


def test_without_annotations_nothing_is_labelled(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.jpg")
    assert read_table(coco(tmp_path / "image_info_test.json", ["a.jpg"])).column("boxes") == [None]


def test_exports_with_a_file_in_each_split(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        save_picture(tmp_path / split / "a.jpg")
        coco(tmp_path / split / "_annotations.coco.json", ["a.jpg"], [one(100)])
    table = read_table(tmp_path)
    assert table.column("split") == ["train", "validation"]
    assert table.cell(1, "picture") == str(tmp_path / "valid" / "a.jpg")


OBJECT = "<object><name>{}</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>{}</xmax><ymax>20</ymax></bndbox></object>"


def voc(root: Path, lists: Mapping[str, Sequence[str]]) -> Path:
    (root / "Annotations").mkdir(parents=True)
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for number, name in enumerate("abcdefgh"):
        save_picture(root / "JPEGImages" / f"{name}.{'png' if name == 'b' else 'jpg'}")
        if name != "h":
            objects = OBJECT.format("dog", 10 + number) if name != "c" else ""
            (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")
    for name, pictures in lists.items():
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text("\n".join(pictures) + "\n")
    return root


def test_a_folder_of_voc_is_a_table(tmp_path: Path) -> None:
    folder = voc(tmp_path / "VOC", {"train": "acde", "val": "b", "test": "gh"})
    with pytest.warns(UserWarning, match="1 annotated pictures are in no list of ImageSets/Main and are left out: f"):
        table = read_table(folder)
    assert table.columns == ("picture", "boxes", "split") and table.split == "split"
    assert table.column("split") == ["train", "validation", "train", "train", "train", "test", "test"], (
        "f is in no list"
    )
    assert table.row(1) == {
        "picture": str(folder / "JPEGImages" / "b.png"),
        "boxes": [{"box": [0, 1, 11, 20], "label": "dog"}],
        "split": "validation",
    }, "VOC's pixels are counted from 1"
    assert table.cell(2, "boxes") == [] and table.cell(6, "boxes") is None, "nothing there is not unlabelled"
    (tmp_path / "c.yaml").write_text(f"data: {{train: VOC}}\n{CONFIG}")
    rows = check(tmp_path / "c.yaml").rows
    assert (rows["train"], rows["validation"], rows["test"]) == (4, 1, 2)
    begun = init(folder, out=tmp_path / "made.yaml")
    assert begun.look.split == "split"
    config = load_config(tmp_path / "made.yaml", columns=columns_of)
    assert {n: c.type for n, c in config.inputs.items()} == {"picture": "image"}
    assert {n: (c.type, c.of) for n, c in config.tasks.items()} == {"boxes": ("boxes", "picture")}


def test_voc_without_lists_or_with_one_of_two_splits(tmp_path: Path) -> None:
    assert read_table(voc(tmp_path / "a", {})).columns == ("picture", "boxes")
    both = read_table(voc(tmp_path / "b", {"trainval": "abc", "test": "d"}))
    assert both.column("split") == ["train", "train", "train", "test"]


def test_voc_that_counts_from_nought_and_has_names_with_blanks(tmp_path: Path) -> None:
    folder = voc(tmp_path / "a", {"train": ["a", "IMG 1"], "valid": ["b"]})
    (folder / "JPEGImages" / "IMG 1.jpg").write_bytes((folder / "JPEGImages" / "a.jpg").read_bytes())
    objects = OBJECT.format("dog", 9).replace("<xmin>1<", "<xmin>0<")
    (folder / "Annotations" / "IMG 1.xml").write_text(f"<annotation>{objects}</annotation>")
    with pytest.warns(UserWarning, match="in no list"):
        table = read_table(folder)
    assert table.column("split") == ["train", "train", "validation"]
    assert [cell[0]["box"][:2] for cell in table.column("boxes")] == [[0, 2], [1, 2], [1, 2]]
    assert Path(table.cell(0, "picture")).name == "IMG 1.jpg"


def test_what_is_wrong_with_a_folder_of_voc(tmp_path: Path) -> None:
    folder = voc(tmp_path / "VOC", {"train": "abcdefg", "val": "b"})
    with pytest.raises(DataError, match=r"val\.txt, line 1: 'b' is in 'train', too"):
        read_table(folder)
    (folder / "ImageSets" / "Main" / "val.txt").unlink()
    (folder / "JPEGImages" / "a.jpg").unlink()
    (tmp_path / "c.yaml").write_text(f"data: {{train: VOC}}\n{CONFIG}")
    with pytest.raises(DataError, match=r"VOC, row 1, column 'picture': there is no file .*a\.jpg"):
        check(tmp_path / "c.yaml")
    (folder / "Annotations" / "a.xml").write_text("<annotation>\n<object>\n</annotation>")
    with pytest.raises(DataError, match=r"a\.xml, line 3 is not XML"):
        read_table(folder)


@pytest.mark.parametrize("form", ["lists", "text"])
def test_a_column_of_boxes_is_a_task(tmp_path: Path, form: str) -> None:
    save_picture(tmp_path / "a.jpg")
    cell: Any = [{"box": [1, 2, 3, 4], "label": "cat"}, {"box": [1, 2, 3, 9], "label": "dog"}]
    rows = [{"photo": "a.jpg", "things": [] if i == 3 else cell, "note": f"n {i}"} for i in range(12)]
    for row in rows:
        row["things"] = json.dumps(row["things"]) if form == "text" else row["things"]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    begun = init(tmp_path / "t.jsonl", out=tmp_path / "c.yaml")
    assert begun.look.tasks["things"].type == "boxes" and "2 of them different" in begun.look.tasks["things"].reason
    assert load_config(tmp_path / "c.yaml", columns=columns_of).tasks["things"].of == "photo"
