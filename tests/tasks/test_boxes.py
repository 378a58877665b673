"""The boxes task: cells say what is wrong with them, boxes follow their pictures, and the scores are COCO's."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trunkline.arrays.boxes import pick
from trunkline.contexts import GridContext
from trunkline.data import CocoNumbers
from trunkline.errors import ConfigError, DataError
from trunkline.run.coco import numbered, results
from trunkline.run.facts.quality import describe
from trunkline.run.predictions import write_predictions
from trunkline.tasks import Boxes
from trunkline.tasks.box_metric import Found, average_precisions, coco_entry, judge_boxes
from trunkline.types import Span, Tokens

CELL = [{"box": [2, 4, 10, 12], "label": "cat"}, {"box": [6, 0, 16, 8], "label": "dog"}]
Cell = list[dict[str, Any]]


def whole(height: int, width: int, size: tuple[int, int] | None = None) -> GridContext:
    return GridContext((height, width), (0, 0, height, width), size or (height, width))


def one(box: Any, label: Any = "cat") -> Cell:
    return [{"box": box, "label": label}]


def test_cells_are_lists_or_their_json() -> None:
    task = Boxes()
    read = [{"box": [2.0, 4.0, 10.0, 12.0], "label": "cat"}, {"box": [6.0, 0.0, 16.0, 8.0], "label": "dog"}]
    assert task.read(CELL) == task.read(json.dumps(CELL)) == task.read(np.array(CELL)) == read
    assert task.read([]) == task.read("[]") == []
    assert task.read(one(np.array([0, 1, 2, 3]), 3.0)) == [{"box": [0.0, 1.0, 2.0, 3.0], "label": "3"}]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("cat", r"'cat' is no JSON list of boxes, each \{\"box\": \[x1, y1, x2, y2\], \"label\": \"name\"\}"),
        ({"box": [0, 0, 1, 1]}, r"a list of boxes is wanted here, each \{\"box\".*, not \{'box'"),
        ([CELL[0], [1, 2, 3, 4]], r"box 2 is \[1, 2, 3, 4\]; write \{\"box\""),
        ([CELL[0], {"box": [1, 2, 3, 4]}], r"box 2 has no 'label'; write \{\"box\""),
        ([{"label": "cat"}], r"box 1 has no 'box'; write \{\"box\""),
        (one([1, 2, 3, 4], " "), r"box 1 has an empty label"),
        (one([1, 2, 3, 4], ["cat"]), r"box 1: one name is wanted here"),
        (one([1, 2, 3]), r"box 1 \('cat'\) has the edges \[1, 2, 3\]; write four numbers"),
        (one([1, 2, 3, "far"]), r"box 1 \('cat'\): 'far' is not a number"),
        (one([1, 2, 3, float("nan")]), r"box 1 \('cat'\): nan is not finite; a box that is not known is left out"),
        ('[{"box": [0, 0, Infinity, 3], "label": "cat"}]', r"box 1 \('cat'\): inf is not finite"),
        (
            [CELL[0], *one([30, 2, 10, 4])],
            r"box 2 \('cat'\): x2 = 10 lies left of x1 = 30; .*of \[x, y, width, height\]",
        ),
        (one([3, 20, 10, 4]), r"box 1 \('cat'\): y2 = 4 lies above y1 = 20; write left, top, right and bottom"),
    ],
)
def test_bad_cells_say_which_box_and_what_would_work(cell: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Boxes().read(cell)


def test_boxes_without_area_are_left_out_and_told_with_their_place() -> None:
    flat = [*one([1, 2, 1, 9]), *CELL, *one([1, 2, 9, 2])]
    assert Boxes().read(flat) == Boxes().read(CELL) and Boxes().read(flat[:1]) == []
    assert list(Boxes().check_place(flat, (16, 20))) == ["a box without area is left out"]
    assert list(Boxes().check_place(CELL, (16, 20))) == []


def test_fit() -> None:
    task = Boxes()
    state = task.fit(map(task.read, [CELL, [], one([0, 0, 4, 4])]))
    assert state == {"classes": ["cat", "dog"], "share": [2 / 3, 1 / 3], "size": [[6.0, 6.0], [10.0, 8.0]]}
    assert list(task.names(task.read(CELL))) == ["cat", "dog"] and task.known_names(state) == ["cat", "dog"]
    named = Boxes(["dog", "cow", "cat"]).fit([task.read(CELL)])
    assert named["classes"] == ["dog", "cow", "cat"] and named["share"] == [1.0, 0.0, 1.0]
    assert named["size"][1] == [9.0, 8.0], "a class without boxes is as large as the others"
    with pytest.raises(DataError, match=r"\('dog'\) is not named in `classes`\. Did you mean 'dogs'"):
        Boxes(["cat", "dogs"]).read(CELL)
    with pytest.raises(DataError, match="no training cell has a box"):
        task.fit([[], []])
    with pytest.raises(ConfigError, match="floor: 1 is no score"):
        Boxes(floor=1.0).fit([task.read(CELL)])


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'a boxes task needs torchvision, .*pip install "trunkline\[vision\]"'):
        Boxes().fit([CELL])


def test_boxes_at_the_edge_and_beyond() -> None:
    task = Boxes()
    state = task.fit([task.read(CELL)])
    near, far = one([-0.5, 0, 8, 16.9]), [*CELL, *one([5, 5, 50, 9])]
    assert task.prepare(task.read(near), state, whole(16, 20))["boxes"].tolist() == [[0, 0, 8, 16]]
    assert list(task.check_place(near, (16, 20))) == []
    item = task.prepare(task.read(far), state, whole(16, 20))
    assert item["boxes"][2].tolist() == [5, 5, 20, 9]
    assert item["given"][2].tolist() == [5, 5, 50, 9], "scores are those of the cell's own boxes"
    assert list(task.check_place(far, (16, 20))) == [
        "a box reaches beyond its picture: what is learned ends at the edge"
    ]
    for outside in ([20, 0, 30, 9], [-9, -9, -1, -1], [0, 16, 9, 20]):
        with pytest.raises(
            DataError, match=r"\('cat'\) lies outside of its picture, which is 20 pixels wide and 16 high"
        ):
            task.check_place(one(outside), (16, 20))


def test_prepare_follows_the_picture() -> None:
    """A window of the left half, made twice as large and mirrored."""
    task = Boxes()
    state = task.fit([task.read(CELL)])
    context = GridContext((16, 20), (0, 0, 16, 10), (32, 20), flipped=True)
    boxes = [*CELL, *one([9, 0, 20, 8], "dog"), *one([10, 0, 18, 8])]
    item = task.prepare(task.read(boxes), state, context)
    assert item["boxes"].tolist() == [[0, 8, 16, 24], [0, 0, 8, 16]], "of the third less than a quarter is left"
    assert item["classes"].tolist() == [0, 1]
    assert item["frame"].tolist() == [32, 20, 0, 0, 16, 10, 16, 20]


def test_collate_fills_up() -> None:
    task = Boxes()
    state = task.fit([task.read(CELL)])
    items = [[task.prepare(task.read(cell), state, whole(16, 20))] for cell in (CELL, [], one([0, 0, 2, 2], "dog"))]
    target = task.collate(items)
    assert target["boxes"].shape == (3, 2, 4)
    assert target["classes"].tolist() == [[0, 1], [-1, -1], [1, -1]] and target["classes"].dtype == torch.int64
    assert task.collate(items[1:2])["classes"].tolist() == [[-1]]


def said(*boxes: tuple[list[float], int, float], classes: int = 2) -> Tensor:
    """The output of one picture, `[1, P, 4 + K]`, from boxes, classes and scores."""
    output = torch.zeros(1, len(boxes), 4 + classes)
    for place, (box, name, score) in enumerate(boxes):
        output[0, place, :4], output[0, place, 4 + name] = torch.tensor(box), score
    return output


def test_decode_gives_the_pictures_own_pixels() -> None:
    task = Boxes(floor=0.1)
    state = task.fit([task.read(CELL)])
    output = said(([0, 0, 8, 8], 1, 0.5), ([2, 8, 30, 50], 0, 0.9), ([3, 8, 30, 48], 0, 0.8), ([0, 0, 9, 9], 0, 0.05))
    ((found,),) = task.decode(output, [state], [GridContext((16, 20), (0, 0, 16, 20), (32, 20), flipped=True)])
    assert found == [
        {"box": [0.0, 4.0, 18.0, 16.0], "label": "cat", "score": pytest.approx(0.9)},
        {"box": [12.0, 0.0, 20.0, 4.0], "label": "dog", "score": 0.5},
    ], "mirrored back, cut at the edge; the same thing once, and nothing below the floor"
    many = said(*[([x, y, x + 1, y + 1], 0, 0.5) for x in range(20) for y in range(10)])
    assert [len(row) for row in task.decode(many, [state], [whole(20, 20)])[0]] == [100]


def random_pictures(seed: int, pictures: int = 30) -> tuple[list[Found], list[Found]]:
    """True boxes, and guesses: some moved, some made up, some of another class."""
    rng = np.random.default_rng(seed)
    found, true = [], []
    for _ in range(pictures):
        corner, size = rng.uniform(0, 40, (rng.integers(0, 5), 2)), rng.uniform(5, 30, 2)
        boxes = np.hstack([corner, corner + size])
        classes = rng.integers(0, 3, len(boxes))
        twice = np.repeat(boxes, 2, 0) + rng.normal(0, 1.5, (2 * len(boxes), 4))
        names = np.where(rng.random(len(twice)) < 0.8, np.repeat(classes, 2), rng.integers(0, 3, len(twice)))
        scores = np.sort(rng.random(len(twice)))[::-1].copy()
        true.append(Found(torch.tensor(boxes).float(), torch.tensor(classes), torch.ones(len(boxes))))
        found.append(Found(torch.tensor(twice).float(), torch.tensor(names), torch.tensor(scores).float()))
    return found, true


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_the_fields_metric(seed: int) -> None:
    """Judged picture by picture and summed up, as all at once by torchmetrics."""
    from torchmetrics.detection import MeanAveragePrecision

    found, true = random_pictures(seed)
    recalls, overlaps = np.linspace(0, 1, 101).tolist(), np.linspace(0.5, 0.95, 10).tolist()  # its own are rounded
    theirs = MeanAveragePrecision(class_metrics=True, rec_thresholds=recalls, iou_thresholds=overlaps)
    theirs.update([{"boxes": f.boxes, "labels": f.classes, "scores": f.scores} for f in found],
                  [{"boxes": t.boxes, "labels": t.classes} for t in true])  # fmt: skip
    verdicts = torch.cat([judge_boxes(found[:7], true[:7]), judge_boxes(found[7:], true[7:])]).numpy()
    counts = torch.cat([t.classes for t in true]).bincount(minlength=3).tolist()
    ours = average_precisions(verdicts, {k: n for k, n in enumerate(counts) if n})
    scores = theirs.compute()
    assert float(scores["map"]) == pytest.approx(np.mean([each.mean() for each in ours.values()]), abs=1e-6)
    assert float(scores["map_50"]) == pytest.approx(np.mean([each[0] for each in ours.values()]), abs=1e-6)
    np.testing.assert_allclose(scores["map_per_class"], [each.mean() for each in ours.values()], atol=1e-6)


def test_the_metric_adds_up_and_knows_nothing_from_zero() -> None:
    task = Boxes()
    state = task.fit([task.read(CELL)])
    first = task.collate([[task.prepare(task.read(CELL), state, whole(16, 20))]])
    second = task.collate([[task.prepare(task.read(one([0, 0, 9, 9])), state, whole(16, 20))]])
    nothing = task.collate([[task.prepare([], state, whole(16, 20))]])
    right, wrong = said(([2, 4, 10, 12], 0, 0.9), ([6, 0, 16, 8], 1, 0.8)), said(([1, 9, 5, 16], 0, 0.95))
    both, other = task.metric([state]), task.metric([state])
    assert both.compute() == [None]
    both.update(right[:, :0], nothing)
    assert both.compute() == [{"map50": None, "map": None}], "nothing to be found, and nothing found"
    both.update(right, first)
    assert both.compute() == [{"map50": pytest.approx(1.0), "map": pytest.approx(1.0)}]
    other.update(wrong, second)
    assert other.compute() == [{"map50": 0.0, "map": 0.0}]
    both.merge_state(other)
    assert both.by_class()["dog"] == {"map50": pytest.approx(1.0), "map": pytest.approx(1.0)}
    assert both.by_class()["cat"]["map50"] == pytest.approx(51 / 101 * 0.5), "half of them found, behind a wrong one"


def test_a_class_that_training_never_saw_is_missed() -> None:
    task = Boxes()
    state = task.fit([task.read(CELL)])
    cell = task.read([*CELL, *one([0, 0, 4, 4], "owl"), *one([5, 0, 9, 4], "owl"), *one([9, 9, 15, 15], "ox")])
    target = task.collate([[task.prepare(cell, state, whole(16, 20))]])
    metric = task.metric([state])
    metric.update(said(([2, 4, 10, 12], 0, 0.9), ([6, 0, 16, 8], 1, 0.8)), target)
    assert metric.compute() == [{"map50": pytest.approx(0.5), "map": pytest.approx(0.5)}], "two of four classes"
    assert set(metric.by_class()) == {"cat", "dog"}
    with pytest.raises(DataError, match=r"\('owl'\) is not named in `classes`"):
        Boxes(["cat", "dog"]).read(cell)


def test_the_baseline_knows_means_alone() -> None:
    task = Boxes()
    state = task.fit(map(task.read, [one([0, 0, 8, 4]), one([0, 0, 4, 8]), one([0, 0, 2, 2], "dog"), []]))
    target = task.collate([[task.prepare([], state, whole(16, 20, (32, 20)))]])
    assert task.baseline([state], target).tolist() == [[[7, 10, 13, 22, 0.5, 0], [9, 14, 11, 18, 0, 0.25]]]


def test_show_draws_both() -> None:
    task = Boxes()
    state, true = task.fit([task.read(CELL)]), task.read(CELL)
    of = np.full((16, 20, 1), 255, dtype=np.uint8)
    found = [{**true[0], "score": 0.9}, {"box": [0.0, 8.0, 4.0, 16.0], "label": "dog", "score": 0.5}]
    answer = task.show([*found, {**true[1], "score": 0.1}], true, state, of)
    assert answer.said.kind == "picture" and answer.said.text == "1 cat, 1 dog"
    assert answer.true is not None and answer.true.data != answer.said.data
    assert answer.confidence == pytest.approx(0.7) and answer.error == pytest.approx(0.5)
    bare = task.show([], None, state, of)
    assert (bare.true, bare.error, bare.confidence, bare.said.text) == (None, None, None, "(none)")
    assert task.show([], [], state, of).error == 0.0


def test_what_the_report_says_of_classes() -> None:
    true = [Boxes().read(CELL), []]
    found = [[{**true[0][0], "score": 0.9}, {"box": [0.0, 8.0, 4.0, 16.0], "label": "cat", "score": 0.5}], []]
    figures = describe(found, true, {"classes": ["cat", "dog"]})
    assert figures["unit"] == "boxes"
    assert figures["classes"] == [
        {"name": "cat", "rows": 1, "precision": 0.5, "recall": 1.0, "map50": pytest.approx(1), "map": pytest.approx(1)},
        {"name": "dog", "rows": 1, "precision": None, "recall": 0.0, "map50": 0.0, "map": 0.0},
    ]


def test_a_crowd_is_no_example_and_no_mistake() -> None:
    """As COCO has it: found in a crowd is neither right nor wrong, for a box of its class."""
    task = Boxes()
    cell = task.read(
        [*CELL, {**one([0, 12, 20, 16])[0], "iscrowd": 1}, {**one([0, 0, 1, 1], "owl")[0], "iscrowd": True}]
    )
    assert [entry.get("iscrowd") for entry in cell] == [None, None, True, True]
    assert list(task.names(cell)) == ["cat", "dog"]
    state = task.fit([cell])
    assert state["classes"] == ["cat", "dog"] and state["size"][0] == [8.0, 8.0]
    target = task.collate([[task.prepare(cell, state, whole(16, 20))]])
    assert target["classes"][0, :3].tolist() == [0, 1, -2]
    right = ([2.0, 4, 10, 12], 0, 0.5), ([6.0, 0, 16, 8], 1, 0.5)
    within, of_another = ([1.0, 12, 9, 16], 0, 0.9), ([1.0, 12, 9, 16], 1, 0.9)
    metric, other = task.metric([state]), task.metric([state])
    metric.update(said(*right, within), target)
    assert metric.compute() == [{"map50": pytest.approx(1.0), "map": pytest.approx(1.0)}]
    other.update(said(*right, of_another), target)
    assert other.by_class()["dog"]["map50"] == pytest.approx(0.5), "a dog in a crowd of cats is a mistake"
    found = [
        {"box": [1.0, 12, 9, 16], "label": "cat", "score": 0.9},
        {**cell[0], "score": 0.8},
        {**cell[1], "score": 0.8},
    ]
    assert task.show(found, cell, state, np.zeros((16, 20, 3), np.uint8)).error == 0.0
    assert describe([found], [cell], state)["classes"][0] | {"map": 1.0, "map50": 1.0} == {
        "name": "cat", "rows": 1, "precision": 1.0, "recall": 1.0, "map50": 1.0, "map": 1.0,
    }  # fmt: skip
    with pytest.raises(DataError, match=r"box 1 has 'iscrowd': 'many'; write true or false"):
        task.read([{**CELL[0], "iscrowd": "many"}])


class Drawn:
    """Pictures of red and blue rectangles, and a small network that makes a pyramid of them."""

    def __init__(self, pictures: int, side: int = 48) -> None:
        rng = np.random.default_rng(0)
        pixels = rng.normal(0.5, 0.05, (pictures, 3, side, side))
        self.cells: list[Cell] = [[] for _ in range(pictures)]
        for picture, cell in zip(pixels, self.cells):
            for _ in range(rng.integers(0, 4)):
                width, height, blue = rng.integers(5, 20), rng.integers(5, 20), int(rng.integers(2))
                left, top = int(rng.integers(0, side - width)), int(rng.integers(0, side - height))
                picture[:, top : top + height, left : left + width] = (
                    [[[0]], [[0]], [[1]]] if blue else [[[1]], [[0]], [[0]]]
                )
                box = [left, top, left + int(width), top + int(height)]
                cell.append({"box": box, "label": "blue" if blue else "red"})
        self.pixels = torch.from_numpy(pixels).float()
        self.contexts = [whole(side, side)] * pictures


class Pyramid(nn.Module):
    """Grids of strides 4 and 8."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fine = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, width, 3, 2, 1), nn.ReLU(),
                                  nn.Conv2d(width, width, 3, 1, 1), nn.ReLU())  # fmt: skip
        self.coarse = nn.Sequential(nn.Conv2d(width, width, 3, 2, 1), nn.ReLU())

    def forward(self, pixels: Tensor) -> Tokens:
        grids = [fine := self.fine(pixels), self.coarse(fine)]
        spans, start = [], 0
        for grid in grids:
            height, width = grid.shape[2:]
            stride = (pixels.shape[2] / height, pixels.shape[3] / width)
            spans.append(Span("photo", start, start + height * width, "grid", (height, width), stride))
            start += height * width
        values = torch.cat([grid.flatten(2).transpose(1, 2) for grid in grids], 1)
        return Tokens(values, torch.ones(values.shape[:2], dtype=torch.bool), tuple(spans))


