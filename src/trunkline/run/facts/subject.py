"""The run that facts are about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from trunkline.data import Split
from trunkline.model.evaluation import gain
from trunkline.plan import Plan
from trunkline.predictor import Prediction, Predictor
from trunkline.schema import Preprocessing, RowBatches

ALL, EACH_END = 40, 12  # of up to `ALL` tasks every one is looked at closely, of more the best and the worst


@dataclass(frozen=True)
class Subject:
    """A trained run with everything at hand.

    Attributes:
        folder: of the run.
        plan: how it was trained.
        predictor: the trained network.
        metrics: what `metrics.json` says.
        said: predictions of each held-out split, by place in it; of large splits those of some rows.
    """

    folder: Path
    plan: Plan
    predictor: Predictor
    metrics: Mapping[str, Any]
    said: Mapping[str, Mapping[int, Prediction]]

    @property
    def judged(self) -> str | None:
        """The split that the run is judged by; `None` where no rows were held out."""
        return next((name for name in ("test", "validation") if self.metrics[name] is not None), None)

    @cached_property
    def split(self) -> Split:
        """The rows it is judged by; the training rows where there are no others."""
        splits = self.plan.splits
        return {"test": splits.test, "validation": splits.validation}.get(self.judged or "") or splits.train

    @property
    def batches(self) -> RowBatches:
        """Where those rows come from."""
        return self.plan.source(self.split)

    def some_rows(self, wanted: int, split: Split | None = None) -> np.ndarray:
        """At most this many rows of a split, by default of that which is judged: see `shared_out`."""
        split = split or self.split
        if len(split.rows) <= wanted:
            return split.rows
        labelled = self.plan.source(split).labelled[:, self.preprocessing.places(self.focus)][split.rows]
        some = shared_out([rows for _, rows in apart(labelled)], wanted)
        others = sampled(np.flatnonzero(~labelled.any(1)), wanted - len(some))
        return split.rows[np.sort(np.concatenate([some, others]))]

    @property
    def preprocessing(self) -> Preprocessing:
        """The fitted states."""
        return self.predictor.preprocessing

    @cached_property
    def focus(self) -> tuple[str, ...]:
        """The tasks that are looked at closely: all, or of many those that gain most and least over guessing."""
        tasks = tuple(self.preprocessing.schema.tasks)
        if len(tasks) <= ALL or self.judged is None:
            return tasks[:ALL]
        scores, majority = self.metrics[self.judged], self.metrics["majority"]
        gains = {t: g for t in tasks if (g := gain(t, scores, majority, self.preprocessing)) is not None}
        ranked = sorted(gains, key=lambda task: -gains[task])
        wanted = {*ranked[:EACH_END], *ranked[-EACH_END:]}
        return tuple(task for task in tasks if task in wanted)

    @property
    def places(self) -> list[int]:
        """The places in the split that are looked at: those whose predictions are at hand."""
        said = self.said.get(self.judged or "")
        return list(range(len(self.split))) if said is None else sorted(said)

    @cached_property
    def _labels(self) -> dict[str, dict[int, Any]]:
        return {}

    def labels(self, task: str) -> dict[int, Any]:
        """True values by place in the split: of labelled rows that are looked at. They are read once."""
        if task not in self._labels:
            self._labels[task] = self._read_labels(task)
        return self._labels[task]

    def _read_labels(self, task: str) -> dict[int, Any]:
        column = self.preprocessing.schema.tasks[task]
        rows = self.split.rows[self.places]
        number = self.preprocessing.tasks.index(task)
        labelled = rows[self.batches.labelled[rows, number]]
        values = dict(column.values(self.split.table, labelled.tolist()))
        places = dict(zip(rows.tolist(), self.places))
        return {places[row]: value for row, value in values.items()}


def sampled(rows: np.ndarray, wanted: int) -> np.ndarray:
    """At most this many of the rows, evenly spaced."""
    return rows if len(rows) <= wanted else rows[np.linspace(0, len(rows) - 1, wanted).astype(int)]


def apart(labelled: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Groups of tasks that meet in no row, as those of tables with nothing in common: their places, and their rows.

    Rows may be drawn more often of one group than of another, and still say of each task what all would: within a
    group all are drawn alike. Rows of a rare task that is labelled beside a common one must not be: the common task
    would be judged by rows that are mostly the rare one's.

    Args:
        labelled: `[rows, tasks]`.
    """
    group = np.arange(labelled.shape[1])
    for task, meets in enumerate(labelled.T.astype(np.float32) @ labelled > 0):
        group[np.isin(group, group[meets])] = group[task]
    tasks = [np.flatnonzero(group == one) for one in dict.fromkeys(group.tolist())]
    return [(own, rows) for own in tasks if len(rows := np.flatnonzero(labelled[:, own].any(1)))]


def shared_out(groups: Sequence[np.ndarray], wanted: int) -> np.ndarray:
    """So many of the rows of all groups, in order: as many of each as of any other, as far as they go."""
    found, left = [np.zeros(0, dtype=np.int64)], wanted
    for number, rows in enumerate(sorted(groups, key=len)):
        found.append(sampled(rows, left // (len(groups) - number)))
        left -= len(found[-1])
    return np.sort(np.concatenate(found))


def table_name(columns: Sequence[str]) -> str:
    """What numbers and categories that one block encodes are called together."""
    return columns[0] if len(columns) == 1 else f"table ({len(columns)} columns)"
