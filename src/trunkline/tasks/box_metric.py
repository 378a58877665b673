"""Average precision of boxes, as COCO's own evaluator works it out (Lin et al., "Microsoft COCO", 2014).

It is worked out in the pictures' own pixels, from the very numbers that are written into a file of predictions, so
that COCO's evaluator says the same of that file. Sizes are not looked at.

Shape legend: `P` points, `K` classes, `T` overlaps that are asked for (0.50, 0.55, … 0.95), `m` boxes of a picture.
"""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torchmetrics
from torch import Tensor

from trunkline.arrays import boxes
from trunkline.contexts import GridContext
from trunkline.pretrained import need
from trunkline.tasks.box_cells import is_crowd
from trunkline.tasks.box_crowds import crowd_classes
from trunkline.tasks.contract import Scores, Target, on_host
from trunkline.tasks.unseen import class_number

THRESHOLDS = 10  # T
NONE = -1  # the class of no box; lower ones are those of crowds


class Found(NamedTuple):
    """Boxes of one picture: `boxes [m, 4]`, `classes [m]`, `scores [m]` (1 for true ones), the surest first; of true
    ones `crowds [m]` bool, `None` where there is no crowd.
    """

    boxes: Tensor
    classes: Tensor
    scores: Tensor
    crowds: Tensor | None = None


def say(output: Tensor, floor: float, context: GridContext) -> Found:
    """What a head says of one picture, `[P, 4 + K]`; see `arrays.boxes.say`."""
    return Found(*map(torch.from_numpy, boxes.say(on_host(output), floor, context)))


