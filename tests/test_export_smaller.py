"""Smaller weights, of 8 bits or bfloat16: what they cost is told by every task's own metric."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trunkline import ConfigError, MultiTaskModel, Predictor
from trunkline.data import Draw, Table, read_table
from trunkline.export import Model, check_precision, export_onnx, quantize, tell_smaller
from trunkline.export.storing import CONSTANT, WEIGHT, as_bf16, store_bf16
from trunkline.modalities import Number, Text
from trunkline.model import Network
from trunkline.schema import Preprocessing, RowBatches, TaskColumn
from trunkline.tasks import Category
from trunkline.tasks import Number as NumberTask
from trunkline.tasks import Text as TextTask

torch.set_num_threads(1)


WORDS = ["red", "blue", "cat", "dog", "naps", "barks"]
Made = tuple[Predictor, Table, Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A network whose heads say something, its rows, and its full graph."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = [
        {"note": " ".join(rng.choice(WORDS, 4)), "size": float(n)} | {"kind": "ab"[n % 2], "price": 2.0 * n}
        for n in range(20)
    ]
    table = read_table([{**row, "again": row["note"].split()[0]} for row in rows])
    targets: dict[str, Any] = {
        "kind": Category(),
        "price": NumberTask(),
        "again": TaskColumn(TextTask(vocabulary=280, max_length=5), "again", of="note"),
    }
    model = MultiTaskModel({"note": Text(), "size": Number()}, targets, width=64)
    torch.manual_seed(0)
    network = model.build(Preprocessing.fit(model.schema(), table, range(20)))
    for name, parameter in network.heads.named_parameters():
        if parameter.ndim > 1 and name.startswith(("0.", "1.")):  # heads that are not trained say nothing
            torch.nn.init.normal_(parameter, std=0.3)
    learn_to_write(network, table)
    predictor = Predictor(network)
    path = tmp_path_factory.mktemp("made") / "model.onnx"
    return predictor, table, export_onnx(predictor, table, path, rows=4).path


def learn_to_write(network: Network, table: Table) -> None:
    """Until the first word of a note is said again, by the last head alone."""
    batch = RowBatches(network.preprocessing, table)[Draw(tuple(range(len(table))), None)]
    optimiser = torch.optim.Adam(network.heads[2].parameters(), lr=3e-3)
    network.train()
    for _ in range(80):
        sums, weights = network.losses(batch, network.share(batch))
        optimiser.zero_grad()
        (sums[2] / weights[2]).backward()
        optimiser.step()
    network.eval()


@pytest.mark.parametrize(("precision", "share", "near"), [("int8", 0.7, 0.2), ("bf16", 0.6, 0.02)])
def test_it_is_smaller_and_judged_beside_the_full_one(made: Made, precision: str, share: float, near: float) -> None:
    predictor, table, path = made
    smaller = quantize(predictor, path, table, range(10, 20), precision)
    names = {file.name for file in path.parent.iterdir()}
    assert names >= {f"model.{precision}{end}" for end in (".json", ".onnx", ".step0.onnx")}
    assert smaller.rows == 10 and smaller.megabytes[1] < share * smaller.megabytes[0]
    full, now = smaller.scores
    ours, _ = predictor.evaluate(table, range(10, 20))
    assert full["kind"] == pytest.approx(ours["kind"]) and full["price"] == pytest.approx(ours["price"], rel=1e-3)
    assert now["price"]["rmse"] == pytest.approx(full["price"]["rmse"], rel=near)
    assert now["price"]["rmse"] != full["price"]["rmse"], "it is another network"
    assert ours["again"] is not None and ours["again"]["exact"] >= 0.8, "it writes what it has learned"
    assert full["again"] == pytest.approx(ours["again"])
    assert now["again"] == pytest.approx(full["again"], rel=0.1)
    both = [Model(file) for file in (path, smaller.path)]
    assert both[1].about["outputs"]["again"]["writes"]["step"] == f"model.{precision}.step0.onnx"
    rows = [{name: table.cell(row, name) for name in ("note", "size")} for row in range(20)]
    words = [[row["again"] for row in one.predict(rows)] for one in (predictor, *both)]
    assert words[1] == words[0] and len(set(words[0])) >= 5
    assert np.mean(np.array(words[2]) == words[0]) >= 0.9
    prepared = both[0].prepare(rows)
    outputs = [model.run(prepared.arrays) for model in both]
    for name in ("kind", "price"):
        full_said, small_said = (output[name].ravel() for output in outputs)
        assert full_said.std() > 0.01, "it says something"
        assert np.corrcoef(full_said, small_said)[0, 1] > 0.99
    (said,) = both[1].predict([{"note": "red cat"}])
    assert said.keys() == {"kind", "price", "again"}
    told = list(tell_smaller(smaller))
    assert told[0].endswith(f"full → {precision}:")
    assert any(line.startswith("  price rmse: ") and " → " in line for line in told)


def test_a_sum_of_products_is_that_of_rounded_weights(tmp_path: Path) -> None:
    """What runs is float32, with each weight the nearest bfloat16; what is small, no weight, or too large for it, or no
    number, stays."""
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(0)
    weights, few = rng.normal(size=(64, 8)).astype(np.float32), rng.normal(size=8).astype(np.float32)
    weights[0, :2] = 1.00390625, 1.01171875  # between two of them: down to the even one, and up
    large = np.full((64, 8), np.finfo(np.float32).min)
    nothing = np.where(np.eye(64, 8) > 0, np.nan, weights).astype(np.float32)
    made, floats = onnx.helper.make_node, onnx.TensorProto.FLOAT
    nodes = [made("MatMul", ["x", "weights"], ["y"]), made("Add", ["y", "few"], ["said"])]
    nodes += [made("MatMul", ["x", name], [f"of {name}"]) for name in ("large", "nothing", "waves")]
    nodes += [made("Add", [name, name], [f"of {name}"]) for name in ("learned", "held against")]
    shapes = {name: onnx.helper.make_tensor_value_info(name, floats, size) for name, size in
              (("x", ["n", 64]), ("said", ["n", 8]))}  # fmt: skip
    values = {name: weights for name in ("weights", "waves", "learned", "held against")}
    values |= {"few": few, "large": large, "nothing": nothing}
    stored = [onnx.numpy_helper.from_array(value, name) for name, value in values.items()]
    for tensor in stored:
        tensor.doc_string = {"waves": CONSTANT, "learned": WEIGHT}.get(tensor.name, "")
    graph = onnx.helper.make_graph(nodes, "sum", [shapes["x"]], [shapes["said"]], stored)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "full.onnx")
    store_bf16(tmp_path / "full.onnx", tmp_path / "half.onnx")
    names = {tensor.name for tensor in onnx.load(tmp_path / "half.onnx").graph.initializer}
    assert names == {"weights.bf16", "learned.bf16", "waves", "held against", "few", "large", "nothing"}
    nearest = torch.from_numpy(weights).bfloat16().float().numpy()
    np.testing.assert_array_equal((as_bf16(weights).astype(np.uint32) << 16).view(np.float32), nearest)
    x = rng.normal(size=(3, 64)).astype(np.float32)
    (said,) = onnxruntime.InferenceSession(tmp_path / "half.onnx").run(None, {"x": x})
    np.testing.assert_allclose(said, x @ nearest + few, rtol=1e-5, atol=1e-5)


def test_numbers_are_held_against_what_they_were(tmp_path: Path) -> None:
    """A common value's token is found by the value itself, which is no weight."""
    rng = np.random.default_rng(0)
    rows = [{name: int(rng.integers(0, 150)) for name in "abcdef"} | {"y": float(n)} for n in range(4000)]
    table = read_table(rows)
    model = MultiTaskModel({name: Number() for name in "abcdef"}, {"y": NumberTask()}, width=16)
    torch.manual_seed(0)
    network = model.build(Preprocessing.fit(model.schema(), table, range(4000)))
    for name, parameter in network.named_parameters():
        if name.endswith("value_weight") or (name.startswith("heads") and parameter.ndim > 1):
            torch.nn.init.normal_(parameter, std=0.5)
    assert all(network.get_buffer(f"encoders.0.curves.{name}").isfinite().all() for name in ("low", "span", "values"))
    predictor = Predictor(network)
    written = export_onnx(predictor, table, tmp_path / "model.onnx")
    smaller = quantize(predictor, written.path, table, range(200), "bf16")
    full, half = (Model(path) for path in (written.path, smaller.path))
    arrays = full.prepare(rows[:200]).arrays
    said = [model.run(arrays)["y"].ravel() for model in (full, half)]
    assert np.corrcoef(*said)[0, 1] > 0.999 and said[0].std() > 0.1


def test_what_does_not_work_is_refused() -> None:
    check_precision(None), check_precision("int8"), check_precision("bf16")
    with pytest.raises(ConfigError, match="precision: 'fp16': ONNX Runtime has few kernels of half precision for CPUs"):
        check_precision("fp16")
    with pytest.raises(ConfigError, match="'int4': it is not known; give int8, bf16"):
        check_precision("int4")
