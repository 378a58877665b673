"""The data card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from trunkline.data import Split
from trunkline.run.facts.subject import ALL, Subject, sampled
from trunkline.schema import InputColumn, TaskColumn
from trunkline.tasks import Task
from trunkline.types import State

VALUES, FILES = 20_000, 200  # rows looked at: of plain cells, of cells that name files
CLASSES, BINS, PAIRS = 16, 24, 24
PIXELS = 200  # of a map


def data_facts(subject: Subject) -> dict[str, Any]:
    """Rows, presence, labels and what the training cells look like.

    Schema: `splits {name: rows}`; `inputs [{name, type, present {split: rows}, values}]`; `tasks [{name, type, of,
    names, labelled {split: rows}, values}]`, `names` the classes that training saw, or `null` of a kind without, with
    `values` one of `{kind: "classes", classes [[name, rows]], more, rest}` (further classes, and rows that have them),
    `{kind: "numbers" or "lengths", unit, edges, counts, mean, std, min, median, max}`, or `null`, and in each
    `looked_at`, of how many training rows it tells; `overlap {tasks, rows [[…]]}`, training rows that carry both
    labels, or `null` with many tasks.
    """
    splits = _splits(subject)
    schema, config = subject.preprocessing.schema, subject.plan.config
    present = {name: _counts(subject, split, "present") for name, split in splits.items()}
    labelled = {name: _counts(subject, split, "labelled") for name, split in splits.items()}
    inputs = [
        {
            "name": name,
            "type": config.inputs[name].type,
            "present": {split: counts[name] for split, counts in present.items()},
            "values": _summary(column, config.inputs[name].type, splits["train"]) if number < ALL else None,
        }
        for number, (name, column) in enumerate(schema.inputs.items())
    ]
    tasks = [
        {
            "name": name,
            "type": config.tasks[name].type,
            "of": column.of,
            "names": _names(column.task, subject.preprocessing.states["tasks"][name]),
            "labelled": {split: counts[name] for split, counts in labelled.items()},
            "values": _summary(column, config.tasks[name].type, splits["train"]) if name in subject.focus else None,
        }
        for name, column in schema.tasks.items()
    ]
    rows = {name: len(split) for name, split in splits.items()}
    return {"splits": rows, "inputs": inputs, "tasks": tasks, "overlap": _overlap(subject)}


def _splits(subject: Subject) -> dict[str, Split]:
    splits = subject.plan.splits
    named = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    return {name: split for name, split in named.items() if split is not None}


def _names(kind: Task, state: State) -> list[str] | None:
    return None if type(kind).names is Task.names else list(kind.known_names(state))


def _counts(subject: Subject, split: Split, what: str) -> dict[str, int]:
    names = subject.preprocessing.inputs if what == "present" else subject.preprocessing.tasks
    flags = getattr(subject.plan.source(split), what)[split.rows]
    return dict(zip(names, flags.sum(0).tolist()))


def _overlap(subject: Subject) -> dict[str, Any] | None:
    tasks, train = list(subject.preprocessing.schema.tasks), subject.plan.splits.train
    if not 2 <= len(tasks) <= PAIRS:
        return None
    flags = subject.plan.source(train).labelled[train.rows][:, subject.preprocessing.places(tasks)].astype(np.int64)
    return {"tasks": tasks, "rows": (flags.T @ flags).tolist()}


def _summary(column: InputColumn | TaskColumn, kind: str, split: Split) -> dict[str, Any] | None:
    reader = column.modality if isinstance(column, InputColumn) else column.task
    rows = sampled(split.rows, FILES if reader.reads_files else VALUES)
    found = summary([value for _, value in column.values(split.table, rows.tolist())], kind)
    return None if found is None else {**found, "looked_at": len(rows)}


def summary(values: Sequence[Any], kind: str) -> dict[str, Any] | None:
    """What some decoded cells of one column look like; `None` for kinds that have no short description."""
    first = next(iter(values), None)
    if kind == "boxes":
        return _classes(entry["label"] for value in values for entry in value)
    if kind == "text" and isinstance(first, str):
        return {"kind": "lengths", "unit": "words", **_histogram([len(value.split()) for value in values])}
    if isinstance(first, bool):
        return _classes("yes" if value else "no" for value in values)
    if isinstance(first, int | float):
        return {"kind": "numbers", "unit": "", **_histogram(values)}
    if isinstance(first, str):
        return _classes(values)
    if isinstance(first, list) and isinstance(next((v for value in values for v in value), ""), str):
        return _classes(name for value in values for name in value)
    if kind == "dense" and isinstance(first, np.ndarray) and first.shape[2] == 1:
        known = [value[np.isfinite(value)] for value in values]
        some = np.concatenate([column[sampled(np.arange(len(column)), PIXELS)] for column in known])
        return {"kind": "numbers", "unit": "", **_histogram(some.tolist())}
    if isinstance(first, np.ndarray) and first.ndim == 3:
        return {"kind": "lengths", "unit": "pixels, the longer side", **_histogram([max(v.shape[:2]) for v in values])}
    if hasattr(first, "samples") and hasattr(first, "rate"):
        return {"kind": "lengths", "unit": "seconds", **_histogram([value.samples / value.rate for value in values])}
    return None


def _classes(names: Iterable[str]) -> dict[str, Any]:
    counts = Counter(names)
    shown = counts.most_common(CLASSES)
    rest = counts.total() - sum(count for _, count in shown)
    return {
        "kind": "classes",
        "classes": [list(pair) for pair in shown],
        "more": len(counts) - len(shown),
        "rest": rest,
    }


def _histogram(values: Sequence[float]) -> Mapping[str, Any]:
    column = np.asarray(values, dtype=np.float64)
    low, high = np.quantile(column, [0.005, 0.995])
    inside = column[(column >= low) & (column <= high)]
    if (inside == inside.round()).all() and inside.max() - inside.min() < BINS:
        counts, edges = np.histogram(inside, bins=np.arange(inside.min() - 0.5, inside.max() + 1))
    else:
        counts, edges = np.histogram(inside, bins=BINS)
    return {
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "mean": float(column.mean()),
        "std": float(column.std()),
        "min": float(column.min()),
        "median": float(np.median(column)),
        "max": float(column.max()),
    }
