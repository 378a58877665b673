"""What the held-out rows show of a task that says boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from trunkline.analysis import calibration_error, confusion, reliability
from trunkline.run.facts.figures import NAMES, class_figures, ranked
from trunkline.tasks.box_metric import Found, as_found, judge_boxes, precisions
from trunkline.tasks.box_places import overlap
from trunkline.tasks.boxes import SHOWN

HALF = 0.5  # overlap from which on two boxes are of one thing
NOTHING = "nothing there"  # stands for what is said where nothing is, and for what is missed
Entries = Sequence[Mapping[str, Any]]  # boxes of one picture


def has_boxes(said: Sequence[list[Any]], true: Sequence[list[Any]]) -> bool:
    """Whether these lists are of boxes, as far as they hold anything."""
    return any(isinstance(entry, dict) and "box" in entry for its in (*said, *true) for entry in its)


def figures_of_boxes(said: Sequence[Entries], true: Sequence[Entries], classes: Sequence[str]) -> dict[str, Any]:
    """Of each class its true boxes, precision and recall of what people are shown, and average precisions.

    Also `curves [{name, points [[recall, precision]]}]`, at half an overlap, `confusion` of what people are shown, and
    `reliability {bins, ece, from}` of its scores: how often boxes of a score are right.

    Args:
        said: decoded predictions, one list a row.
        true: labels, one list a row.
        classes: that training saw, in order.
    """
    found, labels = ([as_found(boxes, classes) for boxes in column] for column in (said, true))
    verdicts = judge_boxes(found, labels).numpy()
    rows = {k: sum(_count(label, k) for label in labels) for k in range(len(classes))}
    of_class = precisions(verdicts, {k: count for k, count in rows.items() if count})
    figures = []
    for k, name in enumerate(classes):
        shown = verdicts[(verdicts[:, 0] == k) & (verdicts[:, 1] >= SHOWN) & (verdicts[:, 2] >= 0)]
        each = of_class.get(k)
        scores = {} if each is None else {"map50": float(each[0].mean()), "map": float(each.mean())}
        if rows[k] or len(shown):
            figures.append(class_figures(name, rows[k], len(shown), int((shown[:, 2] > 0).sum())) | scores)
    return {
        "classes": ranked(figures),
        "unit": "boxes",
        "curves": _curves({classes[k]: each[0] for k, each in of_class.items()}, [f["name"] for f in ranked(figures)]),
        "confusion": confused(said, true, classes),
        "reliability": _reliability(verdicts[(verdicts[:, 1] >= SHOWN) & (verdicts[:, 2] >= 0)]),
    }


def _count(label: Found, k: int) -> int:
    assert label.crowds is not None, "made of cells"
    return int(((label.classes == k) & ~label.crowds).sum())


def _curves(precision: Mapping[str, np.ndarray], order: Sequence[str]) -> list[dict[str, Any]]:
    """Of the classes in this order, up to the recall that each reaches."""
    found = []
    for name in order[:NAMES]:
        if name in precision:
            reached = np.flatnonzero(precision[name])
            points = [[i / 100, round(float(precision[name][i]), 4)] for i in reached]
            found.append({"name": name, "points": points})
    return found


def _reliability(verdicts: np.ndarray) -> dict[str, Any] | None:
    if not len(verdicts):
        return None
    bins = reliability(verdicts[:, 1].tolist(), (verdicts[:, 2] > 0).tolist())
    return {"bins": [asdict(b) for b in bins], "ece": calibration_error(bins), "from": SHOWN}


def confused(said: Sequence[Entries], true: Sequence[Entries], classes: Sequence[str]) -> dict[str, Any]:
    """Which class was taken for which, of the boxes that people are shown."""
    pairs = [pair for row in zip(said, true) for pair in pairs_of(*row)]
    return asdict(confusion([t for t, _ in pairs], [s for _, s in pairs], [*classes, NOTHING]))


def pairs_of(said: Entries, true: Entries) -> list[tuple[str, str]]:
    """Of one picture, each thing's true name and the name that was said, `NOTHING` where there is no such box.

    Boxes that overlap by half are of one thing: first those of one name, the surest first, then the others. What is
    said in a crowd of its name is left out.
    """
    sure = [entry for entry in said if entry["score"] >= SHOWN]
    single = [entry for entry in true if not entry.get("iscrowd")]
    pairs, left, free = [], list(range(len(sure))), set(range(len(single)))
    shares = _shares(sure, single)
    for wants_same in (True, False):
        for place in list(left):
            name = sure[place]["label"]
            fits = [j for j in free if shares[place, j] >= HALF and (single[j]["label"] == name or not wants_same)]
            if fits:
                best = max(fits, key=lambda j: shares[place, j])
                free.remove(best)
                left.remove(place)
                pairs.append((single[best]["label"], name))
    crowds = [entry for entry in true if entry.get("iscrowd")]
    pairs += [(NOTHING, sure[place]["label"]) for place in left if not _is_within(sure[place], crowds)]
    return pairs + [(single[j]["label"], NOTHING) for j in sorted(free)]


def _shares(first: Entries, second: Entries) -> np.ndarray:
    """`[m, n]`: overlap of every pair."""
    boxes = (as_found(entries, ()).boxes for entries in (first, second))
    return overlap(*boxes).numpy()


def _is_within(one: Mapping[str, Any], crowds: Entries) -> bool:
    """Whether half of a box lies in a crowd of its name."""
    left, top, right, bottom = one["box"]
    for crowd in (crowd for crowd in crowds if crowd["label"] == one["label"]):
        x1, y1, x2, y2 = crowd["box"]
        shared = max(0, min(right, x2) - max(left, x1)) * max(0, min(bottom, y2) - max(top, y1))
        if shared >= HALF * (right - left) * (bottom - top):
            return True
    return False
