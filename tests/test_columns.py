"""The thin columns: each trains for real, from cells to scores, and must have learned what it is there for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image as Picture

from spheres import CLASSES, scene
from trunkline import MultiTaskModel, TaskColumn, fit
from trunkline.balancers import Uncertainty, UPGrad
from trunkline.modalities import Audio, Category, Image, Number, Text
from trunkline.run import Run
from trunkline.tasks import Binary, Dense, Labels, Mask, Tags
from trunkline.tasks import Category as CategoryTask
from trunkline.tasks import Number as NumberTask
from trunkline.tasks import Text as TextTask
from trunkline.trunks import MTAN, MMoE

Rows = list[dict[str, Any]]


def score(run: Run, task: str, metric: str) -> float:
    found = run.metrics["test"][task]
    print(f"{task}: {metric} {found[metric]:.3f}, majority {run.metrics['majority'][task][metric]:.3f}")
    return float(found[metric])


def train(model: MultiTaskModel, rows: Rows, tmp_path: Path, **options: Any) -> Run:
    """The last fifth is the test split."""
    cut = len(rows) * 4 // 5
    return fit(model, rows[:cut], test=rows[cut:], out=tmp_path / "run", **{"threads": 1, "batch_size": 32} | options)


def coloured_square(rng: np.random.Generator, colour: int, size: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """A picture and its mask: a square of one of three colours on noise."""
    side = int(rng.integers(5, 9))
    top, left = rng.integers(0, size - side, 2)
    mask = np.zeros((size, size), np.uint8)
    mask[top : top + side, left : left + side] = colour + 1
    pixels = rng.integers(0, 90, (size, size, 3)).astype(np.uint8)
    pixels[..., colour][mask > 0] = 200
    return pixels, mask


def tone(rng: np.random.Generator, pitch: int) -> tuple[np.ndarray, int]:
    """Between a fifth and two fifths of a second, one of three pitches, with noise."""
    time = np.arange(int(rng.integers(1600, 3200))) / 8000
    return 0.3 * np.sin(2 * np.pi * (300, 700, 1500)[pitch] * time) + 0.05 * rng.standard_normal(len(time)), 8000


class TestFusion:
    """Category from a picture and a sound together: neither alone says anything about it."""

    @pytest.mark.parametrize("fusion", ["concat", "attention"])
    def test_picture_and_sound(self, tmp_path: Path, fusion: str) -> None:
        from trunkline.fusion import CATALOG

        rng = np.random.default_rng(0)
        rows: Rows = []
        for i in range(500):
            colour, pitch = (int(x) for x in rng.integers(3, size=2))
            Picture.fromarray(coloured_square(rng, colour)[0]).save(tmp_path / f"{i}.png")
            soundfile.write(tmp_path / f"{i}.wav", *tone(rng, pitch))
            rows.append({
                "photo": str(tmp_path / f"{i}.png"),
                "sound": str(tmp_path / f"{i}.wav"),
                "both": "abc"[(colour + pitch) % 3],
                "colour": "rgb"[colour] if i % 2 else None,
            })  # fmt: skip
        model = MultiTaskModel(
            {"photo": Image(size=16), "sound": Audio(rate=8000)},
            {"both": CategoryTask(), "colour": CategoryTask()},
            fusion=CATALOG[fusion](),
            width=64,
        )
        run = train(model, rows, tmp_path, steps=240, lr=2e-3)
        assert score(run, "both", "accuracy") > 0.85
        assert score(run, "colour", "accuracy") > 0.95


class TestTable:
    """Numbers and categories as one block, with holes; several tasks on them, two of them one stack."""

    def test_table_block(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        rows: Rows = []
        for _ in range(800):
            a, b, c = rng.normal(50, 10), rng.normal(), "xyz"[int(rng.integers(3))]
            rows.append({
                "a": a, "b": b, "c": c,
                "sum": a / 10 + b + 3 * (c == "x"), "difference": a / 10 - b,
                "big": "yes" if b > 0 else "no", "marks": [n for n, has in (("x", c == "x"), ("high", a > 50)) if has],
            })  # fmt: skip
            for name in ("a", "b", "c"):
                if rng.random() < 0.1 and sum(rows[-1][n] is not None for n in "abc") > 1:
                    rows[-1][name] = None
        model = MultiTaskModel(
            {"a": Number(), "b": Number(), "c": Category()},
            {"sum": NumberTask(), "difference": NumberTask(), "big": Binary(), "marks": Labels()},
            width=64,
        )
        run = train(model, rows, tmp_path, steps=300, lr=2e-3)
        preprocessing = run.predictor.preprocessing
        assert [unit.inputs for unit in preprocessing.encoders] == [("a", "b", "c")]
        assert [unit.tasks for unit in preprocessing.heads] == [("sum", "difference"), ("big",), ("marks",)]
        assert score(run, "sum", "r2") > 0.75
        assert score(run, "difference", "r2") > 0.75
        assert score(run, "big", "roc_auc") > 0.9
        assert score(run, "marks", "roc_auc") > 0.9


class TestMask:
    """Segmentation from the grid tokens of one picture, crops and flips moving picture and mask together."""

    def test_mask(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        rows: Rows = []
        for i in range(300):
            colour = int(rng.integers(3))
            pixels, mask = coloured_square(rng, colour)
            Picture.fromarray(pixels).save(tmp_path / f"{i}.png")
            Picture.fromarray(mask).save(tmp_path / f"{i}-mask.png")
            rows.append({
                "photo": str(tmp_path / f"{i}.png"),
                "area": str(tmp_path / f"{i}-mask.png") if i % 3 else None,
                "colour": "rgb"[colour],
            })  # fmt: skip
        model = MultiTaskModel(
            {"photo": Image(size=16, crop=0.7, flip=True)},
            {"area": TaskColumn(Mask(), "area", of="photo"), "colour": CategoryTask()},
            width=64,
        )
        run = train(model, rows, tmp_path, steps=300, lr=2e-3)
        assert score(run, "area", "miou") > 0.75
        assert score(run, "colour", "accuracy") > 0.95
        said = run.predictor.predict([{"photo": rows[-1]["photo"]}])[0]["area"]
        assert said.shape == (16, 16)
        assert said.dtype == np.uint8


WORDS = {"red": "rot", "green": "gruen", "blue": "blau", "big": "gross", "small": "klein"}


def sentences(count: int) -> Rows:
    rng = np.random.default_rng(0)
    rows: Rows = []
    for _ in range(count):
        words = [str(rng.choice(["big", "small"])), str(rng.choice(["red", "green", "blue"]))]
        words = [w for word in words for w in ([word, "and", word] if rng.random() < 0.2 else [word])]
        rows.append({
            "note": " ".join(words),
            "slots": ["O" if w == "and" else "B-size" if w in ("big", "small") else "B-colour" for w in words],
            "german": " ".join(WORDS.get(w, "und") for w in words) if rng.random() < 0.8 else None,
            "is_big": "big" in words,
        })  # fmt: skip
    return rows


class TestWords:
    """A tag for each word, and a sentence written word by word, on the tokens of one text."""

    def test_tags_and_generation(self, tmp_path: Path) -> None:
        model = MultiTaskModel(
            {"note": Text()},
            {
                "slots": TaskColumn(Tags(), "slots", of="note"),
                "german": TaskColumn(TextTask(max_length=12), "german", of="note"),
                "is_big": Binary(),
            },
            width=64,
        )
        run = train(model, sentences(400), tmp_path, steps=300, lr=2e-3)
        assert score(run, "slots", "span_f1") > 0.95
        assert score(run, "is_big", "roc_auc") > 0.95
        assert score(run, "german", "exact") > 0.8
        said = run.predictor.predict([{"note": "small blue"}])[0]
        assert said["slots"] == ["B-size", "B-colour"]
        assert said["german"] == "klein blau"


def two_views(count: int, *, disjoint: bool, seed: int = 0) -> Rows:
    """Two tasks on a vector of numbers that pull the shared part in different ways."""
    rng = np.random.default_rng(seed)
    rows: Rows = []
    for i in range(count):
        x = rng.normal(size=6)
        row: dict[str, Any] = {f"x{j}": v for j, v in enumerate(x)}
        row["first"] = bool(x[0] * x[1] > 0) if not disjoint or i % 2 else None
        row["second"] = float(np.abs(x[0]) - x[2]) if not disjoint or not i % 2 else None
        rows.append(row)
    return rows


NUMBERS = {f"x{j}": Number() for j in range(6)}


class TestTrunks:
    """Several taps (soft attention per task) and experts, beside hard sharing."""

    @pytest.mark.parametrize("trunk", [MTAN(), MMoE(experts=3)])
    def test_trunk(self, tmp_path: Path, trunk: Any) -> None:
        model = MultiTaskModel(NUMBERS, {"first": Binary(), "second": NumberTask()}, trunk=trunk, width=64)
        run = train(model, two_views(1000, disjoint=False), tmp_path, steps=400, lr=3e-3)
        assert score(run, "first", "roc_auc") > 0.9
        assert score(run, "second", "r2") > 0.9


class TestBalancing:
    """UPGrad in a whole run, with tasks on the same and on different rows."""

    @pytest.mark.parametrize("trunk", [None, MMoE(experts=3)])
    @pytest.mark.parametrize(("disjoint", "chosen"), [(False, "features"), (True, "last")])
    def test_upgrad(self, tmp_path: Path, disjoint: bool, chosen: str, trunk: Any) -> None:
        model = MultiTaskModel(NUMBERS, {"first": Binary(), "second": NumberTask()}, width=64)
        model = model if trunk is None else MultiTaskModel(NUMBERS, model.tasks, trunk=trunk, width=64)
        rows = two_views(1000, disjoint=disjoint)
        run = train(model, rows, tmp_path, balancer=UPGrad(), steps=400, lr=3e-3)
        assert run.config.balancer is not None
        assert run.config.balancer.level == chosen
        assert run.reasons["balancer.level"]
        assert score(run, "first", "roc_auc") > 0.85
        assert score(run, "second", "r2") > 0.85

    @pytest.mark.parametrize(
        ("level", "is_known"), [("features", False), ("last", True), ("sketch", True), ("trunk-lean", True)]
    )
    def test_a_pair_on_different_rows_is_unknown_or_seen(self, tmp_path: Path, level: str, is_known: bool) -> None:
        import json

        model = MultiTaskModel(NUMBERS, {"first": Binary(), "second": NumberTask()}, width=32)
        rows = two_views(300, disjoint=True)
        run = train(model, rows, tmp_path, balancer=UPGrad(), level=level, steps=20)
        lines = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
        cosines = [line["cosines"]["first"]["second"] for line in lines if "cosines" in line]
        assert len(cosines) >= 10
        assert all((cosine is not None) == is_known for cosine in cosines)


def test_a_preference_is_followed(tmp_path: Path) -> None:
    """A task with 20 times the weight of another that contradicts it wins, with either kind of balancer."""
    rng = np.random.default_rng(0)
    rows: Rows = [{"x": x, "a": x + 0.1, "b": -x} for x in rng.normal(size=200)]
    for balancer in (None, UPGrad()):
        torch.manual_seed(0)
        tasks = {"a": TaskColumn(NumberTask(), "a", weight=20.0), "b": NumberTask()}
        model = MultiTaskModel({"x": Number()}, tasks, width=16)
        run = train(model, rows, tmp_path / str(balancer), balancer=balancer, steps=30, validation=0.2)
        import json

        last = json.loads((run.folder / "log.jsonl").read_text().splitlines()[-2])
        assert last["weights"]["a"] > 5 * last["weights"]["b"]


class TestDense:
    """Classes, depth and normals of one picture from one network; each label is there in two of three rows."""

    @pytest.mark.parametrize("level", ["losses", "features", "sketch"])
    def test_spheres_over_a_floor(self, tmp_path: Path, level: Any) -> None:
        rng = np.random.default_rng(0)
        rows: Rows = []
        for i in range(160):
            found = scene(rng)
            rows.append({"photo": found["picture"], "area": found["mask"]})
            rows[-1] |= {"depth": found["depth"], "normals": found["normals"]}
            if i < 128:
                rows[-1][("area", "depth", "normals")[i % 3]] = None
        model = MultiTaskModel(
            {"photo": Image(size=32, crop=0.8, rotate=10, flip=True)},
            {
                "area": TaskColumn(Mask(CLASSES), "area", of="photo"),
                "depth": TaskColumn(Dense(), "depth", of="photo"),
                "normals": TaskColumn(Dense(), "normals", of="photo"),
            },
            width=32,
        )
        balancer = Uncertainty() if level == "losses" else UPGrad()
        run = train(model, rows, tmp_path, steps=60, lr=3e-3, batch_size=16, balancer=balancer, level=level)
        assert score(run, "area", "miou") > 0.7
        for task, metric in (("depth", "rmse"), ("normals", "angle_mean")):
            assert score(run, task, metric) < 0.6 * run.metrics["majority"][task][metric]
        assert run.predictor.preprocessing.states["tasks"]["normals"]["learn"] == "directions"
        said = run.predictor.predict([{"photo": rows[-1]["photo"]}])[0]
        assert (said["depth"].shape, said["normals"].shape) == ((32, 32), (32, 32, 3))
        np.testing.assert_allclose(np.linalg.norm(said["normals"], axis=-1), 1, atol=1e-5)