def test_a_few_drawn_pictures_are_learned_and_scored_alike_as_coco_files(tmp_path: Path) -> None:
    torch.manual_seed(0)
    drawn, task = Drawn(6), Boxes()
    values = [task.read(cell) for cell in drawn.cells]
    state = task.fit(values)
    target = task.collate([[task.prepare(v, state, c)] for v, c in zip(values, drawn.contexts)])
    network, head = Pyramid(32), task.build([state], 32)
    optimiser = torch.optim.AdamW([*network.parameters(), *head.parameters()], 2e-3)
    for _ in range(60):
        total, weight = head.loss(head.train_output(network(drawn.pixels), target), target)
        optimiser.zero_grad()
        (total / weight).sum().backward()
        optimiser.step()
    with torch.no_grad():
        output = head.predict_output(network(drawn.pixels))
    metric = task.metric([state])
    metric.update(output, target)
    (scores,) = metric.compute()
    assert scores["map50"] > 0.9
    (found,) = task.decode(output, [state], drawn.contexts)
    predictions = [{"things": boxes} for boxes in found] + [{"things": None}]
    write_predictions(tmp_path / "said.jsonl", predictions)
    lines = (tmp_path / "said.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == predictions
    numbers = numbered(CocoNumbers(tuple(range(1, 8)), {}), state["classes"])
    (tmp_path / "said.json").write_text(json.dumps(results([row["things"] for row in predictions], numbers)))
    stats = coco_scores(tmp_path / "said.json", values, state["classes"])
    assert stats[:2] == pytest.approx([scores["map"], scores["map50"]], abs=1e-9)


def coco_scores(path: Path, true: list[Any], classes: list[str]) -> list[float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    pairs = [(row, entry) for row, cell in enumerate(true, start=1) for entry in cell]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": row} for row in range(1, len(true) + 1)],
            "categories": [{"id": k} for k in range(1, len(classes) + 1)],
            "annotations": [
                coco_entry(number, row, 1 + classes.index(entry["label"]), entry["box"])
                for number, (row, entry) in enumerate(pairs, start=1)
            ],
        }
        coco.createIndex()
        evaluator = COCOeval(coco, coco.loadRes(str(path)), "bbox")
        evaluator.evaluate(), evaluator.accumulate(), evaluator.summarize()
    return list(map(float, evaluator.stats))


def test_pick_leaves_what_has_no_area() -> None:
    whole_picture = np.array([0.0, 0, 20, 16])
    for box in ([4, 4, 4, 9], [20, 4, 24, 9]):  # flat, and beyond the picture's edge
        assert len(pick(said((box, 0, 0.9))[0].numpy(), 0.1, whole_picture).boxes) == 0
