"""Pictures with boxes and masks that are odd or broken, on the way that a table takes into a run."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trunkline.config import load_config
from trunkline.data import Draw, write_rows
from trunkline.errors import DataError
from trunkline.modalities import Image as ImageInput
from trunkline.plan import Plan, make_plan
from trunkline.run import check, evaluate, fit, predict
from trunkline.sources import columns_of, read_splits

HEIGHT, WIDTH = 16, 24
CONFIG = """\
data: {table: rows.jsonl, split: split, on_bad_row: MODE}
inputs: {photo: {type: image, size: [32, 48], crop: 1, rotate: 0, colour: 0, stem: 4, stride: 8}}
tasks:
  things: {type: boxes, of: photo, classes: [cat, dog]}
  parts: {type: mask, of: photo, classes: [no, yes], ignore: 255}
  depth: {type: dense, of: photo}
training: {steps: 2, batch_size: 4, validations: 1}
width: 8
"""
GOOD = [{"box": [2, 4, 10, 12], "label": "cat"}]


def noise(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape).astype(dtype)


def save(folder: Path, number: int, picture: Image.Image | None = None, **how: Any) -> str:
    name = f"{number}.{'jpg' if how else 'png'}"
    (Image.fromarray(noise(HEIGHT, WIDTH, 3)) if picture is None else picture).save(folder / name, **how)
    return name


def save_mask(folder: Path, number: int, mask: np.ndarray | None = None) -> str:
    Image.fromarray(np.eye(HEIGHT, WIDTH, dtype=np.uint8) if mask is None else mask).save(folder / f"m{number}.png")
    return f"m{number}.png"


def write(folder: Path, odd: dict[int, dict[str, Any]], *, rows: int = 24) -> Path:
    """A table whose rows are good but for these cells, and its configs."""
    table = []
    np.save(folder / "d.npy", np.linspace(1, 2, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH))
    for i in range(rows):
        row = {"photo": f"{i}.png", "things": GOOD, "parts": f"m{i}.png", "depth": "d.npy"}
        if not (folder / f"{i}.png").exists():
            save(folder, i)
        if not (folder / f"m{i}.png").exists():
            save_mask(folder, i)
        table.append({**row, "split": ("train", "train", "val", "test")[i % 4], **odd.get(i, {})})
    write_rows(folder / "rows.jsonl", table)
    for mode in ("error", "skip"):
        (folder / f"{mode}.yaml").write_text(CONFIG.replace("MODE", mode))
    return folder


def plan_of(path: Path) -> Plan:
    config = load_config(path, columns=columns_of)
    return make_plan(config, read_splits(config))


def box(*edges: float, label: str = "cat") -> list[dict[str, Any]]:
    return [{"box": list(edges), "label": label}]


BAD = {
    3: ("things", r"the box \[24, 2, 40, 9\] \('cat'\) lies outside of its picture, which is 24 pixels wide and 16"),
    4: ("things", r"box 1 \('cat'\): x2 = 2 lies left of x1 = 10; write left, top, right and bottom"),
    6: ("things", r"the box \[1, 2, 3, 4\] \('dgo'\) is not named in `classes`\. Did you mean 'dog'"),
    7: ("parts", r"the mask is 16 × 20 pixels high and wide, its picture 16 × 24$"),
    8: ("parts", r"the mask holds index 2, which is not named in `classes` \(0, 1\); `ignore: 2` leaves it out"),
    9: ("photo", r"9\.jpg cannot be read: .*truncated"),
    10: ("parts", r"the mask is 24 × 16 pixels high and wide, its picture 16 × 24; the picture is read upright"),
    11: ("things", r"box 1 \('cat'\) has the edges \[1, 2, 3\]; write four numbers"),
    12: ("depth", r"the map is 16 × 20 pixels high and wide, its picture 16 × 24$"),
}  # fmt: skip


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    save(tmp_path, 9, Image.fromarray(noise(64, 96, 3)), quality=95)
    np.save(tmp_path / "d12.npy", np.ones((16, 20), np.float32))
    (tmp_path / "9.jpg").write_bytes((tmp_path / "9.jpg").read_bytes()[:3000])
    cells = {
        3: {"things": box(24, 2, 40, 9)},
        4: {"things": box(10, 4, 2, 12)},
        6: {"things": box(1, 2, 3, 4, label="dgo")},
        7: {"parts": save_mask(tmp_path, 7, np.zeros((16, 20), np.uint8))},
        8: {"parts": save_mask(tmp_path, 8, np.full((HEIGHT, WIDTH), 2, np.uint8))},
        9: {"photo": "9.jpg"},
        10: {"parts": save_mask(tmp_path, 10, np.zeros((WIDTH, HEIGHT), np.uint8))},
        11: {"things": box(1, 2, 3)},
        12: {"depth": "d12.npy"},
    }
    return write(tmp_path, cells)


def test_every_fault_is_told_with_its_place(bad: Path) -> None:
    with pytest.raises(DataError) as caught:
        check(bad / "error.yaml")
    lines = str(caught.value).split("\n")
    assert len(lines) == len(BAD) + 1
    for line, (row, (column, reason)) in zip(lines, BAD.items()):
        assert line.startswith(f"rows.jsonl, row {row + 1}, column {column!r}: ")
        with pytest.raises(DataError, match=reason):
            raise DataError(line)


def test_bad_rows_are_left_out_counted_and_listed(bad: Path) -> None:
    with pytest.warns(UserWarning, match="9 rows that cannot be used are left out"):
        run = fit(bad / "skip.yaml", out=bad / "run", show_progress=False)
    lines = [json.loads(line) for line in (bad / "run" / "skipped.jsonl").read_text().splitlines()]
    assert [(line["row"] - 1, line["column"]) for line in lines] == [(row, column) for row, (column, _) in BAD.items()]
    with pytest.warns(UserWarning, match="9 rows"):
        assert evaluate(run.folder)["scores"] == run.metrics["test"]
    with pytest.warns(UserWarning, match="1 cell cannot be read and counts as absent"):
        assert len(predict(run.folder, bad / "rows.jsonl")) == 24


def test_what_is_odd_but_can_be_used(tmp_path: Path) -> None:
    """Nothing to be found is a label; flat boxes and parts beyond an edge are told of; crowds and grey are usual."""
    save(tmp_path, 1, Image.fromarray(noise(HEIGHT, WIDTH)))
    save(tmp_path, 2, Image.fromarray(noise(HEIGHT, WIDTH, 4)))
    save(tmp_path, 4, Image.fromarray(noise(HEIGHT, WIDTH, dtype=np.uint16)))
    odd = {
        0: {"things": []},
        4: {"things": [*GOOD, *box(3, 3, 3, 9)]},
        5: {"things": box(3, 3, 30, 9)},
        8: {"things": [*GOOD, {**box(0, 0, 24, 4)[0], "iscrowd": 1}]},
        9: {"things": [*box(3, 3, 3, 9), *box(4, 4, 4, 4)]},
        12: {"things": None},
    }
    write(tmp_path, odd)
    with pytest.warns(UserWarning, match="column 'things'") as said:
        plan = plan_of(tmp_path / "error.yaml")
    (told,) = {str(w.message) for w in said if "column 'things'" in str(w.message)}
    assert told.split("\n") == [
        "rows.jsonl, 2 rows (5, 10), column 'things': a box without area is left out",
        "rows.jsonl, row 6, column 'things': a box reaches beyond its picture: what is learned ends at the edge",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = (0, 1, 4, 5, 8, 9, 12)
        batch = plan.source(plan.splits.train)[Draw(rows, None)]
    target = batch.targets["things"]
    assert target.rows is not None and target.rows.tolist() == [0, 1, 2, 3, 4, 5], "the last has no label"
    assert target.values["classes"].tolist() == [[-1, -1], [0, -1], [0, -1], [0, -1], [0, -2], [-1, -1]]
    assert target.values["boxes"][3, 0].tolist() == [6, 6, 48, 18], "twice as large, cut at the edge"
    pixels = batch.inputs["photo"].values["pixels"]
    assert pixels.shape == (7, 3, 32, 48) and bool(pixels.float().isfinite().all())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_agrees_with_its_box_and_mask(tmp_path: Path, orientation: int) -> None:
    """What is annotated is what programs show: the picture turned as its EXIF says."""
    upright = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    upright[4:12, 2:10] = 255
    flip = Image.Transpose
    as_stored = {2: flip.FLIP_LEFT_RIGHT, 3: flip.ROTATE_180, 4: flip.FLIP_TOP_BOTTOM, 5: flip.TRANSPOSE,
                 6: flip.ROTATE_90, 7: flip.TRANSVERSE, 8: flip.ROTATE_270}  # fmt: skip
    stored = Image.fromarray(upright)
    stored = stored.transpose(as_stored[orientation]) if orientation > 1 else stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path, 0, stored, exif=exif, quality=100, subsampling=0)
    mask = (upright[:, :, 0] > 0).astype(np.uint8)
    folder = write(tmp_path, {0: {"photo": "0.jpg", "parts": save_mask(tmp_path, 0, mask)}})
    plan = plan_of(folder / "error.yaml")
    batch = plan.source(plan.splits.train)[Draw((0,), None)]
    bright = batch.inputs["photo"].values["pixels"][0].float().mean(0) > 127
    left, top, right, bottom = batch.targets["things"].values["boxes"][0, 0].int().tolist()
    assert (left, top, right, bottom) == (4, 8, 20, 24)
    inside = np.zeros((32, 48), dtype=bool)
    inside[top:bottom, left:right] = True
    assert np.abs(bright.numpy().astype(int) - inside).sum() <= 24, "but for its blurred edge"
    assert batch.targets["parts"].values["values"][0].numpy().astype(bool).tolist() == inside.tolist()


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_picture_is_measured_by_its_header(tmp_path: Path, suffix: str) -> None:
    """As large as it is read, though its pixels are cut off."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(noise(90, 120, 3)).save(path, exif=exif)
    assert ImageInput().measure(str(path)) == ImageInput().read(str(path)).shape[:2] == (120, 90)
    path.write_bytes(path.read_bytes()[:1500])
    assert ImageInput().measure(str(path)) == (120, 90)
    with pytest.raises(DataError, match="cannot be read"):
        ImageInput().read(str(path))
    assert ImageInput().measure(noise(3, 4)) == (3, 4)
