"""Rows put together: what is shown, what is labelled, what is absent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from trunkline import MultiTaskModel, TaskColumn
from trunkline.config import as_training
from trunkline.contexts import MosaicContext
from trunkline.data import Draw, Split, Splits, Table, read_table
from trunkline.loading import config_of
from trunkline.modalities import Image, Number
from trunkline.plan import make_plan
from trunkline.schema import Preprocessing, RowBatches, Schema, kept_shares
from trunkline.tasks import Boxes, Category, Mask
from trunkline.training.loaders import LATE, training_batches
from trunkline.training.settings import Rows, Settings
from trunkline.types import Batch

pytest.importorskip("torchvision")
pytest.importorskip("pycocotools")

LEVELS = (80, 140, 200)  # of the things' pixels, by class; around them all is black
SIZE = (48, 64)


def cell(row: int, rng: np.random.Generator) -> dict[str, Any]:
    """A picture with one thing, whose class is its brightness: with its mask, its box, a name and a number."""
    height, width, kind = int(rng.integers(40, 70)), int(rng.integers(40, 90)), row % 3
    h, w = (int(n) for n in rng.integers(16, 30, 2))
    top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[top : top + h, left : left + w] = kind + 1
    pixels = np.zeros((height, width, 1), dtype=np.uint8)
    pixels[mask > 0] = LEVELS[kind]
    box = {"box": [left, top, left + w, top + h], "label": str(kind)}
    return {"photo": pixels, "area": mask, "things": [box], "name": "abc"[kind], "size": float(h * w)}


def table(rows: int = 24, **absent: set[int]) -> Table:
    rng = np.random.default_rng(0)
    cells = [cell(row, rng) for row in range(rows)]
    for name, gone in absent.items():
        for row in gone:
            cells[row][name] = None
    return read_table(cells)


def batches(rows: Table, mosaic: float = 1.0, **options: Any) -> RowBatches:
    image = Image(SIZE, channels="grey", mosaic=mosaic, colour=0, **{"rotate": 0, "aspect": "letterbox", **options})
    schema = Schema(
        {"photo": image, "size": Number()},
        {
            "area": TaskColumn(Mask(), "area", of="photo"),
            "things": TaskColumn(Boxes(), "things", of="photo"),
            "name": TaskColumn(Category(), "name"),
        },
    )
    train = range(len(rows))
    return RowBatches(Preprocessing.fit(schema, rows, train), rows, pool=np.arange(len(rows)))


def everything(batch: Batch) -> list[torch.Tensor]:
    parts = [*batch.inputs.values(), *batch.targets.values()]
    values = [value for part in parts for value in part.values.values()]
    rows = [part.rows for part in parts if part.rows is not None]
    return [*values, *rows, batch.present.values, batch.labelled.values]


@pytest.mark.parametrize(("rotate", "flip"), [(0.0, False), (20.0, False), (0.0, True)])
def test_labels_lie_on_what_is_shown(rotate: float, flip: bool) -> None:
    """A pixel's brightness says its class: no mask and no box is invented, and none lies elsewhere."""
    source, wrong, pixels_seen, boxes_seen = batches(table(), rotate=rotate, flip=flip), 0, 0, 0
    for seed in range(4):
        batch = source[Draw(tuple(range(8)), seed)]
        shown = 255 * batch.inputs["photo"].values["pixels"][:, 0]
        masks, target = batch.targets["area"].values["values"], batch.targets["things"].values
        for place, kind in enumerate(("0", "1", "2")):
            here = (shown - LEVELS[place]).abs() < 8
            wrong += int((here != (masks == place + 1))[masks != 255].sum())
            for row, (boxes, names) in enumerate(zip(target["boxes"], target["classes"])):
                for left, top, right, bottom in boxes[names == place].tolist():
                    inner = here[row, int(top) + 2 : int(bottom) - 2, int(left) + 2 : int(right) - 2]
                    if inner.numel() > 8:
                        boxes_seen += 1
                        assert float(inner.double().mean()) > (0.9 if not rotate else 0.3), f"a {kind} is not there"
        pixels_seen += int((masks != 255).sum())
        assert (target["classes"] >= 0).sum(1).max() > 1, "several pictures' boxes lie in one"
    assert wrong / pixels_seen < 0.12 and boxes_seen > 40


def test_all_else_of_such_a_row_is_absent() -> None:
    batch = batches(table())[Draw((3, 4, 5), 7)]
    assert all(isinstance(context, MosaicContext) for context in batch.context["photo"])
    assert batch.present["photo"].all() and not batch.present["size"].any()
    assert not batch.labelled["name"].any() and batch.labelled["area"].all() and batch.labelled["things"].all()
    assert "name" not in batch.targets and dict(zip(batch.labelled.names, batch.counts))["name"] == 0


