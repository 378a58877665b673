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
from trunkline.data import write_rows
from trunkline.run import evaluate, init, predict
from trunkline.sources import columns_of

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
