"""Object detection: boxes with names in a picture.

A metric and a file of predictions say the same, to the last digit: both have `say` from them, in the picture's own
pixels. True edges are float32 in the metric: beyond 1024 pixels they may differ from the cell's by a ten-thousandth.

Shape legend: `n` rows, `P` points of all grids, `M` true boxes of a row at most, `K` classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trunkline.arrays.boxes import BoxAnswers
from trunkline.contexts import Context, GridContext
from trunkline.errors import ConfigError, DataError, suggest
from trunkline.pretrained import need
from trunkline.showing import OUTLINED, WHOLE, Answer, Outline, Shown, colour_of, outlined, shown_picture
from trunkline.tasks.box_cells import Box, has_area, is_crowd, read_boxes, read_every, told
from trunkline.tasks.box_crowds import marked
from trunkline.tasks.box_head import BoxHead
from trunkline.tasks.box_metric import BoxMetric, as_found, judge_boxes
from trunkline.tasks.box_places import area, as_seen, clipped
from trunkline.tasks.contract import Target, Task, on_host
from trunkline.tasks.unseen import class_number
from trunkline.types import State

LEFT = 0.25  # share of a box that a window must hold, or the box is not in it
SLACK = 1.0  # pixels by which a box may reach beyond its picture before it is told
SHOWN = 0.3  # score from which on a box is drawn for people
Said = dict[str, Any]  # {"box", "label", "score"}


class Boxes(Task):
    """Things in the picture named in `of:`, each with its box and its name; an empty list is a known "nothing there".

    Boxes are in pixels of the upright picture; `"iscrowd": true` marks one around many things that nobody told apart.

    Args:
        classes: names. `None`: those found in training.
        floor: boxes with a lower score are not said, and not scored; scores run from 0 to 1.

    State: `{"classes": names in order, "share": of pictures that have each, "size": mean (width, height) of each}`.
    """

    reads = "pyramid"
    primary = "map50"
    joins = True

    def __init__(self, classes: Sequence[str] | None = None, *, floor: float = 0.01) -> None:
        self.classes = classes
        self.floor = floor

    @property
    def unseen_names(self) -> str:
        """As the scores have it."""
        return "they count as missed"

    def read(self, cell: Any) -> list[Box]:
        """Its boxes, `[left, top, right, bottom]` in pixels of the upright picture, without those of no area.

        Raises:
            DataError: it is no list of boxes, or names a class that is not among `classes`.
        """
        value = read_boxes(cell)
        for entry in value:
            if self.classes is not None and entry["label"] not in self.classes:
                raise DataError(f"{told(entry)} is not named in `classes`.{suggest(entry['label'], self.classes)}")
        return value

    def check_place(self, cell: Any, size: tuple[int, int]) -> Iterable[str]:
        """Do all boxes lie in the picture?"""
        every = read_every(cell)
        boxes = [entry for entry in every if has_area(entry["box"])]
        found = check_inside(boxes, size)
        return found if len(boxes) == len(every) else (*found, "a box without area is left out")

    def names(self, value: list[Box]) -> Iterable[str]:
        """Of each box; a crowd teaches no name."""
        return [entry["label"] for entry in value if not is_crowd(entry)]

    def known_names(self, state: State) -> Collection[str]:
        """All classes."""
        return state["classes"]

    def fit(self, values: Iterable[list[Box]]) -> State:
        """The classes, how many pictures have each, and how large they are."""
        if not 0 <= self.floor < 1:
            raise ConfigError(f"floor: {self.floor:g} is no score that leaves any; give 0 or more, and less than 1")
        for module in ("torchvision", "pycocotools"):
            need(module, "vision", "a boxes task")
        rows, has, sizes = 0, Counter[str](), dict[str, list[list[float]]]()
        for value in values:
            rows += 1
            has.update(set(self.names(value)))
            for entry in (entry for entry in value if not is_crowd(entry)):
                left, top, right, bottom = entry["box"]
                sizes.setdefault(entry["label"], []).append([right - left, bottom - top])
        if not sizes:
            raise DataError("no training cell has a box with an area, crowds (`iscrowd`) aside")
        classes = sorted(sizes) if self.classes is None else list(self.classes)
        every = [size for its in sizes.values() for size in its]
        means = [np.mean(sizes.get(name, every), axis=0).tolist() for name in classes]
        return {"classes": classes, "share": [has[name] / rows for name in classes], "size": means}

    def prepare(self, value: list[Box], state: State, context: Context | None) -> dict[str, Tensor]:
        """`{"boxes": [m, 4], "classes": [m]}` in pixels as the encoder saw them, crowds `marked`; `given [m, 4]`, the
        same boxes as they stand in the cell; and `frame [8]`: height and width of what the encoder saw, top, left,
        height and width of the window that this was, height and width of the original picture.

        A box of which the window holds less than a quarter is not in it, nor is a crowd that it does not touch.
        """
        assert isinstance(context, GridContext), "boxes are bound to a picture"
        check_inside(value, context.original)
        given = torch.tensor([entry["box"] for entry in value], dtype=torch.float64).view(-1, 4)
        crowds = torch.tensor([is_crowd(entry) for entry in value], dtype=torch.bool)
        classes = torch.tensor([class_number(entry["label"], state["classes"]) for entry in value], dtype=torch.long)
        seen = as_seen(clipped(given, context.original), context)
        kept = clipped(seen, context.size)
        stays = torch.where(crowds, area(kept) > 0, area(kept) >= LEFT * area(seen))
        return {
            "boxes": kept[stays].float(),
            "classes": marked(classes, crowds)[stays],
            "given": given[stays].float(),
            "frame": torch.tensor([*context.size, *context.crop, *context.original], dtype=torch.float32),
        }

    def join(
        self, items: Sequence[dict[str, Tensor]], places: Sequence[tuple[int, int]], size: tuple[int, int]
    ) -> dict[str, Tensor]:
        """All boxes, each where its picture lies, in one picture of the first's scale."""
        moves = [torch.tensor([left, top, left, top]) for top, left in places]
        seen, window = items[0]["frame"][:2], items[0]["frame"][4:6]
        original = (torch.tensor(size) * window / seen).round()
        return {
            "boxes": torch.cat([item["boxes"] + move for item, move in zip(items, moves)]),
            "classes": torch.cat([item["classes"] for item in items]),
            "given": torch.cat([item["given"] for item in items]),
            "frame": torch.cat([torch.tensor([*size, 0.0, 0.0]), original, original]),
        }

    def collate(self, items: Sequence[Sequence[dict[str, Tensor]]]) -> Target:
        """`{"boxes": [n, M, 4], "classes": [n, M], "given": [n, M, 4], "frame": [n, 8]}`; class -1 where there is
        none, lower ones for crowds, and `M >= 1`.
        """
        rows = [row[0] for row in items]
        most = max(1, *(len(row["classes"]) for row in rows))
        boxes, given = torch.zeros(len(rows), most, 4), torch.zeros(len(rows), most, 4)
        classes = torch.full((len(rows), most), -1)
        for place, row in enumerate(rows):
            for filled, name in ((boxes, "boxes"), (given, "given"), (classes, "classes")):
                filled[place, : len(row[name])] = row[name]
        frame = torch.stack([row["frame"] for row in rows])
        return {"boxes": boxes, "classes": classes, "given": given, "frame": frame}

    def build(self, states: Sequence[State], width: int) -> BoxHead:
        """Two towers at every grid."""
        return BoxHead(len(states[0]["classes"]), width)

    def metric(self, states: Sequence[State]) -> BoxMetric:
        """COCO's average precision, in the pictures' own pixels."""
        return BoxMetric(states[0]["classes"], self.floor)

    @property
    def answers(self) -> BoxAnswers:
        """What outputs say."""
        return BoxAnswers(self.floor)

    @property
    def output_form(self) -> str:
        """Of all points."""
        return (
            "[rows, points, 4 + C]: left, top, right and bottom in pixels of the prepared picture, then each class's "
            "score; what is left of them is in the outputs that `chooses` names"
        )

    def decode(
        self, output: Tensor, states: Sequence[State], contexts: Sequence[Context | None]
    ) -> list[list[list[Said]]]:
        """`{"box", "label", "score"}` of at most 100 boxes a picture, the surest first, in the picture's own pixels."""
        return self.answers.decode(on_host(output), states, contexts)

    def show(self, said: list[Said], true: list[Box] | None, state: State, of: np.ndarray) -> Answer:
        """The picture with boxes in the colours of their classes; wrong is what has no fellow."""
        sure = [entry for entry in said if entry["score"] >= SHOWN]
        confidence = sum(entry["score"] for entry in sure) / len(sure) if sure else None
        if true is None:
            return Answer(drawn(sure, state, of), None, confidence)
        hits, counted = matched(sure, true)
        wanted = sum(not is_crowd(entry) for entry in true)
        error = 1 - 2 * hits / (counted + wanted) if counted or wanted else 0.0
        return Answer(drawn(sure, state, of), drawn(true, state, of), confidence, error)

    def show_target(self, target: Target, state: State, of: np.ndarray) -> Shown:
        """The picture with boxes in the colours of their classes, as the encoder sees it."""
        there = target["classes"] >= 0
        classes = target["classes"][there].tolist()
        names = [state["classes"][k] if k < len(state["classes"]) else "?" for k in classes]
        outlines = [Outline(*one, None) for one in zip(target["boxes"][there].tolist(), classes, names)]
        return shown_picture(outlined(of, outlines, side=WHOLE), caption=told_counts(names), side=WHOLE)

    def legend(self, state: State) -> Sequence[tuple[str, tuple[int, int, int]]]:
        """Of all classes."""
        return [(name, colour_of(place)) for place, name in enumerate(state["classes"])]

    def baseline(self, states: Sequence[State], target: Target) -> Tensor:
        """Of each class its mean box in the middle, as sure as pictures have it: `[n, K, 4 + K]`."""
        frame = target["frame"]
        size, share = (torch.tensor(states[0][name], device=frame.device) for name in ("size", "share"))
        middle = frame[:, None, [1, 0]] / 2
        half = size * frame[:, None, [1, 0]] / frame[:, None, [5, 4]] / 2  # [n, K, 2]
        scores = torch.diag(share).expand(len(frame), -1, -1)
        return torch.cat([middle - half, middle + half, scores], -1)


