"""A trained network with its preprocessing: rows in, plain values out."""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trunkline.contexts import Context, TimeContext, WordsContext
from trunkline.data import Draw, Table, read_table
from trunkline.model import Network
from trunkline.model.evaluation import Evaluation, TaskScores, outputs_of
from trunkline.schema import HeadUnit, Preprocessing, RowBatches, unseen_labels
from trunkline.showing import Attended
from trunkline.tasks import Task
from trunkline.tasks.calibration import Judgement
from trunkline.tasks.contract import Target
from trunkline.types import Span, State

Prediction = dict[str, Any]  # by task name; None where the task's input is absent


@dataclass(frozen=True)
class Reading:
    """What was read of a row for a text about it.

    Attributes:
        attended: the words of the text, and their weights on the tokens of the view.
        spans: whose tokens lie where in the view.
        mask: `[S]`, which of them the row has.
        contexts: by input, of those that the row has.
    """

    attended: Attended
    spans: tuple[Span, ...]
    mask: Tensor
    contexts: Mapping[str, Context | None]


class Predictor:
    """Predict and evaluate with a trained network.

    Args:
        network: trained; it is put into evaluation mode.
        batch_size: rows at a time.
    """

    def __init__(self, network: Network, *, batch_size: int = 256) -> None:
        self.network = network.eval()
        self.batch_size = batch_size

    @property
    def preprocessing(self) -> Preprocessing:
        """The fitted states."""
        return self.network.preprocessing

    def predict(
        self,
        rows: Table | str | Path | Sequence[Mapping[str, Any]],
        numbers: Sequence[int] | None = None,
        *,
        tasks: Collection[str] | None = None,
    ) -> list[Prediction]:
        """Decoded predictions, one for each row and in their order; `None` where a task has nothing to go by: the input
        that it is bound to is absent, or all that it was learned from.

        Args:
            rows: a table, its path, or dicts. Any input may be absent in any row, but not all; target columns are
                not needed and not looked at.
            numbers: predict only these rows of the table.
            tasks: only these; all by default.

        Where rows have more of a text or a sound than the network reads, a warning tells how many.

        Raises:
            DataError: a row has none of the inputs, or a cell cannot be read.
        """
        table = rows if isinstance(rows, Table) else read_table(rows)
        wanted = range(len(table)) if numbers is None else numbers
        said, cut = self.answers(table, wanted, tasks)
        self.warn_cut(cut, len(wanted), stacklevel=3)
        return said

    def answers(
        self, source: Table | RowBatches, rows: Sequence[int], tasks: Collection[str] | None = None
    ) -> tuple[list[Prediction], dict[str, int]]:
        """The same of these rows of a table; and by input, how many of them were not read to their end."""
        numbers = np.asarray(rows, dtype=np.int64)
        batches = (
            source
            if isinstance(source, RowBatches)
            else RowBatches(self.preprocessing, source, with_targets=False, rows=numbers)
        )
        order = self._by_length(batches, rows)
        said: list[Prediction] = [{}] * len(order)
        cut: Counter[str] = Counter()
        places = iter(order)
        for batch in self._batches(batches, [rows[place] for place in order]):
            for answers in self._predict(batch, tasks):
                said[next(places)] = answers
            cut += _cut_of(batch)
        return said, cut

    def warn_cut(self, cut: Mapping[str, int], rows: int, *, stacklevel: int) -> None:
        """Tell of how many rows an input was not read to its end."""
        for name in (name for name, count in cut.items() if count):
            modality = self.preprocessing.schema.inputs[name].modality
            option = modality.cut_by
            most = None if option is None else vars(modality)[option]
            told = "the network reads" if most is None else f"{option}={most:g}"
            warnings.warn(
                f"inputs.{name}: {cut[name]} of {rows} rows have more than {told}; the rest is not read",
                stacklevel=stacklevel,
            )

    def evaluate(self, source: Table | RowBatches, rows: Sequence[int] | None = None) -> tuple[TaskScores, TaskScores]:
        """Scores on labelled rows, and those of a predictor that knows no input.

        Args:
            source: rows with target columns. Of a table, labels that name what training never saw are told in a
                warning, and how many rows have more of an input than the network reads.
            rows: which of them; all by default.

        Raises:
            DataError: a cell cannot be read.
        """
        rows = range(len(source)) if rows is None else rows
        ours, baseline, _ = self.evaluate_parts(source, rows, ())
        return ours, baseline

    def evaluate_parts(
        self, source: Table | RowBatches, rows: Sequence[int], partings: Sequence[Sequence[str | None]]
    ) -> tuple[TaskScores, TaskScores, list[dict[str, TaskScores]]]:
        """The same, and scores on parts of the rows beside; each row is predicted once.

        Args:
            source: likewise.
            rows: likewise.
            partings: ways to part the rows, each with the name of every row's part, or `None` for a row in none.

        Returns:
            Scores, those of a predictor that knows no input, and for each parting the scores by part.
        """
        ours, baseline = Evaluation(self.preprocessing), Evaluation(self.preprocessing.before_settling())
        numbers = np.asarray(rows, dtype=np.int64)
        batches = RowBatches(self.preprocessing, source, rows=numbers) if isinstance(source, Table) else source
        if isinstance(source, Table):
            for task, unseen in unseen_labels(self.preprocessing, source, rows).items():
                warnings.warn(unseen.tell(source.source, task), stacklevel=3)
        parts: list[dict[str, Evaluation]] = [{} for _ in partings]
        order = self._by_length(batches, rows)
        cut: Counter[str] = Counter()
        start = 0
        for batch, said in self._counted(batches, [rows[place] for place in order], ours, baseline):
            here = order[start : start + batch.size]
            start += batch.size
            cut += _cut_of(batch)
            for found, names in zip(parts, partings):
                own = [names[place] for place in here]
                for name in {name for name in own if name is not None}:
                    one = found.setdefault(name, Evaluation(self.preprocessing).to(self._device))
                    one.count(said, batch, torch.tensor([other == name for other in own], device=self._device))
        if isinstance(source, Table):
            self.warn_cut(cut, len(rows), stacklevel=3)
        return ours.compute(), baseline.compute(), [{n: e.compute() for n, e in found.items()} for found in parts]

    def count(self, batches: RowBatches, rows: Sequence[int], ours: Evaluation, baseline: Evaluation) -> None:
        """Show these rows, in their order, to an evaluation of the network, and to one that knows no input."""
        for _ in self._counted(batches, rows, ours, baseline):
            pass

    def _counted(
        self, batches: RowBatches, rows: Sequence[int], ours: Evaluation, baseline: Evaluation
    ) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Each batch, counted, and what was said of it."""
        ours.to(self._device), baseline.to(self._device)
        for batch in self._batches(batches, rows):
            with torch.inference_mode():
                said = outputs_of(self.network, self.network.share(batch), batch)
                ours.count(said, batch)
                baseline.update_baseline(batch)
            yield batch, said

    def settle(self, batches: RowBatches, rows: Sequence[int]) -> dict[str, dict[str, str]]:
        """After training: temperatures and thresholds from held-out rows, put into the states of their tasks.

        Args:
            batches: source of the rows; tasks without labels in it stay as they are.
            rows: held-out ones with which nothing was trained (the validation split).

        Returns:
            By task, what was not set and why.
        """
        skipped = {}
        states = self.preprocessing.states["tasks"]
        for unit, task, output, target in self._outputs(batches, rows, Task.after_training):
            for name, settled in zip(unit.tasks, task.after_training(output, target, self._states(unit))):
                states[name].update(settled.state)
                skipped[name] = dict(settled.skipped)
        return {name: why for name, why in skipped.items() if why}

    def judge(self, batches: RowBatches, rows: Sequence[int]) -> dict[str, tuple[Judgement, Judgement]]:
        """How sure each task was and how often right, without and with its temperature; only kinds that say how sure.

        Args:
            batches: source of the rows.
            rows: to be judged by.
        """
        judged = {}
        for unit, task, output, target in self._outputs(batches, rows, Task.judge):
            states = self._states(unit)
            plain = [{key: value for key, value in state.items() if key != "temperature"} for state in states]
            both = zip(unit.tasks, task.judge(output, target, plain), task.judge(output, target, states))
            judged.update({name: (before, after) for name, before, after in both if before and after})
        return judged

    def _outputs(
        self, batches: RowBatches, rows: Sequence[int], act: Any
    ) -> Iterator[tuple[HeadUnit, Task, Tensor, Target]]:
        """All outputs and targets of labelled rows, on the host, of the heads whose kind has this act of its own."""
        heads = self.preprocessing.heads
        own = [unit for unit in heads if getattr(type(self._task(unit)), act.__name__) is not act]
        parts: dict[str, list[tuple[Tensor, Target]]] = {unit.name: [] for unit in own}
        for batch in self._batches(batches, rows) if own else ():
            with torch.inference_mode():
                shared = self.network.share(batch)
                for unit, head in self.network.units():
                    if unit.name in parts and (part := batch.targets.get(unit.name)) is not None:
                        output = self.network.output(unit, head, shared, part, batch.present, batch.sources)
                        parts[unit.name].append((output.cpu(), {k: v.cpu() for k, v in part.values.items()}))
        for unit in own:
            if found := parts[unit.name]:
                output = torch.cat([output for output, _ in found])
                yield unit, self._task(unit), output, {k: torch.cat([t[k] for _, t in found]) for k in found[0][1]}

    def _task(self, unit: HeadUnit) -> Task:
        return self.preprocessing.schema.tasks[unit.name].task

    def _states(self, unit: HeadUnit) -> list[State]:
        return self.preprocessing.task_states(unit)

    def attend(self, batches: RowBatches, rows: Sequence[int], task: str, said: Sequence[str]) -> Iterator[Reading]:
        """What was read of each row for what is said of it; the network runs once more, on these rows alone.

        Args:
            batches: source of the rows.
            rows: that have the input which the task is bound to, if it is bound to one.
            task: one that `attends`.
            said: what it wrote, one text a row.
        """
        unit, head = next(pair for pair in self.network.units() if task in pair[0].tasks)
        texts = iter(said)
        for batch in self._batches(batches, rows):
            with torch.inference_mode():
                view = self.network.view(unit, self.network.share(batch), None, {})
                here = list(itertools.islice(texts, batch.size))
                found = self._task(unit).attend(head, view, here, self._states(unit))
            present, mask = batch.present.values.tolist(), view.mask.cpu()
            for row, attended in enumerate(found):
                there = [name for name, is_there in zip(batch.present.names, present[row]) if is_there]
                contexts = {name: batch.context[name][row] if name in batch.context else None for name in there}
                yield Reading(attended, view.spans, mask[row], contexts)

    @property
    def _device(self) -> torch.device:
        return self.network.missing.device

    def _by_length(self, batches: RowBatches, rows: Sequence[int]) -> list[int]:
        """Places of these rows, so that those with texts of about one length are in one batch.

        A batch is written until its longest text ends.
        """
        lengths = batches.lengths() if len(rows) > self.batch_size else None
        if lengths is None:
            return list(range(len(rows)))
        return np.argsort(lengths[np.asarray(rows)], kind="stable").tolist()

    def _batches(self, batches: RowBatches, rows: Sequence[int]) -> Iterator[Any]:
        for start in range(0, len(rows), self.batch_size):
            yield batches[Draw(tuple(rows[start : start + self.batch_size]), None)].to(self._device)

    def _predict(self, batch: Any, tasks: Collection[str] | None) -> list[Prediction]:
        predictions: list[Prediction] = [dict.fromkeys(self.preprocessing.schema.tasks) for _ in range(batch.size)]
        able = self.preprocessing.answerable(batch.present.on_host)
        wanted = self.preprocessing.schema.tasks if tasks is None else tasks
        with torch.inference_mode():
            outputs = self.network.predict(batch, [task for task in wanted if task not in able or able[task].any()])
        for unit in self.preprocessing.heads:
            if (said := outputs.get(unit.name)) is None:
                continue
            column = self.preprocessing.schema.tasks[unit.name]
            rows = list(range(batch.size)) if said.rows is None else said.rows.tolist()
            contexts = [None if column.of is None else batch.context[column.of][row] for row in rows]
            decoded = column.task.decode(said.output, self.preprocessing.task_states(unit), contexts)
            for task, values in zip(unit.tasks, decoded):
                for row, value in zip(rows, values):
                    if task in wanted and (task not in able or able[task][row]):
                        predictions[row][task] = value
        return predictions


def _cut_of(batch: Any) -> Counter[str]:
    """By input, how many of the rows were not read to its end."""
    return Counter({
        name: sum(c.is_cut for c in contexts if isinstance(c, WordsContext | TimeContext))
        for name, contexts in batch.context.items()
    })  # fmt: skip