def test_tasks_of_the_whole_row_are_expected_as_rarely_as_they_come() -> None:
    half, few = (batches(table(), mosaic=share).preprocessing.schema for share in (0.4, 0.75))
    assert kept_shares(half) == {"area": 1.0, "things": 1.0, "name": 0.6}
    with pytest.warns(UserWarning, match=r"these keep few of their labels: name \(25%\)"):
        assert kept_shares(few)["name"] == 0.25


def test_a_plan_expects_them_so() -> None:
    image = Image(SIZE, channels="grey", mosaic=0.4, colour=0, rotate=0, stem=4)
    tasks = {"things": TaskColumn(Boxes(), "things", of="photo"), "name": Category()}
    model = MultiTaskModel({"photo": image}, tasks, width=8)
    splits = Splits(Split.whole(table()))
    plan = make_plan(config_of(model, None, None, as_training({"steps": 2, "normalise": "expected"})), splits)
    assert plan.engine.rates == pytest.approx({"things": 1.0, "name": 0.6})


def test_a_row_keeps_to_its_own_labels() -> None:
    """Partners have every label that the row has; what the row does not have, no partner gives."""
    source = batches(table(things={0, 1, 2, 3}, area=set(range(4, 24, 2))))
    for seed in range(6):
        batch = source[Draw(tuple(range(24)), seed)]
        assert torch.equal(batch.labelled["things"], torch.tensor([row > 3 for row in range(24)]))
        assert torch.equal(batch.labelled["area"], torch.tensor([row < 4 or row % 2 == 1 for row in range(24)]))


def test_a_row_without_such_a_label_is_left_alone() -> None:
    batch = batches(table(things={1}, area={1}))[Draw((0, 1, 2), 3)]
    first, second, third = batch.context["photo"]
    assert isinstance(first, MosaicContext) and isinstance(third, MosaicContext)
    assert not isinstance(second, MosaicContext) and batch.labelled["name"].tolist() == [False, True, False]


def test_a_draw_says_all_of_it() -> None:
    rows = table()
    first, second = batches(rows, 0.5), batches(rows, 0.5)
    second[Draw((9, 10), 1)]  # whatever was drawn before
    draw = Draw(tuple(range(12)), 5)
    assert all(torch.equal(a, b) for a, b in zip(everything(first[draw]), everything(second[draw])))
    are = [isinstance(context, MosaicContext) for context in first[draw].context["photo"]]
    assert {True, False} == set(are)


def test_held_out_rows_and_late_steps_have_none() -> None:
    rows = table()
    source, plain = batches(rows), batches(rows, 0.0)
    for draw in (Draw((0, 1), None), Draw((0, 1), 3, is_late=True)):
        assert not any(isinstance(context, MosaicContext) for context in source[draw].context["photo"])
    draw = Draw((0, 1), 3)
    late = everything(source[Draw((0, 1), 3, is_late=True)])
    assert all(torch.equal(a, b) for a, b in zip(late, everything(plain[draw]))), "the same draw as without mosaics"
    without_pool = RowBatches(source.preprocessing, rows)
    assert not any(isinstance(context, MosaicContext) for context in without_pool[draw].context["photo"])


def test_partners_are_training_rows() -> None:
    """The other rows of the table differ in shape, and never show."""
    rows = table()
    source = batches(rows)
    pool = np.arange(4)
    source = RowBatches(source.preprocessing, rows, pool=pool)
    known = {rows.cell(int(row), "photo").shape[:2] for row in pool}
    for seed in range(8):
        for context in source[Draw((0, 1, 2, 3), seed)].context["photo"]:
            assert isinstance(context, MosaicContext) and {tile.original for tile in context.tiles} <= known


def test_the_last_steps_are_late() -> None:
    how = Settings(
        steps=20, batch_size=8, accumulate=1, lr=1e-3, weight_decay=0, warmup=0, clip=None, patience=None, ema=None,
        validations=1, validation_rows=1, precision="32-true", devices=1, nodes=1, shard=False, accelerator="cpu",
        workers=0, tensorboard=False, seed=0, by_length=False, shuffle=None, affinity=None, joint=None,
    )  # fmt: skip
    steps, seen = training_batches(Rows(batches(table()), np.arange(24)), how), []
    for _ in range(20):
        (batch,) = next(steps)
        seen.append(all(isinstance(context, MosaicContext) for context in batch.context["photo"]))
    assert seen == [True] * 17 + [False] * 3 and LATE == 0.15
