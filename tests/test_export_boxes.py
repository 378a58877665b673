"""Boxes are chosen in the graph: who runs it without trunkline has them as trunkline says them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import trunkline
from trunkline import MultiTaskModel, Predictor
from trunkline.arrays.boxes import MOST, SaidBoxes, chosen, pick
from trunkline.data import read_table
from trunkline.export import Model, export_onnx, tell
from trunkline.export.choosing import choose, translations
from trunkline.export.parity import fellows
from trunkline.modalities import Image, Number
from trunkline.schema import Preprocessing, TaskColumn
from trunkline.tasks import Boxes
from trunkline.tasks import Number as NumberTask

torch.set_num_threads(1)
PARTS = ("boxes", "classes", "scores", "count")
FLOOR = 0.06  # in float32 a score that boxes have


def heads_say(rows: int, seed: int, points: int = 400, classes: int = 3) -> np.ndarray:
    """Boxes of a picture of 32 × 32: many on one another, some beyond its edge, some without an area; equal scores."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-4, 34, (rows, points, 2))
    sizes = rng.uniform(-1, 14, (rows, points, 2))
    rare = np.array([2, 20, 60])[np.arange(rows) % 3, None, None]  # in some rows less than can be said
    scores = np.round(rng.uniform(0, 1, (rows, points, classes)) ** rare * 50) / 50
    return np.concatenate([corners, corners + sizes, scores], -1).astype(np.float32)


class Chooser(nn.Module):
    def forward(self, output: Tensor, inside: Tensor, here: Tensor) -> dict[str, Tensor]:
        """The part that is to be held to NumPy's."""
        return choose(output, FLOOR, inside, here)


def crowds(points: int = 400, classes: int = 3) -> np.ndarray:
    """Two pictures: of 144 boxes apart, all of one class; of 334 boxes in one place, surer than all others."""
    output = np.zeros((2, points, 4 + classes), np.float32)
    places = np.stack(np.meshgrid(np.arange(0, 30, 2.5), np.arange(0, 30, 2.5)), -1).reshape(-1, 2)
    output[0, :144, :4] = np.concatenate([places, places + 2], -1)
    output[0, :144, 4] = np.linspace(0.9, 0.1, 144)
    output[1, :, :4], output[1, :, 4:] = [20, 20, 30, 30], 0.2
    output[1, :334, :4], output[1, :334, 4:] = [0, 0, 10, 10], 0.9  # 1002 scores: as many as are looked at
    return output


def given(rows: int, seed: int) -> dict[str, np.ndarray]:
    parts = np.tile(np.array([[0, 0, 32, 32], [0, 4, 32, 28.5]], np.float32), (rows, 1))[:rows]
    return {"output": heads_say(rows, seed), "inside": parts, "here": np.arange(rows) != 2}


def test_the_graph_chooses_as_numpy_does(tmp_path: Path) -> None:
    """To the last bit: classes, ties, edges of the picture; more and fewer rows than it was traced with."""
    first = {name: torch.from_numpy(value) for name, value in given(3, 0).items()}
    free = Dim("rows", min=1, max=2**16)
    torch.onnx.export(
        Chooser().eval(), (), str(tmp_path / "chooser.onnx"), kwargs=first, dynamo=True, external_data=False,
        verbose=False, dynamic_shapes={name: {0: free} for name in first}, output_names=list(PARTS),
        custom_translation_table=translations(),
    )  # fmt: skip
    session = onnxruntime.InferenceSession(tmp_path / "chooser.onnx")
    counts = set()
    for rows, seed in ((3, 0), (1, 1), (7, 2)):
        arrays = given(rows, seed)
        if rows == 7:
            arrays["output"][3:5] = crowds()
        said = dict(zip(PARTS, session.run(None, arrays), strict=True))
        assert said["boxes"].shape == (rows, MOST, 4) and said["count"].dtype == np.int64
        for row, found in enumerate(chosen(said)):
            if row == 2:  # it has no picture
                assert said["count"][row] == 0
                continue
            wanted = pick(arrays["output"][row], FLOOR, arrays["inside"][row])
            for its, own in zip(found, wanted, strict=True):
                np.testing.assert_array_equal(its, own)
            assert not any(said[name][row, len(wanted.scores) :].any() for name in PARTS[:3]), "zeros behind them"
            counts.add(len(wanted.scores))
    assert MOST in counts and min(counts) < MOST


