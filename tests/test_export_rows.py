"""Rows as users have them, told to an exported network: NaN, dates, pictures of more than 8 bits."""

from __future__ import annotations

import datetime
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trunkline import MultiTaskModel, Predictor, fit
from trunkline.data import Table, read_table, write_rows
from trunkline.errors import DataError
from trunkline.export import Model, example_batch, export_onnx, quantize, tell
from trunkline.modalities import Category, Image, Number, Text
from trunkline.run import export
from trunkline.schema import Preprocessing, RowBatches
from trunkline.tasks import Category as CategoryTask
from trunkline.tasks import Number as NumberTask

torch.set_num_threads(1)


def built(model: MultiTaskModel, table: Table) -> Predictor:
    """Untrained, but for heads that say something."""
    torch.manual_seed(0)
    network = model.build(Preprocessing.fit(model.schema(), table, range(len(table)))).eval()
    for parameter in network.heads.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter)
    return Predictor(network)


def test_nan_is_absent_and_dates_are_texts(tmp_path: Path) -> None:
    day = datetime.date(2024, 5, 1)
    rows = [{"size": float(n), "shop": str(day), "note": f"on {day} {n}", "kind": "ab"[n % 2]} for n in range(6)]
    table = read_table([*rows, {"size": 1.0, "shop": "nan", "note": "nan", "kind": "a"}])
    inputs = {"size": Number(), "shop": Category(), "note": Text()}
    predictor = built(MultiTaskModel(inputs, {"kind": CategoryTask()}, width=16), table)
    model = Model(export_onnx(predictor, table, tmp_path / "model.onnx").path)
    nan = float("nan")
    asked: list[dict[str, Any]] = [
        {"size": nan, "shop": str(day), "note": "on"},
        {"size": 1.0, "shop": nan, "note": None},
        {"size": 1.0, "shop": None, "note": nan},
        {"size": 1.0, "shop": day},
        {"size": 1.0, "note": day},
        {"size": np.float32("nan"), "note": datetime.datetime(2024, 5, 1, 12)},
    ]
    ours, theirs = predictor.predict(asked), model.predict(asked)
    for one, other in zip(ours, theirs, strict=True):
        assert other["kind"]["probabilities"] == pytest.approx(one["kind"]["probabilities"], abs=1e-4)
    assert theirs[1] == theirs[2] == model.predict([{"size": 1.0}])[0]
    assert theirs[3] == model.predict([{"size": 1.0, "shop": str(day)}])[0]
    said = []
    for refused in (predictor, model):
        with pytest.raises(DataError, match="row 2, column 'size'") as caught:
            refused.predict([{"size": 1.0}, {"size": day}])
        said.append(str(caught.value))
        with pytest.raises(DataError, match="row 2: none of the inputs"):
            refused.predict([{"size": 1.0}, {"size": nan}])
    assert said[0] == said[1]


@pytest.mark.parametrize("traced", [np.uint8, np.uint16])
def test_pictures_of_8_and_16_bits_together(traced: Any, tmp_path: Path) -> None:
    """The graph has pixels of one type, whichever rows it was traced on."""
    rng = np.random.default_rng(0)
    rows = [{"photo": rng.integers(0, 256, (12, 12, 3)).astype(np.uint8), "kind": "ab"[n % 2]} for n in range(4)]
    fine = [{"photo": row["photo"].astype(np.uint16) * np.uint16(257)} for row in rows]
    table = read_table([row | own if traced == np.uint16 else row for row, own in zip(rows, fine)])
    model = MultiTaskModel({"photo": Image(size=12, stem=4)}, {"kind": CategoryTask()}, width=16)
    predictor = built(model, table)
    written = export_onnx(predictor, table, tmp_path / "model.onnx", rows=4)
    exported = Model(written.path)
    assert exported.about["inputs"]["photo.pixels"]["dtype"] == ("uint8" if traced == np.uint8 else "float32")
    photos = [{"photo": row["photo"]} for row in rows]
    for asked in (photos, fine, [photos[0], fine[1], photos[2]]):
        for ours, theirs in zip(predictor.predict(asked), exported.predict(asked), strict=True):
            assert theirs["kind"]["probabilities"] == pytest.approx(ours["kind"]["probabilities"], abs=1e-3)
    judged = read_table([{**one, "kind": "a"} for one in [*fine, *photos]])
    assert quantize(predictor, written.path, judged, range(8)).rows == 8


def test_rows_that_a_run_has_skipped_are_skipped(tmp_path: Path) -> None:
    """Without any input, or with a cell that cannot be read; in the run's own table, and in another one."""
    rows = [{"size": i % 5, "kind": "ab"[i % 2]} for i in range(40)]
    rows += [{"kind": "a"}, {"size": "large", "kind": "b"}]
    for name in ("rows", "others"):
        write_rows(tmp_path / f"{name}.jsonl", rows[::-1])
    config = {
        "data": {"train": str(tmp_path / "rows.jsonl"), "validation": 0.25, "on_bad_row": "skip"},
        "inputs": {"size": "number"},
        "tasks": {"kind": "category"},
        "training": {"steps": 2, "batch_size": 8, "accelerator": "cpu"},
        "width": 8,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = fit(config, out=tmp_path / "run", report=False).folder
        for others in (None, tmp_path / "others.jsonl"):
            written, _ = export(run, tmp_path / "model.onnx", rows=others)
            assert written.differences["kind"] < 1e-4


def test_every_task_is_told_of(tmp_path: Path) -> None:
    """Equal tasks have one head; cells that are prepared alike are said to be."""
    rows = [{"size": n % 5, "kind": "ab"[n % 2], "price": n, "weight": -n} for n in range(12)]
    tasks = {"kind": CategoryTask(), "price": NumberTask(), "weight": NumberTask()}
    predictor = built(MultiTaskModel({"size": Number()}, tasks, width=16), read_table(rows))
    written = export_onnx(predictor, read_table(rows), tmp_path / "model.onnx")
    told = [line.partition(":")[0].strip() for line in tell(written)]
    assert told[1:] == ["kind", "price, weight", "prepared without PyTorch"]
    assert list(tell(written))[-1].endswith("no difference in any input")


def test_what_is_rare_is_compared_too() -> None:
    """Rows of two tables below each other: the first ones have none of the second's inputs."""
    rows: list[dict[str, Any]] = [{"size": n, "kind": "ab"[n % 2]} for n in range(30)]
    rows += [{"note": f"on {n}", "kind": "ab"[n % 2]} for n in range(10)]
    table = read_table(rows)
    predictor = built(MultiTaskModel({"size": Number(), "note": Text()}, {"kind": CategoryTask()}, width=16), table)
    batches = RowBatches(predictor.preprocessing, table, with_targets=False)
    assert example_batch(batches, range(40), 16).rows == (*range(16), *range(30, 38))
    assert example_batch(batches, range(32), 16).rows == (*range(16), 30, 31)
