"""What happens when inputs are missing: the held-out rows once more, as if they lacked some."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from trunkline.analysis import subsets
from trunkline.data import Split
from trunkline.model import TaskScores
from trunkline.model.evaluation import gain
from trunkline.run.facts.alone import alone_facts
from trunkline.run.facts.subject import Subject, table_name

ROWS, LEAST_ROWS, SECONDS = 1_000, 100, 15.0  # rows that are judged, fewer where that would take longer
GROUPS = 12  # encoders that are left out one by one
COLUMNS, SCREENED, BUNDLES, SCREEN_ROWS = 8, 32, 20, 128  # of a table: columns shown, columns tried one by one


def absence_facts(subject: Subject) -> dict[str, Any]:
    """Primary metrics with each group of inputs absent, alone, and in all subsets where there are few.

    A group is one input, or all numbers and categories together. A subset is judged on the rows that have any of its
    inputs, guessing on the same rows.

    Schema: `split`; `rows`; `groups [{name, inputs, more}]`; `metric {task: name}`; `subsets [{kept [group], rows,
    scores {task: value}, majority {task: value}}]`, the first of them with everything; `alone` (see `alone_facts`);
    `columns [{name, scores}]`, the single columns of a table whose absence costs most, each with the scores without it,
    `screened`, how many there are (many are tried in bundles first), and `screened_on`, the split that they were picked
    on.
    """
    groups = _groups(subject)
    has_several = len(groups) > 1
    rows = _affordable(subject, len(subsets(list(groups))) + 2 * len(groups) * has_several)
    found = []
    for subset in subsets(list(groups)):
        kept = [name for group in subset.kept for name in groups[group]]
        scores, majority, count = _judge(subject, kept, rows)
        found.append({"kept": list(subset.kept), "rows": count, "scores": scores, "majority": majority})
    names = [name for inputs in groups.values() if len(inputs) > 1 for name in inputs]
    screened_on, others = _screening(subject)
    worst = _worst_columns(subject, names, others)
    kinds = subject.preprocessing.schema.tasks
    return {
        "split": subject.judged or "train",
        "rows": len(rows),
        "groups": [{"name": g, "inputs": list(i[:8]), "more": max(0, len(i) - 8)} for g, i in groups.items()],
        "metric": {task: kinds[task].task.primary for task in subject.focus},
        "subsets": found,
        "alone": alone_facts(subject, groups, rows) if has_several else [],
        "columns": [{"name": name, "scores": _judge(subject, _without(subject, [name]), rows)[0]} for name in worst],
        "screened": len(names),
        "screened_on": screened_on,
    }


def _groups(subject: Subject) -> dict[str, tuple[str, ...]]:
    """By name, inputs that are left out together; single columns where a short table is all there is."""
    units = subject.preprocessing.encoders
    if len(units) == 1 and len(units[0].inputs) <= GROUPS:
        return {name: (name,) for name in units[0].inputs}
    groups = {}
    for unit in units if len(units) <= GROUPS else units[: GROUPS - 1]:
        groups[table_name(unit.inputs)] = unit.inputs
    if rest := tuple(name for unit in units[GROUPS - 1 :] for name in unit.inputs if len(units) > GROUPS):
        groups[f"{len(rest)} other inputs"] = rest
    return groups


def _affordable(subject: Subject, times: int) -> list[int]:
    """As many held-out rows as can be judged so many times."""
    few = subject.some_rows(LEAST_ROWS).tolist()
    start = time.perf_counter()
    _judge(subject, subject.preprocessing.inputs, few)
    seconds_a_row = (time.perf_counter() - start) / len(few)
    wanted = int(SECONDS / (times * max(seconds_a_row, 1e-9)))
    return subject.some_rows(min(ROWS, max(LEAST_ROWS, wanted))).tolist()


def _judge(subject: Subject, kept: Sequence[str], rows: Sequence[int]) -> tuple[dict, dict, int]:
    """Scores with only these inputs, those of guessing, and on how many rows."""
    hidden = subject.batches.hiding(set(subject.preprocessing.inputs) - set(kept))
    some = [row for row in rows if hidden.present[row].any()]
    scores, majority = subject.predictor.evaluate(hidden, some)
    return _primary(subject, scores), _primary(subject, majority), len(some)


def _primary(subject: Subject, scores: TaskScores) -> dict[str, float | None]:
    kinds = subject.preprocessing.schema.tasks
    return {task: (scores[task] or {}).get(kinds[task].task.primary) for task in subject.focus}


def _screening(subject: Subject) -> tuple[str, Split]:
    """Other rows than those that columns are reported on, where there are any: what looks worst is partly luck."""
    validation = subject.plan.splits.validation
    if subject.judged == "test" and validation is not None:
        return "validation", validation
    return subject.judged or "train", subject.split


def _worst_columns(subject: Subject, names: Sequence[str], split: Split) -> list[str]:
    """Those whose absence costs most over all tasks, on few rows."""

    def left(gone: Sequence[str]) -> float:
        return _mean_gain(subject, _without(subject, gone), split)

    if len(names) > SCREENED:  # first in bundles, then the columns of those bundles that cost most
        size = -(-len(names) // BUNDLES)
        bundles = sorted((names[i : i + size] for i in range(0, len(names), size)), key=left)
        names = [name for bundle in bundles[: max(1, SCREENED // size)] for name in bundle]
    return sorted(names, key=lambda name: left([name]))[:COLUMNS]


def _without(subject: Subject, gone: Sequence[str]) -> list[str]:
    return [name for name in subject.preprocessing.inputs if name not in gone]


def _mean_gain(subject: Subject, kept: Sequence[str], split: Split) -> float:
    hidden = subject.plan.source(split).hiding(set(subject.preprocessing.inputs) - set(kept))
    some = [row for row in subject.some_rows(SCREEN_ROWS, split).tolist() if hidden.present[row].any()]
    scores, majority = subject.predictor.evaluate(hidden, some)
    gains = [gain(task, scores, majority, subject.preprocessing) for task in scores]
    known = [g for g in gains if g is not None]
    return sum(known) / len(known) if known else 0.0
