"""A trained network with its preprocessing: rows in, plain values out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trunkline.data import Draw, Table, read_table
from trunkline.model import Network
from trunkline.model.evaluation import Evaluation, TaskScores
from trunkline.schema import Preprocessing, RowBatches, unseen_labels

Prediction = dict[str, Any]  # by task name; None where the task's input is absent


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
        self, rows: Table | str | Path | Sequence[Mapping[str, Any]], numbers: Sequence[int] | None = None
    ) -> list[Prediction]:
        """Decoded predictions, one for each row and in their order.

        Args:
            rows: a table, its path, or dicts. Any input may be absent in any row, but not all; target columns are
                not needed and not looked at.
            numbers: predict only these rows of the table.

        Raises:
            DataError: a row has none of the inputs, or a cell cannot be read.
        """
        table = rows if isinstance(rows, Table) else read_table(rows)
        wanted = range(len(table)) if numbers is None else numbers
        batches = RowBatches(self.preprocessing, table, with_targets=False, rows=np.asarray(wanted, dtype=np.int64))
        return [p for batch in self._batches(batches, wanted) for p in self._predict(batch)]

    def evaluate(self, source: Table | RowBatches, rows: Sequence[int] | None = None) -> tuple[TaskScores, TaskScores]:
        """Scores on labelled rows, and those of a predictor that knows no input.

        Args:
            source: rows with target columns. Of a table, labels that name what training never saw are told in a
                warning.
            rows: which of them; all by default.

        Raises:
            DataError: a cell cannot be read.
        """
        ours, baseline = Evaluation(self.preprocessing), Evaluation(self.preprocessing)
        rows = range(len(source)) if rows is None else rows
        numbers = np.asarray(rows, dtype=np.int64)
        batches = RowBatches(self.preprocessing, source, rows=numbers) if isinstance(source, Table) else source
        if isinstance(source, Table):
            for task, unseen in unseen_labels(self.preprocessing, source, rows).items():
                warnings.warn(unseen.tell(source.source, task), stacklevel=2)
        self.count(batches, rows, ours, baseline)
        return ours.compute(), baseline.compute()

    def count(self, batches: RowBatches, rows: Sequence[int], ours: Evaluation, baseline: Evaluation) -> None:
        """Show these rows to an evaluation of the network, and to one of a predictor that knows no input."""
        ours.to(self._device), baseline.to(self._device)
        for batch in self._batches(batches, rows):
            with torch.inference_mode():
                ours.update(self.network, self.network.share(batch), batch)
                baseline.update_baseline(batch)

    @property
    def _device(self) -> torch.device:
        return self.network.missing.device

    def _batches(self, batches: RowBatches, rows: Sequence[int]) -> Iterator[Any]:
        for start in range(0, len(rows), self.batch_size):
            yield batches[Draw(tuple(rows[start : start + self.batch_size]), None)].to(self._device)

    def _predict(self, batch: Any) -> list[Prediction]:
        predictions: list[Prediction] = [dict.fromkeys(self.preprocessing.schema.tasks) for _ in range(batch.size)]
        with torch.inference_mode():
            outputs = self.network.predict(batch)
        for unit in self.preprocessing.heads:
            if (said := outputs.get(unit.name)) is None:
                continue
            column = self.preprocessing.schema.tasks[unit.name]
            rows = list(range(batch.size)) if said.rows is None else said.rows.tolist()
            contexts = [None if column.of is None else batch.context[column.of][row] for row in rows]
            decoded = column.task.decode(said.output, self.preprocessing.task_states(unit), contexts)
            for task, values in zip(unit.tasks, decoded):
                for row, value in zip(rows, values):
                    predictions[row][task] = value
        return predictions
