"""What the held-out rows show of a task that says boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trunkline.run.facts.figures import class_figures, ranked
from trunkline.tasks.box_metric import as_found, average_precisions, judge_boxes
from trunkline.tasks.boxes import SHOWN


def has_boxes(said: Sequence[list[Any]], true: Sequence[list[Any]]) -> bool:
    """Whether these lists are of boxes, as far as they hold anything."""
    return any(isinstance(entry, dict) and "box" in entry for its in (*said, *true) for entry in its)


def figures_of_boxes(said: Sequence[list[Any]], true: Sequence[list[Any]], classes: Sequence[str]) -> dict[str, Any]:
    """Of each class its true boxes, precision and recall of what people are shown, and average precisions.

    Args:
        said: decoded predictions, one list a row.
        true: labels, one list a row.
        classes: that training saw, in order.
    """
    found, labels = ([as_found(boxes, classes) for boxes in column] for column in (said, true))
    verdicts = judge_boxes(found, labels).numpy()
    rows = {k: sum(int(((label.classes == k) & ~label.crowds).sum()) for label in labels) for k in range(len(classes))}
    precisions = average_precisions(verdicts, {k: count for k, count in rows.items() if count})
    figures = []
    for k, name in enumerate(classes):
        shown = verdicts[(verdicts[:, 0] == k) & (verdicts[:, 1] >= SHOWN) & (verdicts[:, 2] >= 0)]
        each = precisions.get(k)
        scores = {} if each is None else {"map50": float(each[0]), "map": float(each.mean())}
        if rows[k] or len(shown):
            figures.append(class_figures(name, rows[k], len(shown), int(shown[:, 2].sum())) | scores)
    return {"classes": ranked(figures), "unit": "boxes"}
