"""The whole network of a run as one ONNX file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trunkline import ConfigError, DataError, MultiTaskModel, Predictor
from trunkline.data import Draw, Table, read_table
from trunkline.export import export_onnx
from trunkline.export.dense import dense_values, flatten
from trunkline.fusion import CATALOG as FUSION
from trunkline.modalities import Audio, Graph, Text
from trunkline.modalities import Number as NumberInput
from trunkline.schema import Preprocessing, RowBatches, TaskColumn
from trunkline.tasks import Binary, Tags, Transcript
from trunkline.tasks import Category as CategoryTask
from trunkline.tasks import Number as NumberTask
from trunkline.trunks import CATALOG as TRUNKS
from worlds import inputs, schema, tasks, world

EXPORTED = tuple(name for name in tasks() if name != "german")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return world(tmp_path_factory.mktemp("world"), 40)


@pytest.fixture(scope="module")
def preprocessing(table: Table) -> Preprocessing:
    return Preprocessing.fit(schema(), table, range(40))


def predictor(preprocessing: Preprocessing, trunk: str = "hard", fusion: str = "concat") -> Predictor:
    torch.manual_seed(0)
    model = MultiTaskModel(inputs(), tasks(), fusion=FUSION[fusion](), trunk=TRUNKS[trunk](), width=32)
    return Predictor(model.build(preprocessing))


@pytest.mark.parametrize(
    ("trunk", "fusion"),
    [
        ("mtan", "mean"),
        ("mmoe", "attention"),
        ("transformer", "gated"),
        ("hard", "low_rank"),
        ("hard", "tensor"),
        ("hard", "film"),
        ("hard", "co_attention"),
        ("hard", "bottleneck"),
        ("hard", "perceiver"),
    ],
)
def test_every_kind_of_input_and_task_but_generation(
    table: Table, preprocessing: Preprocessing, tmp_path: Path, trunk: str, fusion: str
) -> None:
    """All inputs, with holes; stacked tasks; tasks bound to an input. Other rows and lengths than the traced ones."""
    import onnxruntime

    trained = predictor(preprocessing, trunk, fusion)
    written = export_onnx(trained, table, tmp_path / "model.onnx", tasks=EXPORTED)
    assert set(written.differences) == {"kind", "loud", "price", "marks", "area", "height", "slots"}
    assert max(written.differences.values()) < 1e-4
    description = json.loads(written.path.with_suffix(".json").read_text())
    assert description["outputs"]["price"] == {"tasks": ["price", "weight"]}
    session = onnxruntime.InferenceSession(str(written.path))
    batches = RowBatches(preprocessing, table, with_targets=False)
    whole = np.flatnonzero(batches.present.all(1)).tolist()
    assert whole
    for rows in ((whole[-1],), (17, 3, 25, 38, 21, whole[0])):
        batch = batches[Draw(rows, None)]
        given = {"present": batch.present.values, **flatten(dense_values(batch))}
        said = session.run(["kind"], {k: v.numpy() for k, v in given.items()})[0]
        with torch.inference_mode():
            ours = trained.network.predict(batch)["kind"].output
        np.testing.assert_allclose(said, ours.numpy(), atol=1e-4)


@pytest.mark.parametrize("trunk", ["ple", "cross_stitch", "dselect_k", "film", "adapters", "lora", "padnet"])
def test_trunks_with_private_layers(trunk: str, tmp_path: Path) -> None:
    """Tasks that read rows and tasks that read words."""
    notes = ["a red cat", "so", "a cat", "red"] * 2
    rows = [{"note": n, "slots": " ".join("O" * len(n.split())), "size": len(n), "kind": n[0]} for n in notes]
    targets: dict[str, Any] = {
        "slots": TaskColumn(Tags(), "slots", of="note"),
        "size": NumberTask(),
        "kind": CategoryTask(),
    }
    model = MultiTaskModel({"note": Text()}, targets, trunk=TRUNKS[trunk](), width=32)
    torch.manual_seed(0)
    trained = Predictor(model.build(Preprocessing.fit(model.schema(), read_table(rows), range(8))))
    for parameter in trained.network.trunk.parameters():  # away from where tasks see alike
        torch.nn.init.normal_(parameter, std=0.2)
    written = export_onnx(trained, read_table(rows), tmp_path / "model.onnx")
    assert set(written.differences) == {"slots", "size", "kind"}
    assert max(written.differences.values()) < 1e-3


def test_unknown_task(table: Table, preprocessing: Preprocessing, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'kinds' is not a task of this run"):
        export_onnx(predictor(preprocessing), table, tmp_path / "model.onnx", tasks=["kinds"])


@pytest.mark.parametrize("modality", ["text", "spelt", "bag", "audio"])
def test_an_example_of_the_shortest_length(modality: str, tmp_path: Path) -> None:
    """One-word texts and one-frame sounds; longer ones go through the same file."""
    import onnxruntime

    if modality != "audio":
        cells: list[Any] = ["red", "green", "blue", "red", "green blue red"]
        columns: dict[str, Any] = {"given": Text(ngrams=32 if modality == "spelt" else None, bag=modality == "bag")}
    else:
        cells = [(np.random.default_rng(n).normal(size=n).astype(np.float32), 8000) for n in (9, 8, 7, 9, 2000)]
        columns = {"given": Audio(rate=8000)}
    rows = [{"given": cell, "kind": kind} for cell, kind in zip(cells, "abcab")]
    targets: dict[str, Any] = {"kind": CategoryTask()}
    model = MultiTaskModel(columns, targets, width=32)
    trained = Predictor(model.build(Preprocessing.fit(model.schema(), read_table(rows), range(5))))
    written = export_onnx(trained, read_table(rows[:4]), tmp_path / "model.onnx")
    assert written.differences["kind"] < 1e-4
    batch = RowBatches(trained.preprocessing, read_table(rows), with_targets=False)[Draw((4, 1), None)]
    given = {"present": batch.present.values, **flatten(dense_values(batch))}
    session = onnxruntime.InferenceSession(str(written.path))
    wanted = {node.name for node in session.get_inputs()}
    said = session.run(["kind"], {k: v.numpy() for k, v in given.items() if k in wanted})[0]
    with torch.inference_mode():
        ours = trained.network.predict(batch)["kind"].output
    np.testing.assert_allclose(said, ours.numpy(), atol=1e-4)


def test_a_crf_is_exported_with_its_chain(tmp_path: Path) -> None:
    rows = [{"note": note, "slots": tags} for note, tags in (("a red cat", "O B-k I-k"), ("so", "O"), ("a cat", "O O"))]
    model = MultiTaskModel({"note": Text()}, {"slots": TaskColumn(Tags(crf=True), "slots", of="note")}, width=32)
    trained = Predictor(model.build(Preprocessing.fit(model.schema(), read_table(rows), range(3))))
    written = export_onnx(trained, read_table(rows), tmp_path / "model.onnx")
    assert written.differences["slots"] < 1e-4
    form = json.loads(written.path.with_suffix(".json").read_text())["outputs"]["slots"]["form"]
    assert form.startswith("[rows, tokens + C + 2, C]")


def test_a_transcript_is_exported_with_what_its_slots_mean(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [{"sound": (rng.normal(size=n).astype(np.float32), 8000), "said": "ab"} for n in (4000, 900, 2500)]
    target = TaskColumn(Transcript(), "said", of="sound")
    model = MultiTaskModel({"sound": Audio(rate=8000)}, {"said": target}, width=32)
    trained = Predictor(model.build(Preprocessing.fit(model.schema(), read_table(rows), range(3))))
    written = export_onnx(trained, read_table(rows), tmp_path / "model.onnx")
    assert written.differences["said"] < 1e-3
    form = json.loads(written.path.with_suffix(".json").read_text())["outputs"]["said"]["form"]
    assert form.startswith("[rows, slots, C] log-probabilities")


@pytest.mark.parametrize("kind", ["gin", "gat", "gps"])
def test_graphs_are_exported_as_arrays_of_nodes_and_edges(kind: str, tmp_path: Path) -> None:
    """Tasks of the row and of each node; a row without a graph, and graphs of other sizes than those traced."""
    import onnxruntime

    def graph(nodes: int) -> dict[str, Any]:
        return {
            "nodes": [[float(i), "ab"[i % 2]] for i in range(nodes)],
            "edges": [[i, i + 1] for i in range(nodes - 1)],
            "edge_features": [[0.5 * i] for i in range(nodes - 1)],
        }

    rows: list[dict[str, Any]] = [
        {"net": graph(n), "dose": float(n), "good": n % 2, "parts": ["x", "y"] * (n // 2)} for n in (2, 4, 6, 4, 2)
    ]
    rows.append({"net": None, "dose": 1.0, "good": 1, "parts": None})
    model = MultiTaskModel(
        {"net": Graph(kind, virtual_node=True), "dose": NumberInput()},
        {"good": Binary(), "parts": TaskColumn(Tags(), "parts", of="net")},
        width=32,
    )
    table = read_table(rows)
    torch.manual_seed(0)
    trained = Predictor(model.build(Preprocessing.fit(model.schema(), table, range(6))))
    written = export_onnx(trained, table, tmp_path / "model.onnx")
    assert set(written.differences) == {"good", "parts"}
    assert max(written.differences.values()) < 1e-4
    others = read_table([{"net": graph(41), "dose": None}, {"net": graph(1), "dose": 2.0}, {"dose": 3.0}])
    batch = RowBatches(trained.preprocessing, others, with_targets=False)[Draw((0, 1, 2), None)]
    given = {"present": batch.present.values, **flatten(dense_values(batch))}
    session = onnxruntime.InferenceSession(str(written.path))
    wanted = {node.name for node in session.get_inputs()}
    said = session.run(["good"], {k: v.numpy() for k, v in given.items() if k in wanted})[0]
    with torch.inference_mode():
        ours = trained.network.predict(batch)["good"].output
    np.testing.assert_allclose(said, ours.numpy(), atol=1e-4)
    for name in ("ends", "edge_mask", "mask", "numbers"):  # whatever stands where a graph is absent
        value = given[f"net.{name}"].clone()
        value[2] = True if value.dtype == torch.bool else torch.nan if name == "numbers" else value.shape[1] + 10**6
        given[f"net.{name}"] = value
    again = session.run(["good"], {k: v.numpy() for k, v in given.items() if k in wanted})[0]
    np.testing.assert_array_equal(again, said)


def test_an_input_that_is_never_there(preprocessing: Preprocessing, tmp_path: Path) -> None:
    rows = read_table([{"note": "small red"}])
    with pytest.raises(DataError, match="input 'photo' is present in no row"):
        export_onnx(predictor(preprocessing), rows, tmp_path / "model.onnx", tasks=EXPORTED)
