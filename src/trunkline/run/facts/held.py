"""How sure the scores are: outputs on held-out rows, and scores of resamples of them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
import torchmetrics
from torch import Tensor, nn

from trunkline.analysis import bootstrap
from trunkline.analysis.intervals import Scored
from trunkline.model.evaluation import Evaluation, meeting_others, rows_of
from trunkline.run.facts.subject import Subject, apart, shared_out
from trunkline.schema import HeadUnit, Preprocessing
from trunkline.tasks import Task
from trunkline.tasks.contract import Scores
from trunkline.types import State

ROWS, DENSE_ROWS = 10_000, 600  # rows whose outputs are kept: without, and with labels that are pixels or words
BLOCKS = 40  # of rows that are resampled together, for tasks whose outputs are no table
Pair = tuple[Sequence[State], Sequence[State]]


class Outputs(nn.Module):
    """In the place of a metric: keeps what it is shown, batch by batch."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[tuple[Any, dict[str, Tensor]]] = []

    def update(self, output: Any, target: dict[str, Tensor]) -> None:
        """One more batch."""
        self.parts.append((output, target))


def recording(preprocessing: Preprocessing) -> Evaluation:
    """An evaluation that keeps outputs and targets instead of scoring them."""
    evaluation = Evaluation(preprocessing)
    evaluation.metrics = nn.ModuleList(Outputs() for _ in preprocessing.heads)
    return evaluation


def intervals(subject: Subject) -> dict[str, dict[str, float]]:
    """By task `{low, high, better}` of its primary metric (see `Interval`); a task without one has no key."""
    states = subject.preprocessing
    rows = _kept_rows(subject).tolist()
    ours, theirs = recording(states), recording(states.before_settling())
    subject.predictor.count(subject.batches, rows, ours, theirs)
    found: dict[str, dict[str, float]] = {}
    for unit, said, guessed in zip(states.heads, ours.metrics, theirs.metrics):
        assert isinstance(said, Outputs) and isinstance(guessed, Outputs)
        tasks = [task for task in unit.tasks if task in subject.focus]
        if tasks and said.parts and states.schema.tasks[unit.name].task.is_one_pass:  # generation is slow to score
            found |= _of_unit(subject, unit, tasks, said, guessed)
    return found


def _kept_rows(subject: Subject) -> np.ndarray:
    """Few where outputs are large: of a task that is dense, and of all that meet it in some row."""
    states, rows = subject.preprocessing, subject.split.rows
    dense = {task for task in states.tasks if states.schema.tasks[task].task.reads != "row"}
    tasks = list(dict.fromkeys([*subject.focus, *dense]))
    groups = apart(subject.batches.labelled[:, states.places(tasks)][rows])
    is_dense = [any(tasks[place] in dense for place in own) for own, _ in groups]
    large = [own for (_, own), is_large in zip(groups, is_dense) if is_large]
    small = [own for (_, own), is_large in zip(groups, is_dense) if not is_large]
    return rows[np.sort(np.concatenate([shared_out(large, DENSE_ROWS), shared_out(small, ROWS)]))]


def _of_unit(
    subject: Subject, unit: HeadUnit, tasks: Sequence[str], said: Outputs, guessed: Outputs
) -> dict[str, dict[str, float]]:
    states = subject.preprocessing
    kind = states.schema.tasks[unit.name].task
    columns = [unit.tasks.index(task) for task in tasks]
    fitted = [states.task_states(unit)[column] for column in columns]
    plain = [kind.before_settling(state) for state in fitted]
    if kind.reads == "row":
        resampled: Any = OutputTable(kind, (fitted, plain), columns if len(unit.tasks) > 1 else None, said, guessed)
    else:
        resampled = _Blocks(kind, (fitted, plain), said, guessed)
    higher = [kind.primary not in kind.lower_is_better] * len(tasks)
    resamples = 200 if resampled.rows * len(tasks) < 50_000 else 100
    sure = bootstrap(resampled.score, resampled.rows, higher_is_better=higher, resamples=resamples)
    return {task: asdict(interval) for task, interval in zip(tasks, sure) if interval is not None}


class OutputTable:
    """Outputs `[n, G, …]` of a row head, resampled row by row. States: of what is said, and of what is guessed."""

    def __init__(
        self, kind: Task, states: Pair, columns: Sequence[int] | None, said: Outputs, guessed: Outputs
    ) -> None:
        self.kind, self.states = kind, states
        (self.output, self.target), (self.guess, _) = _joined(said, columns), _joined(guessed, columns)
        self.rows = len(next(iter(self.target.values())))

    def score(self, rows: np.ndarray) -> list[Scored]:
        index = torch.from_numpy(rows)
        target = rows_of(self.target, index)
        outputs = zip((self.output, self.guess), self.states)
        pair = [self._scores(rows_of(output, index), target, states) for output, states in outputs]
        return [(_primary(self.kind, a), _primary(self.kind, b)) for a, b in zip(*pair)]

    def _scores(self, output: Any, target: Any, states: Sequence[State]) -> list[Scores | None]:
        metric = _metric(self.kind, states)
        metric.update(output, target)
        return metric.compute()


class _Blocks:
    """Any other outputs: every `BLOCKS`-th row makes a block that is scored once and resampled as a whole."""

    def __init__(self, kind: Task, states: Pair, said: Outputs, guessed: Outputs) -> None:
        self.kind = kind
        self.pairs = list(zip(*(self._blocks(each, of) for each, of in zip((said, guessed), states)), strict=True))
        self.rows = len(self.pairs)

    def _blocks(self, outputs: Outputs, states: Sequence[State]) -> list[torchmetrics.Metric]:
        blocks: list[torchmetrics.Metric] = []
        number = 0
        for output, target in outputs.parts:
            for row in range(len(next(iter(target.values())))):
                if number < BLOCKS:
                    blocks.append(_metric(self.kind, states))
                here = torch.tensor([row])
                blocks[number % BLOCKS].update(rows_of(_on_host(output), here), rows_of(_on_host(target), here))
                number += 1
        return blocks

    def score(self, rows: np.ndarray) -> list[Scored]:
        first, *others = rows.tolist()
        merged = deepcopy(self.pairs[first])
        for block in others:
            for metric, part in zip(merged, self.pairs[block]):
                metric.merge_state(part)
        return [(_primary(self.kind, a), _primary(self.kind, b)) for a, b in zip(*(m.compute() for m in merged))]


def _metric(kind: Task, states: Sequence[Any]) -> torchmetrics.Metric:
    """Only the first process works out facts: the others are not there to meet."""
    return meeting_others(kind.metric(states), None)


def _primary(kind: Task, scores: Scores | None) -> float | None:
    return None if scores is None else scores[kind.primary]


def _joined(outputs: Outputs, columns: Sequence[int] | None) -> tuple[Any, dict[str, Tensor]]:
    """All batches in one, on the host; only some tasks of a stack."""
    parts = [(_on_host(output), _on_host(target)) for output, target in outputs.parts]
    output, target = _cat([o for o, _ in parts]), _cat([t for _, t in parts])
    if columns is not None:
        output, target = (
            {k: v[:, columns] for k, v in x.items()} if isinstance(x, dict) else x[:, columns] for x in (output, target)
        )
    return output, target


def _cat(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], dict):
        return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    return torch.cat(list(parts))


def _on_host(value: Any) -> Any:
    return {key: v.cpu() for key, v in value.items()} if isinstance(value, dict) else value.cpu()
