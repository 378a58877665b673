"""Where the answers are right and wrong, and whether the model knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trunkline.report.figures import curves_figure, histogram_figure, scatter_figure, square_figure
from trunkline.report.files import RunFiles

SHOWN = 12  # reliability diagrams
MOST_CLASSES = 30  # that facts hold, the most frequent ones
FEW = 100  # answers under which nothing is said of them
PLAIN = "#777777"  # of a class that no legend names
CURVES = 7  # in one figure
EXTRA = {"map50": "AP50", "map": "AP", "iou": "IoU"}  # scores that classes of some tasks have besides


def answers(run: RunFiles) -> dict[str, Any] | None:
    """Confusion, scatter and curves of each task that has them."""
    found = [_of_task(name, told) for name, told in run.tasks.items() if _has_figures(told)]
    opened = 6 if len(run.tasks) <= 2 * SHOWN else 2
    more = len(run.tasks) - len(found)
    if not found:
        return None
    rows = run.facts["quality"].get("rows", 0)
    looked_at = run.facts["quality"].get("looked_at", rows)  # runs of before looked at all
    some = {"rows": rows, "looked_at": looked_at if looked_at < rows else None}
    return {"tasks": found, "more": more, "split": run.judged, "opened": opened, **some}


def _has_figures(told: Mapping[str, Any]) -> bool:
    return any(told.get(key) for key in ("confusion", "classes", "scatter", "roc"))


def _of_task(name: str, told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "type": told["type"],
        "rows": told["rows"],
        "figures": [figure for figure in (*_numbers(name, told), *_curves(name, told)) if figure],
        "confusion": _confusion(told.get("confusion")),
        "classes": _classes(told),
        "extra": {key: word for key, word in EXTRA.items() if any(key in one for one in told.get("classes") or [])},
        "legend": _curve_legend(told),
        "has_more_classes": len(told.get("classes") or []) == MOST_CLASSES,
        "unit": told.get("unit", "rows"),
        "unseen": told.get("unseen"),
    }


def _classes(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The most frequent ones, with the harmonic mean of precision and recall."""
    found = []
    for one in told.get("classes") or []:
        p, r = one["precision"], one["recall"]
        f1 = None if r is None else 0.0 if not p or not r else 2 * p * r / (p + r)
        found.append({**one, "f1": f1})
    return found


def _confusion(confusion: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Counts, and each as a share of its row."""
    if confusion is None or len(confusion["classes"]) < 2:
        return None
    shares = [[count / max(sum(row), 1) for count in row] for row in confusion["counts"]]
    return {**confusion, "shares": shares}


def _numbers(name: str, told: Mapping[str, Any]) -> list[Any]:
    if not told.get("scatter"):
        return []
    residuals = told["residuals"]
    return [
        scatter_figure(told["scatter"], label=f"Predicted against true {name}", x_label="true", y_label="predicted"),
        histogram_figure(
            residuals["edges"],
            residuals["counts"],
            label="Predicted − true",
            unit="predicted − true",
            width=300,
            height=150,
        ),
    ]


def _curves(name: str, told: Mapping[str, Any]) -> list[Any]:
    found = []
    if told.get("roc"):
        found.append(
            square_figure(
                told["roc"],
                label=f"ROC curve of {name}",
                x_label="false alarms",
                y_label="found (ROC)",
                reference=[(0, 0), (1, 1)],
            )
        )
    if told.get("precision_recall"):
        share = told["share"]
        found.append(
            square_figure(
                told["precision_recall"],
                label=f"Precision and recall of {name}",
                x_label="recall",
                y_label="precision",
                reference=[(0, share), (1, share)],
            )
        )
    if told.get("curves"):
        colours = dict(told.get("legend", []))
        drawn = [(one["name"], colours.get(one["name"], PLAIN), one["points"]) for one in told["curves"][:CURVES]]
        found.append(
            curves_figure(
                drawn,
                label=f"Precision and recall of {name}",
                x_label="recall",
                y_label="precision, half overlapping",
            )
        )
    return found


def _curve_legend(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and colours of the curves that are drawn."""
    colours = dict(told.get("legend", []))
    return [(one["name"], colours.get(one["name"], PLAIN)) for one in (told.get("curves") or [])[:CURVES]]


def _of_scores(told: Mapping[str, Any]) -> dict[str, Any]:
    """Scores of boxes, as probabilities are told that nothing was fitted to."""
    found = told["reliability"]
    return {"bins": found["bins"], "ece_before": None, "ece_after": found["ece"], "temperature": None, "skipped": None}


def calibration(run: RunFiles) -> dict[str, Any] | None:
    """Confidence against accuracy."""
    scores = {name: _of_scores(told) for name, told in run.tasks.items() if told.get("reliability")}
    measured = {**run.facts["calibration"].get("tasks", {}), **scores}
    yes_or_no = {name for name, told in run.tasks.items() if told["type"] in ("binary", "labels")}
    found = [
        {
            "name": name,
            "figure": square_figure(
                [(b["confidence"], b["accuracy"]) for b in measured[name]["bins"]],
                label=f"Reliability of {name}",
                x_label="said: chance of a yes" if name in yes_or_no else "said: confidence",
                y_label="was a yes" if name in yes_or_no else "was right",
                reference=[(0, 0), (1, 1)],
                weights=[b["count"] for b in measured[name]["bins"]],
            ),
            "before": measured[name]["ece_before"],
            "after": measured[name]["ece_after"],
            "temperature": measured[name]["temperature"],
            "skipped": measured[name]["skipped"],
            "words": _in_words(measured[name]["bins"], is_yes_or_no=name in yes_or_no),
        }
        for name in run.tasks
        if name in measured
    ]
    if not found:
        return None
    return {
        "tasks": found[:SHOWN],
        "more": [(one["name"], one["after"]) for one in found[SHOWN:]],
        "split": run.judged,
        "has_yes_or_no": not yes_or_no.isdisjoint(measured),
        "scored": [name for name in run.tasks if name in scores],
        "is_fitted_here": any(one.get("fitted_on_these_rows") for one in measured.values()),
    }


def _in_words(bins: list[Mapping[str, Any]], *, is_yes_or_no: bool) -> str:
    """Where confidence is that of a yes, a low one is a sure no."""
    total = sum(b["count"] for b in bins)
    if total < FEW:
        return f"{total} answers: too few to tell"
    gaps = [(b["count"] / total) * (b["confidence"] - b["accuracy"]) for b in bins]
    if sum(map(abs, gaps)) < 0.04:
        return "about as sure as it should be"
    turned = [-gap if is_yes_or_no and b["confidence"] < 0.5 else gap for gap, b in zip(gaps, bins)]
    if abs(sum(turned)) < 0.02:
        return "now too sure, now not sure enough"
    return "too sure of itself" if sum(turned) > 0 else "not sure enough: right more often than it says"
