"""What is known of the training rows, as far as settings follow from it."""

from __future__ import annotations

import numpy as np
import torch

from trunkline.config import Config
from trunkline.data import PIECE
from trunkline.defaults import Facts, Kind
from trunkline.machine import memory
from trunkline.schema import Preprocessing, RowBatches

BATCHES, BATCH = 50, 32  # that are drawn to see how much of them is padding
ENOUGH = 0.25  # of the rows drawn from several tables, from which on a kind of them settles settings


def facts_of(config: Config, source: RowBatches, rows: np.ndarray, labelled: np.ndarray, drawn: np.ndarray) -> Facts:
    """What settings are chosen by.

    Args:
        config: says whether there are several tables.
        source: of the training rows' batches.
        rows: the training rows.
        labelled: `[rows, tasks]`, which of them has which label.
        drawn: how often each is, `[rows]`.
    """
    preprocessing, table = source.preprocessing, source.table
    kind, share = _kind(preprocessing, labelled, source.present[rows], drawn, config)
    overlap = torch.zeros(labelled.shape[1], labelled.shape[1], dtype=torch.float64)
    for start in range(0, len(labelled), PIECE):
        flags = torch.from_numpy(labelled[start : start + PIECE]).double()
        overlap += flags.T @ flags
    return Facts(
        rows=int(labelled.any(1).sum()),
        inputs=len(preprocessing.inputs),
        encoders=sum(not unit.is_block for unit in preprocessing.encoders),
        can_join=all(column.task.can_combine for column in preprocessing.schema.tasks.values()),
        kind=kind,
        share=share,
        padding=_padding(source, rows),
        window=_window(table.nbytes, len(table), memory()),
        tasks=preprocessing.tasks,
        overlap=overlap,
        counts=overlap.diagonal().clone(),
    )


def _padding(source: RowBatches, rows: np.ndarray) -> float | None:
    """How much of batches of random rows would be padding, where a task writes texts or reads their words."""
    schema = source.preprocessing.schema
    texts = {name for name, column in schema.inputs.items() if column.modality.axis == "words"}
    reads = any(column.task.reads == "words" and column.of in texts for column in schema.tasks.values())
    writes = any(column.task.is_written for column in schema.tasks.values())
    lengths = source.lengths() if reads or writes else None
    if lengths is None or len(rows) == 0:
        return None
    drawn = lengths[np.random.default_rng(0).choice(rows, (BATCHES, BATCH))]  # [BATCHES, BATCH]
    return 1 - float(drawn.mean() / max(drawn.max(1).mean(), 1))


def _window(size: int, rows: int, there: int) -> int | None:
    """Rows of a table of so many bytes that fit into an eighth of the memory; `None` where all fit into half of it."""
    return None if size <= there // 2 else max(1, int(rows * (there // 8) / size))


def _kind(
    preprocessing: Preprocessing, labelled: np.ndarray, present: np.ndarray, drawn: np.ndarray, config: Config
) -> tuple[Kind, float]:
    """What settings go by, and the share of what is drawn that is so; of several tables a quarter is enough.

    Of a trained run that tasks are added to, by these: only they are learned.

    Args:
        preprocessing: of them.
        labelled: `[rows, tasks]`.
        present: `[rows, inputs]`.
        drawn: how often each row is, `[rows]`.
        config: says whether they are of several tables.
    """
    schema, total = preprocessing.schema, max(float(drawn.sum()), 1e-9)
    tasks = [schema.tasks[name].task for name in preprocessing.tasks]
    axes = [schema.inputs[name].modality.axis for name in preprocessing.inputs]
    own = [axes[unit.start] for unit in preprocessing.encoders if not unit.is_block]
    which: dict[Kind, np.ndarray] = {
        "places": _any(labelled, [task.reads == "pyramid" for task in tasks]),
        "sequences": _any(labelled, [task.is_sequence for task in tasks]),
        "graphs": _any(present, [axis == "nodes" for axis in axes]),
    }
    several = config.data is not None and bool(config.data.tables)
    for kind, rows in which.items():
        share = float(drawn[rows].sum()) / total
        if rows.any() and (share >= ENOUGH or not several):
            return kind, share
    return "plain" if not own else "texts" if set(own) == {"words"} else "others", 1.0


def _any(flags: np.ndarray, columns: list[bool]) -> np.ndarray:
    return np.asarray(flags[:, columns].any(1))
