"""How good the answers are, task by task: intervals, confusion, curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from trunkline.analysis import confusion, precision_recall_curve, roc_curve
from trunkline.cells import as_name
from trunkline.run.facts.boxes import figures_of_boxes, has_boxes
from trunkline.run.facts.figures import NAMES, class_figures, hexadecimal, ranked
from trunkline.run.facts.held import intervals
from trunkline.run.facts.subject import Subject, sampled
from trunkline.tasks import Task
from trunkline.types import State

POINTS, BINS = 500, 30  # of a scatter plot, of residuals
PIXELS = 200  # of a map


def quality_facts(subject: Subject) -> dict[str, Any]:
    """Of each task what the held-out rows show, from decoded predictions.

    Schema: `split` (`null`: no rows were held out, and nothing was judged); `rows`, and `looked_at`, how many of them
    the figures of the tasks are of (intervals have their own); `tasks {name: …}` of all tasks with
    `type`, `metric` (the primary one), `best`, `lower_is_better`, `rows` (labelled held-out ones); of those looked at
    closely also, each where it makes sense, `interval {low, high, better}`, `unseen {names [[label, rows]],
    consequence}` (labels that training never saw), `confusion {classes, counts, merged}`, `classes [{name, rows,
    precision, recall}]` (of boxes with `map50` and `map`, of pixels with `iou`), `curves [{name, points}]` and
    `reliability {bins, ece, from}` of boxes, `legend [[name, colour]]`, `scatter [[true, said]]`, `residuals {edges,
    counts}`, `roc [[x, y]]`, `precision_recall [[x, y]]`, `share` (of yes). How far probabilities can be believed is in
    `calibration.json`.
    """
    kinds, config = subject.preprocessing.schema.tasks, subject.plan.config.tasks
    labelled = _labelled(subject)
    tasks: dict[str, dict[str, Any]] = {
        name: {
            "type": config[name].type,
            "metric": column.task.primary,
            "best": column.task.best,
            "lower_is_better": column.task.primary in column.task.lower_is_better,
            "rows": labelled[name],
        }
        for name, column in kinds.items()
    }
    if subject.judged is None:
        return {"split": None, "rows": 0, "tasks": tasks}
    sure = intervals(subject)
    for name in subject.focus:
        said, true = _pairs(subject, name)
        tasks[name]["interval"] = sure.get(name)
        if true:
            kind, state = kinds[name].task, subject.preprocessing.states["tasks"][name]
            tasks[name] |= describe(said, true, state)
            if legend := _legend(kind, state, tasks[name].get("classes", [])):
                tasks[name]["legend"] = legend
            if unseen := unseen_in(true, kind, state):
                tasks[name]["unseen"] = {"names": unseen, "consequence": kind.unseen_names}
            if unknown := state.get("unknown"):
                tasks[name]["unknown"] = unknown
    return {"split": subject.judged, "rows": len(subject.split), "looked_at": len(subject.places), "tasks": tasks}


def _legend(kind: Task, state: State, classes: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Colours of the classes that figures tell of."""
    told = {one["name"] for one in classes}
    return [(name, hexadecimal(colour)) for name, colour in kind.legend(state) if name in told]


def _labelled(subject: Subject) -> dict[str, int]:
    flags = subject.batches.labelled[subject.split.rows]
    return dict(zip(subject.preprocessing.tasks, flags.sum(0).tolist()))


def _pairs(subject: Subject, task: str) -> tuple[list[Any], list[Any]]:
    """What was said and what is true, where both are there."""
    assert subject.judged is not None
    predictions, labels = subject.said[subject.judged], subject.labels(task)
    places = [place for place in labels if predictions[place][task] is not None]
    return [predictions[place][task] for place in places], [labels[place] for place in places]