def test_a_run_with_boxes_without_trunkline(tmp_path: Path) -> None:
    """Final boxes are outputs of the graph, which needs nothing but pixels; a row may lack the picture."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = [
        {
            "photo": rng.integers(0, 256, (20 + n, 24, 3)).astype(np.uint8),
            "size": n,
            "price": 2 * n,
            "things": [{"box": [2, 2, 10, 8 + n], "label": "ab"[n % 2]}],
        }
        for n in range(5)
    ]
    rows += [{"photo": None, "size": 9, "price": 1, "things": None}]
    tasks = {"things": TaskColumn(Boxes(floor=0.2), "things", of="photo"), "price": NumberTask()}
    model = MultiTaskModel({"photo": Image(size=(16, 24), stem=4), "size": Number()}, tasks, width=16)
    torch.manual_seed(0)
    network = model.build(Preprocessing.fit(model.schema(), read_table(rows), range(6))).eval()
    for name, parameter in network.heads.named_parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.3)
        elif name.endswith("names.bias"):
            nn.init.zeros_(parameter)  # that of a head that is not trained is almost a no
    predictor = Predictor(network)
    written = export_onnx(predictor, read_table(rows), tmp_path / "model.onnx")
    found = written.boxes["things"]
    assert found.same == found.count > 5 and found.more == 0 and found.edge < 1e-3 and found.score < 1e-4
    assert any(
        line.startswith(f"  things: {found.same} of {found.count} boxes are PyTorch's") for line in tell(written)
    )

    graph = written.path.read_bytes()
    assert b"/network.heads" in graph, "whose layer a node is"
    assert b"stack_trace" not in graph and str(Path(trunkline.__file__).parent).encode() not in graph, "no paths"

    exported = Model(written.path)
    assert "inside.things" not in exported.about["inputs"], "the whole is picture in every row"
    named = exported.about["outputs"]["things"]["chooses"]
    assert named == {name: f"things.{name}" for name in PARTS}
    asked = [{name: row[name] for name in ("photo", "size") if row[name] is not None} for row in rows]
    session = onnxruntime.InferenceSession(written.path)
    wanted = {node.name for node in session.get_inputs()}
    arrays = {name: value for name, value in exported.prepare(asked).arrays.items() if name in wanted}
    count, boxes = session.run(["things.count", "things.boxes"], arrays)
    ours, theirs = predictor.predict(asked), exported.predict(asked)
    assert count.tolist() == [len(one["things"] or ()) for one in ours] and count[5] == 0 and not boxes[5].any()
    for one, other in zip(ours[:5], theirs[:5]):
        assert [box["label"] for box in one["things"]] == [box["label"] for box in other["things"]]
        for its, own in zip(one["things"], other["things"]):
            assert own["box"] == pytest.approx(its["box"], abs=0.2)  # pictures are scaled, by a level of 255 apart
    assert ours[5]["things"] is theirs[5]["things"] is None


def test_boxes_that_are_the_same() -> None:
    def said(*boxes: tuple[float, int]) -> SaidBoxes:
        lefts, classes = np.array([left for left, _ in boxes]), np.array([k for _, k in boxes], np.int64)
        edges = np.stack([lefts, lefts * 0, lefts + 5, lefts * 0 + 5], -1).reshape(-1, 4)
        return SaidBoxes(edges, classes, np.ones(len(boxes)))

    assert fellows(said((0.0, 0), (0.4, 0), (9.0, 1)), said((9.1, 1), (0.3, 0), (0.0, 1))) == [(0, 1), (2, 0)]
    assert fellows(said((0.0, 0)), said()) == fellows(said(), said((0.0, 0))) == []
