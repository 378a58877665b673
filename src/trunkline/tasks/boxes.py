"""Object detection: boxes with names in a picture.

Shape legend: `n` rows, `P` points of all grids, `M` true boxes of a row at most, `K` classes.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trunkline.errors import ConfigError, DataError, suggest
from trunkline.showing import WHOLE, Answer, Shown, outlined, shown_picture
from trunkline.tasks.box_cells import Box, read_boxes, told
from trunkline.tasks.box_head import BoxHead
from trunkline.tasks.box_metric import BoxMetric, pick
from trunkline.tasks.box_places import area, as_original, as_seen, clipped, overlap, picture_part
from trunkline.tasks.contract import Target, Task
from trunkline.tasks.extras import extra
from trunkline.tasks.unseen import class_number
from trunkline.types import Context, GridContext, State

LEFT = 0.25  # share of a box that a window must hold, or the box is not in it
SHOWN = 0.3  # score from which on a box is drawn for people
Said = dict[str, Any]  # {"box", "label", "score"}


class Boxes(Task):
    """Things in the picture named in `of:`, each with its box and its name; an empty list is a known "nothing there".

    Args:
        classes: names. `None`: those found in training.
        floor: boxes with a lower score are not said, and not scored; scores run from 0 to 1.

    State: `{"classes": names in order, "share": of pictures that have each, "size": mean (width, height) of each}`.
    """

    reads = "pyramid"
    primary = "map50"
    joins = True
    unseen_names = "they count as missed"

    def __init__(self, classes: Sequence[str] | None = None, *, floor: float = 0.01) -> None:
        self.classes = classes
        self.floor = floor

    def read(self, cell: Any) -> list[Box]:
        """Its boxes, `[left, top, right, bottom]` in pixels of the picture in the cell."""
        return read_boxes(cell)

    def names(self, value: list[Box]) -> Iterable[str]:
        """Of each box."""
        return [entry["label"] for entry in value]

    def known_names(self, state: State) -> Collection[str]:
        """All classes."""
        return state["classes"]

    def fit(self, values: Iterable[list[Box]]) -> State:
        """The classes, how many pictures have each, and how large they are."""
        if not 0 <= self.floor < 1:
            raise ConfigError(f"floor: {self.floor:g} is no score that leaves any; give 0 or more, and less than 1")
        for module in ("torchvision", "pycocotools"):
            extra(module, kind="boxes", name="vision")
        rows, has, sizes = 0, Counter[str](), dict[str, list[list[float]]]()
        for value in values:
            rows += 1
            has.update({entry["label"] for entry in value})
            for entry in value:
                left, top, right, bottom = entry["box"]
                sizes.setdefault(entry["label"], []).append([right - left, bottom - top])
        if not sizes:
            raise DataError("no training cell has a box with an area")
        classes = sorted(sizes) if self.classes is None else list(self.classes)
        self._check_names(sizes, classes)
        every = [size for its in sizes.values() for size in its]
        means = [np.mean(sizes.get(name, every), axis=0).tolist() for name in classes]
        return {"classes": classes, "share": [has[name] / rows for name in classes], "size": means}

    def _check_names(self, names: Iterable[str], classes: Sequence[str]) -> None:
        if self.classes is not None:
            for name in names:
                if name not in classes:
                    raise DataError(f"{name!r} is not named in `classes`.{suggest(name, classes)}")

    def prepare(self, value: list[Box], state: State, context: Context | None) -> dict[str, Tensor]:
        """`{"boxes": [m, 4], "classes": [m]}` in pixels as the encoder saw them; `frame [4]`: height and width of what
        it saw, and how many of its pixels one of the original became, down and to the right; `inside [4]`: the part of
        it that is picture.

        A box of which the window holds less than a quarter is not in it.
        """
        assert isinstance(context, GridContext), "boxes are bound to a picture"
        self._check_names(self.names(value), state["classes"])
        given = torch.tensor([entry["box"] for entry in value], dtype=torch.float64).view(-1, 4)
        valid = clipped(given, context.original)
        check_inside(value, given, valid, context.original)
        seen = as_seen(valid, context)
        kept = clipped(seen, context.size)
        stays = area(kept) >= LEFT * area(seen)
        classes = torch.tensor([class_number(name, state["classes"]) for name in self.names(value)], dtype=torch.long)
        scale = [size / side for size, side in zip(context.size, context.crop[2:])]
        frame = torch.tensor([*context.size, *scale], dtype=torch.float32)
        inside = picture_part(context).float()
        return {"boxes": kept[stays].float(), "classes": classes[stays], "frame": frame, "inside": inside}

    def join(
        self, items: Sequence[dict[str, Tensor]], places: Sequence[tuple[int, int]], size: tuple[int, int]
    ) -> dict[str, Tensor]:
        """All boxes, each where its picture lies; the scale in `frame` is the first picture's."""
        moves = [torch.tensor([left, top, left, top]) for top, left in places]
        parts = torch.stack([item["inside"] + move for item, move in zip(items, moves)])
        return {
            "boxes": torch.cat([item["boxes"] + move for item, move in zip(items, moves)]),
            "classes": torch.cat([item["classes"] for item in items]),
            "frame": torch.tensor([*size, *items[0]["frame"][2:].tolist()]),
            "inside": torch.cat([parts[:, :2].amin(0), parts[:, 2:].amax(0)]),
        }

    def collate(self, items: Sequence[Sequence[dict[str, Tensor]]]) -> Target:
        """`{"boxes": [n, M, 4], "classes": [n, M], "frame": [n, 4], "inside": [n, 4]}`; class -1 where there is none,
        and `M >= 1`.
        """
        rows = [row[0] for row in items]
        most = max(1, *(len(row["classes"]) for row in rows))
        boxes, classes = torch.zeros(len(rows), most, 4), torch.full((len(rows), most), -1)
        for place, row in enumerate(rows):
            boxes[place, : len(row["boxes"])] = row["boxes"]
            classes[place, : len(row["classes"])] = row["classes"]
        whole = {name: torch.stack([row[name] for row in rows]) for name in ("frame", "inside")}
        return {"boxes": boxes, "classes": classes, **whole}

    def build(self, states: Sequence[State], width: int) -> BoxHead:
        """Two towers at every grid."""
        return BoxHead(len(states[0]["classes"]), width)

    def metric(self, states: Sequence[State]) -> BoxMetric:
        """COCO's average precision, in pixels as the encoder saw them."""
        return BoxMetric(states[0]["classes"], self.floor)

    def decode(
        self, output: Tensor, states: Sequence[State], contexts: Sequence[Context | None]
    ) -> list[list[list[Said]]]:
        """`{"box", "label", "score"}` of at most 100 boxes a picture, the surest first, in the picture's own pixels."""
        return [[self._decode(row, states[0]["classes"], context) for row, context in zip(output.cpu(), contexts)]]

    def _decode(self, row: Tensor, classes: Sequence[str], context: Context | None) -> list[Said]:
        assert isinstance(context, GridContext), "boxes are bound to a picture"
        found = pick(row, self.floor, picture_part(context).to(row))
        places = clipped(as_original(found.boxes, context), context.original)
        return [
            {"box": [round(edge, 2) for edge in box], "label": classes[name], "score": round(score, 6)}
            for box, name, score in zip(places.tolist(), found.classes.tolist(), found.scores.tolist())
        ]

    def show(self, said: list[Said], true: list[Box] | None, state: State, of: np.ndarray) -> Answer:
        """The picture with boxes in the colours of their classes; wrong is what has no fellow."""
        sure = [entry for entry in said if entry["score"] >= SHOWN]
        confidence = sum(entry["score"] for entry in sure) / len(sure) if sure else None
        if true is None:
            return Answer(drawn(sure, state, of), None, confidence)
        pairs = 2 * matched(sure, true)
        error = 1 - pairs / (len(sure) + len(true)) if sure or true else 0.0
        return Answer(drawn(sure, state, of), drawn(true, state, of), confidence, error)

    def show_target(self, target: Target, state: State, of: np.ndarray) -> Shown:
        """The picture with boxes in the colours of their classes, as the encoder sees it."""
        there = target["classes"] >= 0
        classes = target["classes"][there].tolist()
        names = [state["classes"][k] if k < len(state["classes"]) else "?" for k in classes]
        pixels = outlined(of, target["boxes"][there].tolist(), classes, names)
        return shown_picture(pixels, caption=told_counts(names), side=WHOLE)

    def baseline(self, states: Sequence[State], target: Target) -> Tensor:
        """Of each class its mean box in the middle, as sure as pictures have it: `[n, K, 4 + K]`."""
        frame = target["frame"]
        size, share = (torch.tensor(states[0][name], device=frame.device) for name in ("size", "share"))
        middle = frame[:, None, [1, 0]] / 2
        half = size * frame[:, None, [3, 2]] / 2  # [n, K, 2]
        scores = torch.diag(share).expand(len(frame), -1, -1)
        return torch.cat([middle - half, middle + half, scores], -1)


