"""Runs on what is no plain table: folders, several files, Hugging Face datasets with pictures and sounds in memory."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile
from PIL import Image

from trunkline import ConfigError, DataError, MultiTaskModel, fit, modalities, tasks
from trunkline.config import load_config
from trunkline.data import Split, read_table, write_rows
from trunkline.run import evaluate, init, predict
from trunkline.sources import columns_of, read_splits

SMALL = ["training.steps=2", "training.batch_size=8", "width=8"]


def picture(i: int) -> Image.Image:
    return Image.fromarray(np.full((16, 16, 3), (200, 20, 20) if i % 2 else (20, 20, 200), np.uint8))


def test_a_folder_of_classes_and_splits(tmp_path: Path) -> None:
    for i in range(40):
        path = tmp_path / "pets" / ("train" if i < 28 else "test") / "cd"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(i).save(path)
    init(tmp_path / "pets", out=tmp_path / "c.yaml")
    run = fit(tmp_path / "c.yaml", overrides=SMALL, out=tmp_path / "run", show_progress=False)
    assert run.config.data is not None
    assert run.config.data.validation == pytest.approx(0.2)  # of few rows
    assert run.reasons["data.validation"]
    assert evaluate(run.folder)["scores"] == run.metrics["test"]
    assert len(predict(run.folder, tmp_path / "pets" / "test")) == 12
    again = load_config(run.folder / "config.yaml", columns=columns_of)
    assert again == run.config
    assert (
        fit(run.folder / "config.yaml", out=tmp_path / "again", show_progress=False).metrics["test"]
        == run.metrics["test"]
    )


def names_of(part: Split | None) -> set[str]:
    return set() if part is None else {str(part.table.column("image")[row]) for row in part.rows.tolist()}


@pytest.mark.parametrize("saved", [False, True], ids=["folder", "hugging face"])
@pytest.mark.parametrize("share", [None, 0.25])
def test_test_rows_of_a_source_stay_apart_when_its_config_is_read_again(
    tmp_path: Path, share: float | None, saved: bool
) -> None:
    if saved:
        rows = {"image": [picture(i) for i in range(40)], "label": ["cd"[i % 2] for i in range(40)]}
        whole = datasets.Dataset.from_dict(rows)
        parts = {"train": whole.select(range(28)), "test": whole.select(range(28, 40))}
        datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "pets"))
    else:
        for i in range(40):
            path = tmp_path / "pets" / ("train" if i < 28 else "test") / "cd"[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(i).save(path)
    (tmp_path / "c.yaml").write_text(
        f"data: {{train: pets{'' if share is None else f', validation: {share}'}}}\n"
        "inputs: {image: {type: image, size: 8}}\ntasks: {label: category}\n"
    )
    run = fit(tmp_path / "c.yaml", overrides=[*SMALL, "training.threads=1"], out=tmp_path / "run", show_progress=False)
    first, again = (
        read_splits(load_config(path, columns=columns_of)) for path in (tmp_path / "c.yaml", run.folder / "config.yaml")
    )
    for one in (first, again):
        assert [len(part) if part else 0 for part in (one.train, one.validation, one.test)] == (
            [22, 6, 12] if share is None else [21, 7, 12]
        )
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(first, name).rows, getattr(again, name).rows)
    if not saved:
        assert names_of(first.test).isdisjoint(names_of(first.train) | names_of(first.validation))
        assert all("test" in name for name in names_of(first.test))
    judged = evaluate(run.folder)
    assert judged["judged"] == "test" and judged["scores"] == run.metrics["test"]


@pytest.mark.parametrize("held", ["validation: later", "test: later", "test: 0.2", "validation: 0.2, test: 0.2"])
def test_test_rows_of_a_source_are_never_trained_on(tmp_path: Path, held: str) -> None:
    for i in range(52):
        place = "later" if i >= 40 else "pets/train" if i < 28 else "pets/test"
        path = tmp_path / place / "cd"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(i).save(path)
    (tmp_path / "c.yaml").write_text(
        f"data: {{train: pets, {held}}}\ninputs: {{image: image}}\ntasks: {{label: category}}\n"
    )
    splits = read_splits(load_config(tmp_path / "c.yaml", columns=columns_of))
    seen = names_of(splits.train) | (set() if "validation: later" in held else names_of(splits.validation))
    assert len(seen) >= 22 and not any("test" in name for name in seen)
    assert splits.test is not None and (
        len(splits.test) == 12 if "later" in held else names_of(splits.test).isdisjoint(seen)
    )


def test_rows_that_one_of_several_sources_holds_out_are_never_trained_on(tmp_path: Path) -> None:
    for i in range(60):
        place = "loose" if i >= 40 else "pets/train" if i < 28 else "pets/test"
        path = tmp_path / place / "cd"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(i).save(path)
    (tmp_path / "c.yaml").write_text("data: {train: [pets, loose]}\ninputs: {image: image}\ntasks: {label: category}\n")
    splits = read_splits(load_config(tmp_path / "c.yaml", columns=columns_of))
    assert len(names_of(splits.test)) == 12 and all("pets/test" in name for name in names_of(splits.test))
    seen = names_of(splits.train) | names_of(splits.validation)
    assert len(seen) == 48 and not any("pets/test" in name for name in seen)


@pytest.mark.parametrize("where", ["relative", "absolute", "linked", "behind a link"])
@pytest.mark.parametrize("column", ["none", "alike", "otherwise", "in part"])
def test_files_of_a_table_lie_in_the_folders_of_their_splits(tmp_path: Path, column: str, where: str) -> None:
    """What the table says goes before where its files are."""
    rows, held = [], set()
    for i in range(40):
        place = "train" if i < 28 else "test" if i < 34 else "more"
        path = (tmp_path / "pets" / place / f"{i}.png").absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(i).save(path)
        if where == "linked":  # each picture lies elsewhere
            path.symlink_to(path.rename(tmp_path / f"{i}.png"))
        if where == "behind a link":  # the folder is called otherwise
            (tmp_path / "link").exists() or (tmp_path / "link").symlink_to(tmp_path / "pets")
            path = tmp_path / "link" / place / f"{i}.png"
        row: dict[str, str | None] = {"file_name": f"{place}/{i}.png" if where == "relative" else str(path)}
        is_test = i % 4 == 0 if column == "otherwise" or (column == "in part" and i < 28) else place == "test"
        if column != "none":
            row["split"] = None if column == "in part" and i >= 28 else "test" if is_test else "train"
        rows.append({**row, "label": "cd"[i % 2]})
        held |= {row["file_name"]} if is_test else set()
    write_rows(tmp_path / "pets" / "metadata.csv", rows)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "c.yaml").write_text(
        "data: {train: ../pets}\ninputs: {image: image}\ntasks: {label: category}\n"
    )
    splits = read_splits(load_config(tmp_path / "conf" / "c.yaml", columns=columns_of))
    assert len(held) >= 6 and names_of(splits.test) == held
    assert len(names_of(splits.train) | names_of(splits.validation)) == 40 - len(held)


def test_pictures_with_boxes_lie_in_the_folders_of_their_splits(tmp_path: Path) -> None:
    images = []
    for i in range(20):
        path = tmp_path / ("train" if i < 14 else "test") / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        picture(i).save(path)
        images.append({"id": i, "file_name": f"{path.parent.name}/{i}.png", "width": 16, "height": 16})
    boxes = [{"image_id": i, "category_id": 1, "bbox": [2, 2, 6, 6]} for i in range(20)]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cat"}]}
    (tmp_path / "_annotations.coco.json").write_text(json.dumps(content))
    table = read_table(tmp_path)
    assert table.split == "split" and table.column("split") == ["train"] * 14 + ["test"] * 6


@pytest.mark.parametrize("how", ["shards", "shards/*.csv"])
def test_files_that_are_named_after_splits_are_these(tmp_path: Path, how: str) -> None:
    """As Hugging Face lays out the files of a dataset. A list is what somebody wants trained on, whatever the names."""
    (tmp_path / "shards").mkdir()
    names = ["test-00000-of-00001", "train-00000-of-00002", "train-00001-of-00002"]
    for k, name in enumerate(names):
        write_rows(tmp_path / "shards" / f"{name}.csv", [{"x": 20 * k + i, "y": "ab"[i % 2]} for i in range(20)])
    (tmp_path / "c.yaml").write_text(f"data: {{train: '{how}'}}\ninputs: [x]\ntasks: [y]\n")
    splits = read_splits(load_config(tmp_path / "c.yaml", columns=columns_of))
    assert splits.test is not None and set(splits.test.table.column("x")[:20]) == {str(i) for i in range(20)}
    assert splits.test.rows.tolist() == list(range(20)) and splits.validation is not None
    assert sorted([*splits.train.rows, *splits.validation.rows]) == list(range(20, 60))
    assert read_table([tmp_path / "shards" / f"{name}.csv" for name in names]).split is None
    write_rows(tmp_path / "shards" / "more.csv", [{"x": 1, "y": "a"}])
    with pytest.warns(
        UserWarning, match="test-00000-of-00001.csv sound held out, but not every file's name tells a split"
    ):
        assert read_table(tmp_path / how).split is None


@pytest.mark.parametrize("column", [False, True])
def test_shards_that_all_train_are_read_as_any(tmp_path: Path, column: bool) -> None:
    """A column of theirs says which rows are held out, and none is made."""
    (tmp_path / "shards").mkdir()
    for k in range(2):
        rows = [{"x": i, "y": "ab"[i % 2], "split": ["train", "val"][i % 2]} for i in range(20)]
        kept = rows if column else [{"x": row["x"], "y": row["y"]} for row in rows]
        write_rows(tmp_path / "shards" / f"train-{k}-of-2.csv", kept)
    (tmp_path / "c.yaml").write_text(
        f"data: {{train: shards{', split: split' if column else ''}}}\ninputs: [x]\ntasks: [y]\n"
    )
    assert read_table(tmp_path / "shards").split is None
    splits = read_splits(load_config(tmp_path / "c.yaml", columns=columns_of))
    assert splits.validation is not None and len(splits.validation) == (20 if column else 8)


def test_a_folder_and_a_list_of_its_files_are_not_divided_alike(tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    for name in ("train", "test"):
        write_rows(
            tmp_path / "two" / f"{name}.csv", [{"x": i, "y": "ab"[i % 2], "z": "ab"[i // 2 % 2]} for i in range(20)]
        )
    (tmp_path / "c.yaml").write_text(
        "data:\n  tables:\n    a: {train: two, columns: {z: null}}\n"
        "    b: {train: [two/test.csv, two/train.csv], columns: {y: null}}\ninputs: [x]\ntasks: [y, z]\n"
    )
    with pytest.raises(ConfigError, match=r"divided otherwise: .* Give both the same train"):
        load_config(tmp_path / "c.yaml", columns=columns_of)


def test_of_cocos_files_that_a_pattern_finds_each_is_a_split(tmp_path: Path) -> None:
    for k, name in enumerate(("train", "val")):
        (tmp_path / name).mkdir()
        images = [{"id": i, "file_name": f"{name}/{i}.png", "width": 16, "height": 16} for i in range(5 + k)]
        for image in images:
            picture(k).save(tmp_path / str(image["file_name"]))
        content = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
        (tmp_path / f"instances_{name}2017.json").write_text(json.dumps(content))
    table = read_table(tmp_path / "instances_*.json")
    assert table.split == "split" and table.column("split") == ["train"] * 5 + ["val"] * 6


@pytest.mark.parametrize("name", [".", "./", "/", "..", " "])
def test_names_that_are_no_file_are_of_no_folder(tmp_path: Path, name: str) -> None:
    """The table is read; that there is no such picture is told later, with its row."""
    (tmp_path / "test").mkdir()
    write_rows(
        tmp_path / "metadata.csv", [{"file_name": "test/0.png", "label": "c"}, {"file_name": name, "label": "d"}]
    )
    assert read_table(tmp_path).column("split") == ["test", "train"]


def test_a_split_that_its_own_column_contradicts() -> None:
    """Else a set that was divided anew, with its old column, would train on what it holds out."""
    rows = {"split": ["train"] * 6, "x": [float(i) for i in range(6)]}
    whole = datasets.Dataset.from_dict(rows)
    with pytest.raises(DataError, match="is the split 'test', and its column 'split' says 'train': leave the column"):
        read_table(datasets.DatasetDict({"train": whole.select(range(4)), "test": whole.select(range(4, 6))}))
    alike = datasets.Dataset.from_dict({"split": ["Dev", None], "x": [1.0, 2.0]})
    table = read_table(datasets.DatasetDict({"train": whole.select(range(4)), "validation": alike}))
    assert table.column("split") == ["train"] * 4 + ["Dev", "validation"]


@pytest.mark.parametrize("seed", range(12))
def test_the_one_training_row_of_a_class_is_not_held_out(tmp_path: Path, seed: int) -> None:
    """Rows of the class that are held out already are no reason to draw it."""
    rows = [{"split": "train", "x": i, "y": "ab"[i % 2], "z": "pq"[i // 2 % 2]} for i in range(16)]
    rows[5]["z"] = "rare"
    rows += [{"split": "test", "x": i, "y": "ab"[i % 2], "z": "rare"} for i in range(16, 60)]
    write_rows(tmp_path / "rows.jsonl", rows)
    (tmp_path / "c.yaml").write_text(
        "data: {train: rows.jsonl, split: split, validation: 0.4}\ninputs: {x: number}\n"
        f"tasks: {{y: category, z: category}}\ntraining: {{seed: {seed}}}\n"
    )
    assert 5 in read_splits(load_config(tmp_path / "c.yaml", columns=columns_of)).train.rows


@pytest.mark.parametrize("split", [True, False])
def test_groups_that_one_table_holds_out_and_another_trains_on_are_told(tmp_path: Path, split: bool) -> None:
    """By its own split, or by a file; whatever the column is called before both are one."""
    visits = [{"patient": i % 4, "x": float(i), "part": "test" if i % 4 < 2 else "train"} for i in range(40)]
    write_rows(tmp_path / "visits.jsonl", visits)
    write_rows(tmp_path / "later.jsonl", [{"pid": pid, "y": 0.5, "labs n": 1} for pid in (2, 3)])
    write_rows(tmp_path / "labs.jsonl", [{"pid": i % 5, "y": float(i), "labs n": i} for i in range(40)])
    labs = "validation: 0.2" if split else "test: later.jsonl"
    (tmp_path / "c.yaml").write_text(
        "data:\n  tables:\n    visits: {train: visits.jsonl, group: patient, split: part}\n"
        f"    labs: {{train: labs.jsonl, columns: {{patient: pid}}, group: pid, {labs}}}\n"
        "inputs: {x: number, y: number}\ntasks: {labs n: number}\n"
    )
    config = load_config(tmp_path / "c.yaml", columns=columns_of)
    with pytest.warns(UserWarning, match=r"trains on \d group.* holds out") as told:
        read_splits(config)
    said = [str(one.message) for one in told]
    assert re.match(r"data.tables.labs trains on \d groups? of 'pid' that 'visits' holds out\.", said[0])
    assert split or re.match(r"data.tables.visits trains on \d groups? of 'patient' that 'labs' holds out\.", said[1])


def test_groups_that_two_tables_divide_otherwise_are_told(tmp_path: Path) -> None:
    for name, value in (("visits", "x"), ("labs", "y")):
        write_rows(
            tmp_path / f"{name}.jsonl", [{"patient": i % 40, value: float(i), f"{name} n": i} for i in range(200)]
        )
    (tmp_path / "c.yaml").write_text(
        "data:\n  tables:\n    visits: {train: visits.jsonl, group: patient, test: 0.2}\n"
        "    labs: {train: labs.jsonl, group: patient, test: 0.3}\n"
        "inputs: {x: number, y: number}\ntasks: {visits n: number, labs n: number}\n"
    )
    config = load_config(tmp_path / "c.yaml", columns=columns_of)
    with pytest.warns(UserWarning, match=r"data.tables.\w+ trains on \d+ groups of 'patient' that") as told:
        splits = read_splits(config)
    assert [str(one.message).split()[0] for one in told] == ["data.tables.labs", "data.tables.visits"]
    assert splits.test is not None
    patients = splits.train.table.column("patient")
    trained, held = ({(row < 200, patients[row]) for row in part.rows.tolist()} for part in (splits.train, splits.test))
    assert not trained & held, "within a table none is torn"
    assert {patient for _, patient in trained} & {patient for _, patient in held}, "what is told is so"


def test_several_tables(tmp_path: Path) -> None:
    rows = [{"x": i / 3, "y": "ab"[i % 2]} for i in range(40)]
    write_rows(tmp_path / "a.csv", rows[:20])
    write_rows(tmp_path / "b.jsonl", [{**row, "z": i} for i, row in enumerate(rows[20:])])
    (tmp_path / "c.yaml").write_text("data: {train: [a.csv, b.jsonl]}\ninputs: [x, z]\ntasks: [y]\n")
    run = fit(tmp_path / "c.yaml", overrides=SMALL, out=tmp_path / "run", show_progress=False)
    assert len(run.metrics["tables"]) == 2
    assert evaluate(run.folder)["scores"] == run.metrics["validation"]


def test_a_dataset_with_splits_and_bytes(tmp_path: Path) -> None:
    def sound(i: int) -> bytes:
        file = io.BytesIO()
        soundfile.write(file, np.sin(np.arange(800) / (1 + i % 4)), 8000, format="WAV")
        return file.getvalue()

    features = datasets.Features(
        {
            "photo": datasets.Image(),
            "sound": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")},  # as `Audio` stores it
            "kind": datasets.ClassLabel(names=["cat", "dog"]),
        }
    )
    rows = {
        "photo": [picture(i) for i in range(40)],
        "sound": [{"bytes": sound(i), "path": None} for i in range(40)],
        "kind": [i % 2 for i in range(40)],
    }
    whole = datasets.Dataset.from_dict(rows, features)
    both = datasets.DatasetDict({"train": whole.select(range(30)), "test": whole.select(range(30, 40))})
    model = MultiTaskModel(
        inputs={"photo": modalities.Image(size=16), "sound": modalities.Audio(rate=8000)},
        tasks={"kind": tasks.Category()},
        width=8,
    )
    run = fit(model, both, steps=2, batch_size=8, out=tmp_path / "run", show_progress=False)
    assert run.metrics["test"]["kind"] is not None
    said = predict(run.folder, whole.select(range(3)))
    assert {row["kind"]["value"] for row in said} <= {"cat", "dog"}
    both.save_to_disk(str(tmp_path / "saved"))
    begun = init(tmp_path / "saved", out=tmp_path / "c.yaml")
    assert {n: k.type for n, k in begun.look.inputs.items()} == {"photo": "image", "sound": "audio"}
    assert list(begun.look.tasks) == ["kind"]
