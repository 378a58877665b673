"""A file of predictions in COCO's form is scored by COCO's own evaluator exactly as `evaluate` says."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from typer.testing import CliRunner

from trunkline.cli import app
from trunkline.data import write_rows
from trunkline.run import evaluate, fit, predict

COLOURS = {"red": (230, 40, 40), "green": (40, 200, 60), "blue": (50, 60, 220)}
CONFIG = """\
data: {table: rows.jsonl, split: split}
inputs: {picture: {type: image, size: 48, stem: 8, stride: 4, crop: 1, rotate: 0, colour: 0}}
tasks: {boxes: {type: boxes, of: picture}}
training: {steps: 90, batch_size: 8, lr: 0.003, validations: 2, minutes: "off"}
width: 24
"""


def draw(rng: np.random.Generator, path: Path) -> list[dict[str, Any]]:
    """A picture of some size with up to three rectangles, and where they are."""
    height, width = (int(side) for side in rng.integers(40, 75, 2))
    pixels = rng.normal(128, 12, (height, width, 3)).clip(0, 255).astype(np.uint8)
    cell = []
    for _ in range(rng.integers(0, 4)):
        name = str(rng.choice([*COLOURS]))
        w, h = (int(side) for side in rng.integers(10, 24, 2))
        left, top = int(rng.integers(0, width - w)), int(rng.integers(0, height - h))
        pixels[top : top + h, left : left + w] = COLOURS[name]
        cell.append({"box": [left, top, left + w, top + h], "label": name})
    Image.fromarray(pixels).save(path)
    return cell


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("coco"), np.random.default_rng(0)
    rows = [{"picture": f"{i}.png", "boxes": draw(rng, folder / f"{i}.png")} for i in range(56)]
    splits = ("train", "train", "train", "val", "test")
    write_rows(folder / "rows.jsonl", [{**row, "split": splits[i % 5]} for i, row in enumerate(rows)])
    write_rows(folder / "new.jsonl", rows[4::5] + rows[:9])
    (folder / "c.yaml").write_text(CONFIG)
    fit(folder / "c.yaml", out=folder / "run", show_progress=False)
    return folder


def scored(truth: Path, said: Path) -> dict[str, float]:
    """What pycocotools says, with nothing of ours."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(truth))
        evaluator = COCOeval(coco, coco.loadRes(str(said)), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return {"map": float(evaluator.stats[0]), "map50": float(evaluator.stats[1])}


def test_the_written_files_have_the_scores_that_evaluate_says(run: Path) -> None:
    said = CliRunner().invoke(app, ["evaluate", str(run / "run"), str(run / "new.jsonl"), "--json"])
    ours = json.loads(said.stdout)["scores"]["boxes"]
    assert ours["map50"] > 0.1, "something was learned, or nothing is tested"
    CliRunner().invoke(app, ["predict", str(run / "run"), str(run / "new.jsonl"), "--out", str(run / "said.jsonl")])
    theirs = scored(run / "said.truth.coco.json", run / "said.coco.json")
    assert theirs == pytest.approx(ours, abs=1e-6)
    images = json.loads((run / "said.truth.coco.json").read_text())["images"]
    with Image.open(run / "4.png") as picture:
        assert images[0] == {"id": 1, "file_name": "4.png", "width": picture.width, "height": picture.height}


def test_a_file_of_coco_keeps_its_numbers(run: Path) -> None:
    """Pictures and categories numbered out of order, a crowd, and a box beyond the edge: scored against the file."""
    rows = [json.loads(line) for line in (run / "rows.jsonl").read_text().splitlines()]
    numbers = {"red": 40, "green": 7, "blue": 12, "never": 1}
    images = [{"id": 900 - 7 * place, "file_name": row["picture"]} for place, row in enumerate(rows)]
    annotations = []
    for image, row in zip(images, rows):
        for entry in row["boxes"]:
            left, top, right, bottom = entry["box"]
            bbox = [left - 1.5 if left < 3 else left, top, right - left, bottom - top]
            fields = {"image_id": image["id"], "category_id": numbers[entry["label"]], "bbox": bbox}
            annotations.append({"id": len(annotations) + 1, "area": bbox[2] * bbox[3], "iscrowd": 0, **fields})
    annotations[0] |= {"iscrowd": 1}
    annotations[5] |= {"iscrowd": 1}
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    path = run / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    ours = evaluate(run / "run", path)["scores"]["boxes"]
    predict(run / "run", path, run / "other.jsonl")
    assert not (run / "other.truth.coco.json").exists(), "they have it"
    said = json.loads((run / "other.coco.json").read_text())
    assert {one["category_id"] for one in said} <= {40, 7, 12} and {one["image_id"] for one in said} <= {
        image["id"] for image in images
    }
    assert scored(path, run / "other.coco.json") == pytest.approx(ours, abs=1e-6)
    assert ours["map50"] > 0.1


def test_truth_is_written_only_of_what_is_labelled_throughout(run: Path) -> None:
    pictures = [{"picture": str(run / "0.png"), "boxes": []}, {"picture": str(run / "1.png")}]
    predict(run / "run", pictures, run / "bare.jsonl")
    assert (run / "bare.coco.json").exists() and not (run / "bare.truth.coco.json").exists()
