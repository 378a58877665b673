"""Which rows are put together with which, so that a batch shows several rows' pictures as one."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trunkline.modalities.contract import MOSAIC
from trunkline.schema.columns import Schema
from trunkline.schema.preprocessing import Preprocessing

FEW = 0.5  # of its labels, that a task is said to learn from


@dataclass(frozen=True)
class Mosaic:
    """What becomes of one row of a batch.

    Attributes:
        input: its place among all inputs.
        tasks: places of the tasks that the row keeps.
        rows: whose values are put together, its own among them.
    """

    input: int
    tasks: tuple[int, ...]
    rows: tuple[int, ...]

    def is_there(self, present: np.ndarray, labelled: np.ndarray) -> bool:
        """Whether all rows have what is put together; of `present [N, inputs]` and `labelled [N, tasks]`."""
        rows = list(self.rows)
        return bool(present[rows, self.input].all() and labelled[rows][:, list(self.tasks)].all())


class Mosaics:
    """Draws partners for rows of training batches.

    Args:
        preprocessing: fitted states.
        present: which row has which input, `[N, inputs]`.
        labelled: which row has a label for which task, `[N, tasks]`.
        pool: rows that partners are drawn from: those of training.
    """

    def __init__(
        self, preprocessing: Preprocessing, present: np.ndarray, labelled: np.ndarray, pool: np.ndarray
    ) -> None:
        self.present, self.labelled, self.pool = present.copy(), labelled.copy(), pool
        inputs, tasks = preprocessing.schema.inputs, preprocessing.schema.tasks
        self.shares = {
            place: share for place, n in enumerate(preprocessing.inputs) if (share := inputs[n].modality.mosaic) > 0
        }
        bound = [(j, tasks[name]) for j, name in enumerate(preprocessing.tasks)]
        self.bound = {
            place: [j for j, task in bound if task.of == preprocessing.inputs[place] and task.task.joins]
            for place in self.shares
        }
        self._partners: dict[tuple[int, tuple[int, ...]], np.ndarray] = {}

    def draw(
        self, rows: np.ndarray, present: np.ndarray, labelled: np.ndarray, rng: np.random.Generator
    ) -> dict[int, Mosaic]:
        """By place in the batch; a row that would keep no label is left as it is.

        Args:
            rows: of the batch, `[B]`.
            present: `[B, inputs]`, without what is left out.
            labelled: `[B, tasks]`, likewise.
            rng: where the draws come from.
        """
        found: dict[int, Mosaic] = {}
        for place, share in self.shares.items():
            for i in np.flatnonzero(present[:, place]).tolist():
                tasks = tuple(j for j in self.bound[place] if labelled[i, j])
                if rng.random() < share and tasks and i not in found:
                    partners = rng.choice(self._with(place, tasks), MOSAIC - 1)
                    found[i] = Mosaic(place, tasks, tuple(rng.permutation([rows[i], *partners]).tolist()))
        return found

    def _with(self, place: int, tasks: tuple[int, ...]) -> np.ndarray:
        """Rows of the pool that have an input and these labels."""
        if (place, tasks) not in self._partners:
            has = self.present[self.pool, place] & self.labelled[self.pool][:, list(tasks)].all(1)
            self._partners[place, tasks] = self.pool[has]
        return self._partners[place, tasks]


def kept_shares(schema: Schema) -> dict[str, float]:
    """Of each task the share of the labels that training rows keep, since a mosaic keeps those alone that it shows.

    A warning names the tasks that keep half of theirs or less.
    """
    shares = {name: column.modality.mosaic for name, column in schema.inputs.items()}
    kept = {
        name: math.prod(1 - share for of, share in shares.items() if not (of == column.of and column.task.joins))
        for name, column in schema.tasks.items()
    }
    if few := [f"{name} ({share:.0%})" for name, share in kept.items() if share <= FEW]:
        warnings.warn(f"mosaic: tasks of a whole row learn from the rows that show one picture alone, "
                      f"and these keep few of their labels: {', '.join(few)}", stacklevel=2)  # fmt: skip
    return kept


def keep_only(mosaics: Mapping[int, Mosaic], present: np.ndarray, labelled: np.ndarray) -> None:
    """Everything else of rows that become mosaics is absent: `present [B, inputs]`, `labelled [B, tasks]`, in place."""
    for i, mosaic in mosaics.items():
        present[i], labelled[i] = False, False
        present[i, mosaic.input] = True
        labelled[i, list(mosaic.tasks)] = True