def as_found(entries: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> Found:
    """Boxes as `decode` or a cell gives them, in their order; a label has no score, and is sure."""
    return Found(
        torch.tensor([entry["box"] for entry in entries], dtype=torch.float64).view(-1, 4),
        torch.tensor([class_number(entry["label"], classes) for entry in entries], dtype=torch.long),
        torch.tensor([entry.get("score", 1.0) for entry in entries], dtype=torch.float64),
        torch.tensor([is_crowd(entry) for entry in entries], dtype=torch.bool),
    )


def as_true(boxes: Tensor, marks: Tensor) -> Found:
    """The labels of one picture, `given [M, 4]` and `classes [M]` of a target."""
    boxes, marks = boxes[marks != NONE].cpu().double(), marks[marks != NONE].cpu()
    crowds = marks < NONE
    # Rounded to what the cell said before it became a float.
    return Found(boxes.round(decimals=4), torch.where(crowds, crowd_classes(marks), marks), torch.ones(len(marks)),
                 crowds)  # fmt: skip


class BoxMetric(torchmetrics.Metric):
    """`map50` and `map`: means over the classes that occur in labels; one that training never saw is always missed.

    What is kept is whose boxes were right: it adds up over batches and ranks.

    Args:
        classes: names.
        floor: see `pick`.
    """

    full_state_update = False
    verdicts: list[Tensor]
    true: list[Tensor]
    rows: Tensor

    def __init__(self, classes: Sequence[str], floor: float) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.floor = floor
        self.add_state("verdicts", [], dist_reduce_fx="cat")
        self.add_state("true", [], dist_reduce_fx="cat")
        self.add_state("rows", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, output: Tensor, target: Target) -> None:
        """`output [n, P, 4 + K]`, and what `Boxes.collate` gives."""
        found = [say(row, self.floor, as_context(frame)) for row, frame in zip(output, target["frame"].int().tolist())]
        true = [as_true(boxes, marks) for boxes, marks in zip(target["given"], target["classes"])]
        self.verdicts.append(judge_boxes(found, true).to(output.device))
        self.true.append(target["classes"][target["classes"] >= 0])
        self.rows += len(output)

    def compute(self) -> list[Scores | None]:
        """The scores; `None` without any row, and a score is `None` where no label has a box."""
        if int(self.rows) == 0:
            return [None]
        found = list(self._precisions().values())
        if not found:
            return [{"map50": None, "map": None}]
        each = np.stack(found)
        return [{"map50": float(each[:, 0].mean()), "map": float(each.mean())}]

    def by_class(self) -> dict[str, dict[str, float]]:
        """`map50` and `map` of each known class that occurs in labels."""
        found = {self.classes[k]: each for k, each in self._precisions().items() if k < len(self.classes)}
        return {name: {"map50": float(each[0]), "map": float(each.mean())} for name, each in found.items()}

    def _precisions(self) -> dict[int, np.ndarray]:
        """Average precision at each overlap, `[T]`, of each class that occurs in labels."""
        verdicts = torch.cat(_listed(self.verdicts)).cpu().numpy() if len(self.verdicts) else np.zeros((0, 2))
        true = Counter(torch.cat(_listed(self.true)).long().tolist() if len(self.true) else [])
        known = {k: n for k, n in sorted(true.items()) if k < len(self.classes)}
        unseen = {k: np.zeros(THRESHOLDS) for k in true if k not in known}
        return {**average_precisions(verdicts, known), **unseen}


def as_context(frame: Sequence[int]) -> GridContext:
    """What was done to a picture that was neither turned nor mirrored: `frame` of a target."""
    return GridContext((frame[6], frame[7]), (frame[2], frame[3], frame[4], frame[5]), (frame[0], frame[1]))


def _listed(state: list[Tensor] | Tensor) -> list[Tensor]:
    """Of a state before or after ranks are gathered."""
    return [state] if isinstance(state, Tensor) else state


def judge_boxes(found: Sequence[Found], true: Sequence[Found]) -> Tensor:
    """Which of the boxes found in these pictures are right: one row a box, `[class, score, right at each overlap]`,
    1 for right, 0 for wrong, -1 for one in a crowd, which is neither.

    The surest take their pick of the true ones, picture by picture, class by class.
    """
    names = sorted({int(k) for picture in found for k in picture.classes})
    if not names:
        return torch.zeros(0, 2 + THRESHOLDS)
    evaluator = _evaluator(names, list(range(len(found))), boxes.MOST)
    with contextlib.redirect_stdout(io.StringIO()):  # it talks
        evaluator.cocoGt, evaluator.cocoDt = _as_coco(true, names), _as_coco(found, names)
        evaluator.evaluate()
    rows = [
        np.column_stack(
            [
                np.full(len(e["dtScores"]), e["category_id"]),
                e["dtScores"],
                np.where(e["dtIgnore"], -1, e["dtMatches"] > 0).T,
            ]
        )
        for e in evaluator.evalImgs
        if e is not None and len(e["dtScores"])
    ]
    return torch.from_numpy(np.concatenate(rows).astype(np.float32))


def average_precisions(verdicts: np.ndarray, true: dict[int, int]) -> dict[int, np.ndarray]:
    """COCO's average precision at each overlap, `[T]`, by class; arguments are those of `precisions`."""
    return {k: each.mean(1) for k, each in precisions(verdicts, true).items()}


def precisions(verdicts: np.ndarray, true: dict[int, int]) -> dict[int, np.ndarray]:
    """The best precision at each overlap with a recall of 0, 0.01, … 1 or more, `[T, 101]`, by class; 0 for none.

    Args:
        verdicts: what `judge_boxes` gives, of all pictures.
        true: by class, how many true boxes there are; at least one.
    """
    if not true:
        return {}
    evaluator = _evaluator(list(true), [0], max(1, len(verdicts)))
    evaluator._paramsEval = evaluator.params
    # All pictures as one: whose boxes are right is known.
    evaluator.evalImgs = [_evidence(verdicts[verdicts[:, 0] == k], count) for k, count in true.items()]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.accumulate()
    found = evaluator.eval["precision"][:, :, :, 0, 0]  # [T, recalls, K]
    return dict(zip(true, np.moveaxis(found, 2, 0)))


def _evidence(verdicts: np.ndarray, true: int) -> dict[str, Any]:
    right = verdicts[:, 2:].T
    return {"dtScores": verdicts[:, 1], "dtMatches": right > 0, "dtIgnore": right < 0,
            "gtIgnore": np.zeros(true, dtype=int)}  # fmt: skip


def _evaluator(classes: list[int], pictures: list[int], most: int) -> Any:
    evaluator = need("pycocotools.cocoeval", "vision", "a boxes task").COCOeval(iouType="bbox")
    params = evaluator.params
    params.catIds, params.imgIds, params.maxDets = classes, pictures, [most]
    params.areaRng, params.areaRngLbl = [[0, 1e10]], ["all"]
    return evaluator


def _as_coco(pictures: Sequence[Found], classes: Sequence[int]) -> Any:
    """Pictures in the evaluator's own form; boxes of other classes are left out."""
    coco = need("pycocotools.coco", "vision", "a boxes task").COCO()
    entries: list[dict[str, Any]] = []
    for number, picture in enumerate(pictures):
        crowds = torch.zeros_like(picture.classes) if picture.crowds is None else picture.crowds.long()
        columns = picture.boxes, picture.classes, picture.scores, crowds
        for box, name, score, crowd in zip(*(column.tolist() for column in columns)):
            if name in classes:
                entry = coco_entry(len(entries) + 1, number, name, box)
                entries.append(entry | {"score": score, "iscrowd": crowd})
    coco.dataset = {"images": [{"id": number} for number in range(len(pictures))], "annotations": entries,
                    "categories": [{"id": name} for name in classes]}  # fmt: skip
    coco.createIndex()
    return coco


def coco_entry(number: int, picture: int, name: int, box: Sequence[float]) -> dict[str, Any]:
    """An annotation in COCO's form.

    Args:
        number: its own, from 1.
        picture: the picture's.
        name: the class's.
        box: `[left, top, right, bottom]`.

    Example:
        >>> coco_entry(1, 7, 2, [10, 20, 30, 60])["bbox"], coco_entry(1, 7, 2, [10, 20, 30, 60])["area"]
        ([10, 20, 20, 40], 800)
    """
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    return {"id": number, "image_id": picture, "category_id": name, "bbox": [left, top, width, height],
            "area": width * height, "iscrowd": 0}  # fmt: skip