def describe(said: Sequence[Any], true: Sequence[Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of one task, by what its decoded answers look like."""
    first = said[0]
    if isinstance(first, np.ndarray):
        return _maps(said, true) if first.dtype.kind == "f" else _pixels(said, true, state)
    if isinstance(first, list):
        if not has_boxes(said, true):
            return _tags(said, true)
        named = state.get("classes") or sorted({entry["label"] for cell in true for entry in cell})
        return figures_of_boxes(said, true, named)
    if not isinstance(first, dict):
        return {}
    values = [answer["value"] for answer in said]
    if "probability" in first:
        return _truths([answer["probability"] for answer in said], [bool(t) for t in true], values)
    chances = [answer["probabilities"] for answer in said] if "probabilities" in first else None
    if isinstance(values[0], list):
        return _labels(chances[0] if chances else {}, values, true)
    amounts = [answer.get("expected", answer["value"]) for answer in said]  # of a scale the mean, which moves smoothly
    found = {} if isinstance(true[0], str) else _numbers([float(v) for v in amounts], [float(t) for t in true])
    if chances is not None:
        names = [as_name(t) for t in true]
        found |= _classes([*chances[0]], [as_name(v) for v in values], names, state.get("unknown"))
    return found


def _classes(known: list[str], said: Sequence[str], true: Sequence[str], unknown: str | None) -> dict[str, Any]:
    """Where `unknown` may be said, it is the name of all that training never saw."""
    if unknown is not None:
        true = [name if name in known else unknown for name in true]
        known = [*known, *([] if unknown in known else [unknown])]
    return {"confusion": asdict(confusion(true, said, known)), "classes": per_class(said, true, known)}


def unseen_in(true: Sequence[Any], kind: Task, state: State) -> list[tuple[str, int]]:
    """The names in these labels that training never saw, the most frequent first, with how often each occurs."""
    known = set(kind.known_names(state))
    return Counter(name for value in true for name in kind.names(value) if name not in known).most_common(NAMES)


def per_class(said: Sequence[str], true: Sequence[str], known: Sequence[str]) -> list[dict[str, Any]]:
    """Rows, precision and recall of the classes, most frequent first; of one answer and one label a row."""
    hits = Counter(t for s, t in zip(said, true) if s == t)
    rows, given = Counter(true), Counter(said)
    return ranked(class_figures(c, rows[c], given[c], hits[c]) for c in {*known, *rows} if rows[c] or given[c])


def _truths(chances: Sequence[float], true: Sequence[bool], said: Sequence[bool]) -> dict[str, Any]:
    words = {False: "no", True: "yes"}
    return {
        "confusion": asdict(confusion([words[t] for t in true], [words[bool(s)] for s in said], ["no", "yes"])),
        "roc": roc_curve(chances, true),
        "precision_recall": precision_recall_curve(chances, true),
        "share": sum(true) / len(true),
    }


def _labels(known: Iterable[str], said: Sequence[list], true: Sequence[list]) -> dict[str, Any]:
    rows, given = Counter(c for t in true for c in t), Counter(c for s in said for c in s)
    hits = Counter(c for s, t in zip(said, true) for c in set(s) & set(t))
    return {"classes": ranked(class_figures(c, rows[c], given[c], hits[c]) for c in known)}


def _numbers(said: Sequence[float], true: Sequence[float]) -> dict[str, Any]:
    pairs = np.array([true, said]).T
    residuals = pairs[:, 1] - pairs[:, 0]
    low, high = np.quantile(residuals, [0.005, 0.995])
    counts, edges = np.histogram(residuals[(residuals >= low) & (residuals <= high)], bins=BINS)
    return {
        "scatter": pairs[sampled(np.arange(len(pairs)), POINTS)].tolist(),
        "residuals": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def _tags(said: Sequence[list[str]], true: Sequence[list[str]]) -> dict[str, Any]:
    pairs = [(s, t) for answer, label in zip(said, true) for s, t in zip(answer, label)]
    flat_said, flat_true = [s for s, _ in pairs], [t for _, t in pairs]
    known = sorted({*flat_true, *flat_said})  # also what is only said, wrongly
    return {
        "confusion": asdict(confusion(flat_true, flat_said, known)),
        "classes": per_class(flat_said, flat_true, known),
    }


def _pixels(said: Sequence[np.ndarray], true: Sequence[np.ndarray], state: Mapping[str, Any]) -> dict[str, Any]:
    names = dict(zip(state["indices"], state["names"]))
    counts: Counter[tuple[int, int]] = Counter()
    for answer, label in zip(said, true):
        codes, times = np.unique(label.astype(np.int64) * 2**16 + answer, return_counts=True)
        counts.update({(int(code) >> 16, int(code) & 0xFFFF): int(n) for code, n in zip(codes, times)})
    classes = []
    for index, name in names.items():
        given = sum(n for (t, s), n in counts.items() if s == index and t in names)
        real = sum(n for (t, s), n in counts.items() if t == index)
        hits = counts[index, index]
        iou = {"iou": hits / (real + given - hits)} if real + given else {}
        classes.append(class_figures(name, real, given, hits) | iou)
    return {"classes": ranked(classes), "unit": "pixels"}


def _maps(said: Sequence[np.ndarray], true: Sequence[np.ndarray]) -> dict[str, Any]:
    """Of maps of one number, some pixels of each row as numbers."""
    if said[0].ndim != 2:
        return {}
    pairs = [np.stack([s.ravel(), t.ravel()]) for s, t in zip(said, true)]
    known = [pair[:, np.isfinite(pair).all(0)] for pair in pairs]
    some = np.concatenate([pair[:, sampled(np.arange(pair.shape[1]), PIXELS)] for pair in known], axis=1)
    return _numbers(*some.tolist()) if some.size else {}
