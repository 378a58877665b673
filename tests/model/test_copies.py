"""Copies in a whole network: rows that lack what is copied or its answer, and words that training never saw."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from trunkline import fit, load
from trunkline.data import Draw, read_table
from trunkline.modalities import Number
from trunkline.modalities import Text as TextInput
from trunkline.model import Evaluation, MultiTaskModel, Network
from trunkline.predictor import Predictor
from trunkline.schema import Preprocessing, RowBatches, TaskColumn
from trunkline.tasks import Text

OPTIONS: dict[str, Any] = {"max_length": 6, "vocabulary": 300, "layers": 1, "heads": 2, "dropout": 0.0, "copy": True}


class TestAbsence:
    """Two tasks with one head copy from different inputs, of which rows lack any."""

    ROWS: ClassVar[list[dict[str, Any]]] = [
        {"x": "a cat", "z": "the dog", "y": "cat", "w": "dog"},
        {"x": "the dog barks", "y": "dog"},
        {"z": "cats", "w": "cats"},
        {"n": 1.0},
        {"x": "a dog sleeps", "z": "", "w": "a"},
    ]

    def network(self) -> tuple[Network, RowBatches]:
        table = read_table(self.ROWS)
        inputs = {"x": TextInput(layers=1), "z": TextInput(layers=1), "n": Number()}
        tasks = {
            "y": TaskColumn(Text(**OPTIONS), "y", of="x"),
            "w": TaskColumn(Text(**OPTIONS), "w", of="z", share="y"),
        }
        preprocessing = Preprocessing.fit(MultiTaskModel(inputs, tasks, width=16).schema(), table, range(len(table)))
        torch.manual_seed(0)
        network = MultiTaskModel(inputs, tasks, width=16).build(preprocessing).eval()
        return network, RowBatches(preprocessing, table)

    def test_a_batch_is_the_sum_of_its_rows(self) -> None:
        network, batches = self.network()
        whole = batches[Draw(tuple(range(5)), None)]
        sums, weights = network.losses(whole, network.share(whole))
        assert (weights > 0).all()
        parts = []
        for row in (0, 1, 2, 4):
            one = batches[Draw((row,), None)]
            parts.append(network.losses(one, network.share(one)))
        torch.testing.assert_close(sums, sum(part[0] for part in parts))
        torch.testing.assert_close(weights, sum(part[1] for part in parts))

    def test_a_row_says_the_same_beside_others(self) -> None:
        network, _ = self.network()
        rows = [{k: v for k, v in row.items() if k in ("x", "z", "n")} for row in self.ROWS]
        together = Predictor(network).predict(rows)
        assert together == [answer for row in rows for answer in Predictor(network).predict([row])]
        assert together[3] == {"y": None, "w": None}

    def test_rows_of_about_one_length_are_written_together_and_come_back_in_their_order(self) -> None:
        network, batches = self.network()
        rows = [{k: v for k, v in row.items() if k in ("x", "z", "n")} for row in self.ROWS]
        few, drawn = Predictor(network, batch_size=2), []
        batches_of = few._batches

        def recorded(source: RowBatches, numbers: Any) -> Any:
            lengths = source.lengths()
            assert lengths is not None
            drawn.append(lengths[numbers].tolist())
            return batches_of(source, numbers)

        few._batches = recorded  # type: ignore[method-assign]
        assert few.predict(rows) == Predictor(network).predict(rows)
        few.evaluate(batches)
        assert all(found == sorted(found) and found != found[::-1] for found in drawn) and len(drawn) == 2
        states = network.preprocessing
        few.count(batches, [1, 4, 0, 2], Evaluation(states), Evaluation(states.before_settling()))
        lengths = batches.lengths()
        assert lengths is not None and drawn[-1] == lengths[[1, 4, 0, 2]].tolist(), (
            "blocks of resampled rows are dealt out"
        )
        targets = RowBatches(network.preprocessing, batches.table, with_targets=False).lengths()
        assert targets is not None and targets.tolist() == [12, 13, 4, 0, 12], "no labels"
        assert few.predict(rows, [4, 0, 1]) == [few.predict(rows)[i] for i in (4, 0, 1)]
        lengths = batches.lengths()
        assert lengths is not None
        order = few._by_length(batches, range(5))
        assert sorted(order) == list(range(5)) and (np.diff(lengths[order]) >= 0).all() and order != list(range(5))
        scores, _ = few.evaluate(batches)
        whole, _ = Predictor(network).evaluate(batches)
        assert scores["y"] == pytest.approx(whole["y"]) and scores["w"] == pytest.approx(whole["w"])


def rows_of_names(number: int, seed: int) -> list[dict[str, str]]:
    """Sentences about a name of random letters; the task is to say the name."""
    rng = random.Random(seed)
    names = ["".join(rng.choices("bcdfghjklmnpqrstvw", k=6)) for _ in range(number)]
    return [{"x": f"{rng.choice(['please', 'now'])} open {name} at once", "y": f"open {name}"} for name in names]


def test_names_that_training_never_saw_are_said(tmp_path: Path) -> None:
    """Every test name is new. What a decoder that generates alone says of them is wrong."""
    shares = {}
    for copies in (True, False):
        torch.manual_seed(0)
        options = {**OPTIONS, "max_length": 12, "copy": copies}
        model = MultiTaskModel(
            inputs={"x": TextInput(layers=1, bigrams=0, ngrams=0)},
            tasks={"y": TaskColumn(Text(**options), "y", of="x")},
            width=32,
        )
        train, held = rows_of_names(400, 1), rows_of_names(60, 2)
        found = fit(
            model,
            train,
            validation=held[:20],
            test=held[20:],
            out=tmp_path / str(copies),
            steps=250,
            lr=5e-3,
            batch_size=64,
            validations=1,
        )
        shares[copies] = found.metrics["test"]["y"]["exact"]
        again = load(tmp_path / str(copies)).predict(held[20:])
        assert again == found.predictor.predict(held[20:])
    assert shares[True] > 0.5
    assert shares[False] < 0.1
