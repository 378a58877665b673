"""How far an exported network is from the original."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trunkline.arrays.boxes import SaidBoxes, as_grid, chosen, pick, picture_part
from trunkline.arrays.subwords import NOWHERE
from trunkline.cells import as_file
from trunkline.data import Table
from trunkline.export.choosing import choices
from trunkline.export.dense import bound_rows
from trunkline.export.model import Model
from trunkline.export.writer import until
from trunkline.predictor import Predictor
from trunkline.schema import HeadUnit
from trunkline.tasks.contract import on_host
from trunkline.types import Batch


@dataclass(frozen=True)
class Sounds:
    """How far sounds are from PyTorch's.

    Attributes:
        same: sounds that are as long.
        count: of all.
        mel: the largest difference of their standardised log-mel frames.
        wave: of their samples, which lie between -1 and 1.
    """

    same: int
    count: int
    mel: float
    wave: float


@dataclass(frozen=True)
class FoundBoxes:
    """How far chosen boxes are from PyTorch's.

    Attributes:
        same: that both find: of one class, and no edge a pixel apart.
        count: that PyTorch finds.
        more: that only the graph finds.
        edge: the largest difference of an edge of those that both find, in pixels of what the encoder saw.
        score: of their scores.
    """

    same: int
    count: int
    more: int
    edge: float
    score: float


@dataclass
class Parity:
    """By head what `Exported` tells, and by input the largest difference of its prepared arrays."""

    differences: dict[str, float] = field(default_factory=dict)
    texts: dict[str, tuple[int, int]] = field(default_factory=dict)
    sounds: dict[str, Sounds] = field(default_factory=dict)
    boxes: dict[str, FoundBoxes] = field(default_factory=dict)
    prepared: dict[str, float] = field(default_factory=dict)


def compare(
    predictor: Predictor,
    table: Table,
    batch: Batch,
    heads: Sequence[HeadUnit],
    path: Path,
    inputs: Mapping[str, Tensor],
) -> Parity:
    """ONNX Runtime on the dense path and PyTorch on the gathered one; and cells prepared by NumPy and by trunkline.

    Args:
        predictor: the original.
        table: of the batch's rows.
        batch: that is asked.
        heads: that were exported.
        path: of the graph.
        inputs: of the graph, made from the batch.
    """
    model, found = Model(path), Parity()
    said = model.run({name: value.numpy() for name, value in inputs.items()})
    with torch.inference_mode():
        plain = predictor.network.predict(batch)
    every = np.arange(batch.size)
    for unit in heads:
        rows = bound_rows(batch, predictor.preprocessing.schema.tasks[unit.name].of).numpy()
        ours, told = on_host(plain[unit.name].output), model.about["outputs"][unit.name]
        if "writes" in told:
            theirs = model.output(unit.name, said, rows)
            same = [a == until(b, told["writes"]["end"]) for a, b in zip(theirs, ours.tolist(), strict=True)]
            found.texts[unit.name] = sum(same), len(same)
        elif "says" in told:
            states = predictor.preprocessing.task_states(unit)
            theirs = model.output(unit.name, said, rows)
            found.sounds[unit.name] = _sounds(predictor, unit, theirs, ours, states)
        else:
            found.differences[unit.name] = float(np.abs(said[unit.name][rows] - ours).max())
        if "chooses" in told:
            found.boxes[unit.name] = _boxes(predictor, unit, model.output(unit.name, said, every), ours, batch)
    if all(column.modality.cells is not None for column in predictor.preprocessing.schema.inputs.values()):
        found.prepared = _prepared(model, predictor, table, batch, inputs)
    return found


def _sounds(predictor: Predictor, unit: HeadUnit, theirs: Any, ours: Any, states: Sequence[Any]) -> Sounds:
    """Those that are as long are compared."""
    answers = predictor.preprocessing.schema.tasks[unit.name].task.answers
    assert answers is not None, "what is exported says so of itself"
    sizes = ours["sizes"].tolist()
    same = [row for row, size in enumerate(sizes) if size == theirs["sizes"][row]]
    mel = [float(np.abs(theirs["frames"][row, : sizes[row]] - ours["frames"][row, : sizes[row]]).max()) for row in same]
    contexts = [None] * len(sizes)
    pairs = list(zip(*(answers.decode(output, states, contexts)[0] for output in (theirs, ours))))
    waves = [float(np.abs(pairs[row][0].wave - pairs[row][1].wave).max(initial=0.0)) for row in same]
    return Sounds(len(same), len(sizes), max(mel, default=0.0), max(waves, default=0.0))


def _boxes(
    predictor: Predictor, unit: HeadUnit, theirs: Mapping[str, np.ndarray], ours: np.ndarray, batch: Batch
) -> FoundBoxes:
    """Boxes that the graph has chosen in all rows, and all that PyTorch says of those that have a picture."""
    how = choices(predictor.preprocessing, [unit])[unit.name]
    outputs = iter(ours)
    nothing = SaidBoxes(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32))
    same, count, said, edges, scores = 0, 0, 0, [0.0], [0.0]
    for context, its in zip(batch.context[how.of], chosen(theirs), strict=True):
        own = nothing if context is None else pick(next(outputs), how.floor, picture_part(as_grid(context)))
        pairs = fellows(own, its)
        same, count, said = same + len(pairs), count + len(own.scores), said + len(its.scores)
        edges += [float(np.abs(own.boxes[one] - its.boxes[other]).max()) for one, other in pairs]
        scores += [abs(float(own.scores[one] - its.scores[other])) for one, other in pairs]
    return FoundBoxes(same, count, said - same, max(edges), max(scores))


def fellows(ours: SaidBoxes, theirs: SaidBoxes) -> list[tuple[int, int]]:
    """Places of boxes of one picture that are the same in both: of one class, no edge a pixel apart, each once."""
    gaps = np.abs(ours.boxes[:, None] - theirs.boxes[None]).max(-1)
    gaps[ours.classes[:, None] != theirs.classes[None]] = np.inf
    pairs = []
    for one in range(len(gaps)):
        if gaps.shape[1] and gaps[one].min() < 1:
            pairs.append((one, int(gaps[one].argmin())))
            gaps[:, pairs[-1][1]] = np.inf
    return pairs


def _prepared(
    model: Model, predictor: Predictor, table: Table, batch: Batch, inputs: Mapping[str, Tensor]
) -> dict[str, float]:
    schema, found = predictor.preprocessing.schema, dict[str, float]()
    columns = {c.column: c.modality.reads_files for c in schema.inputs.values() if c.column in table.columns}
    rows = [
        {name: as_file(cell, table.base) if is_file else cell
         for name, is_file in columns.items() if (cell := table.cell(row, name)) is not None}
        for row in batch.rows
    ]  # fmt: skip
    own = model.prepare(rows).arrays
    for name, value in inputs.items():
        blank = NOWHERE if name.startswith("copied.") else 0
        found[name] = padded_gap(own[name], value.numpy(), blank)
    return found


def padded_gap(one: np.ndarray, other: np.ndarray, blank: int) -> float:
    """The largest difference of two arrays, of which the shorter one goes on with blanks.

    Example:
        >>> padded_gap(np.array([1, 2]), np.array([1, 2, 0]), 0), padded_gap(np.array([1, 2]), np.array([1, 2, 5]), 0)
        (0.0, 5.0)
    """
    shape = tuple(map(max, one.shape, other.shape))
    whole = [np.full(shape, blank, np.float64) for _ in range(2)]
    for full, own in zip(whole, (one, other)):
        full[tuple(map(slice, own.shape))] = own
    return float(np.abs(whole[0] - whole[1]).max(initial=0.0))
