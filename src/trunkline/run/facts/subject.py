"""The run that facts are about."""

from __future__ import annotations

from bisect import bisect_right
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

    def some_rows(self, wanted: int, of: np.ndarray | None = None) -> np.ndarray:
        """At most this many of the split's rows, or of these; see `for_each_task`."""
        rows = self.split.rows if of is None else of
        return for_each_task(rows, self.batches.labelled[rows][:, self.preprocessing.places(self.focus)], wanted)

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


def for_each_task(rows: np.ndarray, labelled: np.ndarray, wanted: int) -> np.ndarray:
    """At most this many of the rows, in order; of rare tasks as many labelled ones as of others, as far as they go.

    Args:
        rows: to choose from.
        labelled: `[len(rows), tasks]`, which of them have a label.
        wanted: number of rows.
    """
    if len(rows) <= wanted:
        return rows

    def taken(each: int) -> np.ndarray:
        found = np.zeros(len(rows), dtype=bool)
        for column in labelled.T[np.argsort(labelled.sum(0), kind="stable")]:
            left = max(0, each - int((found & column).sum()))
            found[sampled(np.flatnonzero(column & ~found), left)] = True
        return found

    each = bisect_right(range(1, wanted + 1), wanted, key=lambda each: int(taken(each).sum()))
    found = taken(each)
    found[sampled(np.flatnonzero(~found), wanted - int(found.sum()))] = True
    return rows[found]


def table_name(columns: Sequence[str]) -> str:
    """What numbers and categories that one block encodes are called together."""
    return columns[0] if len(columns) == 1 else f"table ({len(columns)} columns)"