def check_inside(value: Sequence[Box], size: tuple[int, int]) -> tuple[str, ...]:
    """What is odd about where boxes lie in a picture of `(height, width)`.

    Raises:
        DataError: one lies outside, wholly.
    """
    height, width = size
    is_far = False
    for entry in value:
        left, top, right, bottom = entry["box"]
        if min(right, width) <= max(left, 0) or min(bottom, height) <= max(top, 0):
            raise DataError(
                f"{told(entry)} lies outside of its picture, which is {width} pixels wide and {height} high: edges are "
                "[x1, y1, x2, y2] in pixels of the upright picture, from the left and from the top"
            )
        is_far |= min(left, top) < -SLACK or right > width + SLACK or bottom > height + SLACK
    return ("a box reaches beyond its picture: what is learned ends at the edge",) if is_far else ()


def matched(said: Sequence[Said], true: Sequence[Box]) -> tuple[int, int]:
    """How many of the boxes that are said are right, and how many can be right or wrong: those in crowds are neither.

    Right is one that shares half of both with a true box of its class that no surer one has taken.
    """
    names = sorted({entry["label"] for entry in (*said, *true)})
    found, labels = as_found(said, names), as_found(true, names)
    right = judge_boxes([found], [labels])[:, 2]
    return int((right > 0).sum()), int((right >= 0).sum())


def _place_above(entry: Mapping[str, Any]) -> tuple[float, float]:
    """The surest boxes are drawn above others, and the smallest of those that are true."""
    left, top, right, bottom = entry["box"]
    return -entry.get("score", 1.0), (right - left) * (bottom - top)


def drawn(boxes: Sequence[Any], state: State, of: np.ndarray) -> Shown:
    """The picture with these boxes, and what there is of each class."""
    places = {name: place for place, name in enumerate(state["classes"])}
    outlines = [
        Outline(
            entry["box"],
            places.get(entry["label"], len(places)),
            f"{entry['label']} (crowd)" if is_crowd(entry) else entry["label"],
            entry.get("score"),
        )
        for entry in sorted(boxes, key=_place_above)
    ]
    caption = told_counts([entry["label"] for entry in boxes])
    return shown_picture(outlined(of, outlines), caption=caption, side=OUTLINED)


def told_counts(names: Sequence[str]) -> str:
    """How many there are of each.

    Example:
        >>> told_counts(["cat", "ox", "cat"]), told_counts([])
        ('2 cat, 1 ox', '(none)')
    """
    return ", ".join(f"{count} {name}" for name, count in sorted(Counter(names).items())) or "(none)"
