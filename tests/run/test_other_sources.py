"""Runs on what is no plain table: folders, several files, Hugging Face datasets with pictures and sounds in memory."""

from __future__ import annotations

import io
from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile
from PIL import Image

from trunkline import MultiTaskModel, fit, modalities, tasks
from trunkline.config import load_config
from trunkline.data import Split, write_rows
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