def check_inside(value: Sequence[Box], given: Tensor, inside: Tensor, size: tuple[int, int]) -> None:
    """A warning where boxes reach beyond their picture.

    Args:
        value: the boxes as they were read.
        given: the same, `[m, 4]`.
        inside: cut at the picture's edges.
        size: its `(height, width)`.

    Raises:
        DataError: one lies outside, wholly.
    """
    height, width = size
    for place in (area(inside) == 0).nonzero().flatten().tolist():
        raise DataError(f"{told(value[place])} lies outside of its picture, which is {width} pixels wide and {height} "
                        "high: edges are [x1, y1, x2, y2] in its pixels, from the left and from the top")  # fmt: skip
    far = int(((given - inside).abs() > 1).any(1).sum())
    if far:
        said = "box reaches" if far == 1 else "boxes reach"
        warnings.warn(f"{far} {said} more than 1 pixel beyond a picture of {width} × {height} pixels: cut at its edge",
                      stacklevel=3)  # fmt: skip


def matched(said: Sequence[Said], true: Sequence[Box]) -> int:
    """How many true boxes have a fellow among what is said, the surest first: of their class, half of both shared."""
    left, hits = list(true), 0
    for entry in said:
        fellows = [other for other in left if other["label"] == entry["label"]]
        if fellows:
            shared = overlap(torch.tensor([entry["box"]]), torch.tensor([other["box"] for other in fellows]))[0]
            if float(shared.max()) >= 0.5:
                left.remove(fellows[int(shared.argmax())])
                hits += 1
    return hits


def drawn(boxes: Sequence[Any], state: State, of: np.ndarray) -> Any:
    """The picture with these boxes, and what there is of each class."""
    places = {name: place for place, name in enumerate(state["classes"])}
    colours = [places.get(entry["label"], len(places)) for entry in boxes]
    caption = told_counts([entry["label"] for entry in boxes])
    return shown_picture(outlined(of, [entry["box"] for entry in boxes], colours), caption=caption)


def told_counts(names: Sequence[str]) -> str:
    """How many there are of each.

    Example:
        >>> told_counts(["cat", "ox", "cat"]), told_counts([])
        ('2 cat, 1 ox', '(none)')
    """
    return ", ".join(f"{count} {name}" for name, count in sorted(Counter(names).items())) or "(none)"
