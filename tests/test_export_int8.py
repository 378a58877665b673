"""Weights of 8 bits: smaller, and what they cost is told by every task's own metric."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trunkline import ConfigError, MultiTaskModel, Predictor
from trunkline.data import read_table
from trunkline.export import Model, check_precision, export_onnx, quantize, tell_smaller
from trunkline.modalities import Number, Text
from trunkline.schema import Preprocessing, TaskColumn
from trunkline.tasks import Category
from trunkline.tasks import Number as NumberTask
from trunkline.tasks import Text as TextTask

torch.set_num_threads(1)


def test_it_is_smaller_and_judged_beside_the_full_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = ["red", "blue", "cat", "dog", "sleeps", "barks"]
    rows: list[dict[str, Any]] = [
        {"note": " ".join(rng.choice(words, 4)), "size": float(n)} | {"kind": "ab"[n % 2], "price": 2.0 * n}
        for n in range(20)
    ]
    table = read_table([{**row, "again": row["note"]} for row in rows])
    targets: dict[str, Any] = {
        "kind": Category(),
        "price": NumberTask(),
        "again": TaskColumn(TextTask(vocabulary=280, max_length=5), "again", of="note"),
    }
    model = MultiTaskModel({"note": Text(), "size": Number()}, targets, width=64)
    torch.manual_seed(0)
    network = model.build(Preprocessing.fit(model.schema(), table, range(20)))
    for name, parameter in network.heads.named_parameters():
        if parameter.ndim > 1 and not name.startswith("again"):  # heads that are not trained say nothing
            torch.nn.init.normal_(parameter, std=0.3)
    predictor = Predictor(network)
    written = export_onnx(predictor, table, tmp_path / "model.onnx", rows=4)
    smaller = quantize(predictor, written.path, table, range(10, 20))
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        *("model.int8.json", "model.int8.onnx", "model.int8.step0.onnx"),
        *("model.json", "model.onnx", "model.step0.onnx"),
    ]
    assert smaller.rows == 10 and smaller.megabytes[1] < 0.7 * smaller.megabytes[0]
    full, now = smaller.scores
    ours, _ = predictor.evaluate(table, range(10, 20))
    assert full["kind"] == pytest.approx(ours["kind"]) and full["price"] == pytest.approx(ours["price"], rel=1e-3)
    assert now["price"]["rmse"] == pytest.approx(full["price"]["rmse"], rel=0.2)
    assert now["price"]["rmse"] != full["price"]["rmse"], "it is another network"
    assert full["again"] == pytest.approx(ours["again"])
    both = [Model(path) for path in (written.path, smaller.path)]
    prepared = both[0].prepare([{name: row[name] for name in ("note", "size")} for row in rows])
    outputs = [model.run(prepared.arrays) for model in both]
    for name in ("kind", "price"):
        full_said, small_said = (output[name].ravel() for output in outputs)
        assert full_said.std() > 0.01, "it says something"
        assert np.corrcoef(full_said, small_said)[0, 1] > 0.99
    (said,) = Model(smaller.path).predict([{"note": "red cat"}])
    assert said.keys() == targets.keys()
    assert any(line.startswith("  price rmse: ") and " → " in line for line in tell_smaller(smaller))


def test_what_does_not_work_is_refused() -> None:
    check_precision(None), check_precision("int8")
    with pytest.raises(ConfigError, match="precision: 'fp16': ONNX Runtime has few kernels of half precision for CPUs"):
        check_precision("fp16")
    with pytest.raises(ConfigError, match="'int4': it is not known; give int8"):
        check_precision("int4")
