"""Texts from an exported network: its tokens are PyTorch's, whatever the search."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from tiny_decoders import KINDS, save_decoders
from trunkline import ConfigError, MultiTaskModel, Predictor
from trunkline.data import Draw, Table, read_table
from trunkline.export import export_onnx
from trunkline.export.dense import dense_values, flatten
from trunkline.export.writer import Writer, allowed, drawn, log_softmax, until
from trunkline.modalities import Number, Text
from trunkline.schema import Preprocessing, RowBatches, TaskColumn
from trunkline.tasks import Category
from trunkline.tasks import Text as TextTask
from trunkline.tasks.text_head import TextHead

torch.set_num_threads(1)
WORDS = ["the", "a", "cat", "dog", "sleeps", "barks", "red", "blue", "house", "small", "big", "so", "it", "is", "here"]


def table(rows: int = 12, *, seed: int = 0, longest: int = 6) -> Table:
    """Sentences, and the same backwards; some rows have a number alone."""
    rng = np.random.default_rng(seed)
    found: list[dict[str, Any]] = []
    for row in range(rows):
        words = rng.choice(WORDS, int(rng.integers(1, longest + 1))).tolist()
        found.append(
            {
                "en": " ".join(words),
                "size": 1.0 * row,
                "back": " ".join(words[::-1]),
                "twice": f"{words[0]} {words[0]}",
                "kind": words[0][0],
            }
        )
    found[1]["en"] = None
    return read_table(found)


def trained(rows: Table, targets: dict[str, Any]) -> Predictor:
    """With weights that say something, and end after a while; a decoder from a folder has its own."""
    model = MultiTaskModel({"en": Text(), "size": Number()}, targets, width=32)
    states = Preprocessing.fit(model.schema(), rows, range(len(rows)))
    torch.manual_seed(0)
    network = model.build(states).eval()
    network.load_pretrained()
    heads = [head for head in network.heads if isinstance(head, TextHead)]
    own = [head for head in heads if head.weights is None]
    for name, parameter in network.named_parameters():
        if ".decoder." not in name or own:
            torch.nn.init.normal_(parameter, std=0.3)
    for head in own:
        for layer in (head.decoder.get_decoder().get_input_embeddings(), head.decoder.get_output_embeddings()):
            torch.nn.init.normal_(layer.weight)
        head.decoder.final_logits_bias[0, head.state["end"]] = 6.0 if head.pointer is None else 8.0
        if head.pointer is not None:
            torch.nn.init.zeros_(head.pointer.gate.weight)
            torch.nn.init.constant_(head.pointer.gate.bias, 1.0)  # a quarter is copied
    return Predictor(network)


def said_of(predictor: Predictor, path: Path, rows: Table) -> tuple[dict[str, np.ndarray], dict[str, list[list[int]]]]:
    """What ONNX Runtime says of these rows, and which ids PyTorch writes, of those that have a text."""
    batch = RowBatches(predictor.preprocessing, rows, with_targets=False)[Draw(tuple(range(len(rows))), None)]
    given = {"present": batch.present.values, **flatten(dense_values(batch)), **flatten(batch.sources, "copied.")}
    session = onnxruntime.InferenceSession(str(path))
    wanted = {node.name for node in session.get_inputs()}
    names = [node.name for node in session.get_outputs()]
    values = session.run(None, {name: value.numpy() for name, value in given.items() if name in wanted})
    with torch.inference_mode():
        plain = predictor.network.predict(batch)
    tasks = predictor.preprocessing.schema.tasks
    ids = {name: plain[name].output.tolist() for name, column in tasks.items() if isinstance(column.task, TextTask)}
    return dict(zip(names, values)), ids


def texts_of(path: Path, task: str, said: dict[str, np.ndarray], rows: list[int]) -> list[list[int]]:
    written = Writer(path, task)(said)
    return [written[row] for row in rows]


SEARCHES: list[dict[str, Any]] = [
    {},
    {"copy": True},
    {"copy": True, "beams": 4, "length_penalty": 0.6, "min_length": 2},
    {"beams": 3, "min_length": 4, "no_repeat": 2},
    {"sample": True},
    {"sample": True, "copy": True, "temperature": 0.7, "no_repeat": 2},
    {"sample": True, "temperature": 1.5, "top_p": 0.6, "min_length": 2},
]


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: "-".join(search) or "greedy")
def test_tokens_are_those_of_transformers(search: dict[str, Any], tmp_path: Path) -> None:
    """Other rows than those it was traced with, more and fewer; texts that end, and texts that are cut."""
    rows = table()
    task = TextTask(vocabulary=280, max_length=8, **search)
    targets = {"back": TaskColumn(task, "back", of="en"), "kind": Category()}
    predictor, path = trained(rows, targets), tmp_path / "model.onnx"
    end = predictor.preprocessing.states["tasks"]["back"]["end"]
    written = export_onnx(predictor, rows, path)
    assert written.texts == {"back": (11, 11)} and written.differences.keys() == {"kind"}
    texts: set[tuple[int, ...]] = set()
    for others in (table(40, seed=1, longest=9), table(2, seed=2, longest=30)):
        said, ids = said_of(predictor, path, others)
        here = [row for row in range(len(others)) if row != 1]
        found = texts_of(path, "back", said, here)
        assert found == [until(row, end) for row in ids["back"]]
        texts |= {tuple(text) for text in found}
    assert max(map(len, texts)) <= 8
    assert len(texts) > 3 and len({len(text) for text in texts}) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_decoders_that_others_have_trained(kind: str, tmp_path: Path) -> None:
    folders = save_decoders(tmp_path)
    rows = table()
    task = TextTask(decoder=folders[kind], max_length=7, beams=2)
    predictor, path = trained(rows, {"back": TaskColumn(task, "back", of="en")}), tmp_path / "model.onnx"
    assert export_onnx(predictor, rows, path).texts == {"back": (11, 11)}
    others = table(30, seed=1)
    said, ids = said_of(predictor, path, others)
    found = texts_of(path, "back", said, [row for row in range(30) if row != 1])
    assert found == [until(row, 1) for row in ids["back"]]


def test_tasks_that_share_a_decoder_share_its_file(tmp_path: Path) -> None:
    rows = table()
    targets = {
        "back": TaskColumn(TextTask(vocabulary=280, max_length=6), "back", of="en"),
        "again": TaskColumn(TextTask(vocabulary=280, max_length=6), "twice", of="en", share="back"),
    }
    predictor, path = trained(rows, targets), tmp_path / "model.onnx"
    written = export_onnx(predictor, rows, path)
    assert written.texts == {"back": (11, 11), "again": (11, 11)}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.json", "model.onnx", "model.step0.onnx"]
    outputs = json.loads((tmp_path / "model.json").read_text())["outputs"]
    told = [outputs[name]["writes"] for name in targets]
    assert {one["step"] for one in told} == {"model.step0.onnx"} and told[0]["prompt"] != told[1]["prompt"]
    said, _ = said_of(predictor, path, rows)
    assert Writer(path, "back")(said) != Writer(path, "again")(said)


def test_other_tasks_are_no_writers(tmp_path: Path) -> None:
    rows = table()
    predictor, path = trained(rows, {"kind": Category()}), tmp_path / "model.onnx"
    export_onnx(predictor, rows, path)
    with pytest.raises(ValueError, match="'kind' is no task that writes texts"):
        Writer(path, "kind")


def test_a_task_that_is_no_graph_says_so(tmp_path: Path) -> None:
    class Slow(Category):
        is_one_pass = False

    rows = table()
    predictor, path = trained(rows, {"back": TaskColumn(Slow(), "kind"), "kind": Category()}), tmp_path / "model.onnx"
    with pytest.raises(ConfigError, match=r"'back': how long an answer is comes out on the way(.|\n)*tasks=\['kind'\]"):
        export_onnx(predictor, rows, path)
    assert list(tmp_path.iterdir()) == []
    assert export_onnx(predictor, rows, path, tasks=["kind"]).differences.keys() == {"kind"}


def test_the_likeliest_share_is_drawn_from() -> None:
    """A token is drawn as often as the softmax of what `top_p` leaves says."""
    scores = np.log(np.array([[0.1, 0.5, 0.15, 0.25]], np.float32))
    for top_p, expected in ((1.0, [0.1, 0.5, 0.15, 0.25]), (0.7, [0, 2 / 3, 0, 1 / 3]), (1e-9, [0, 1, 0, 0])):
        how = {"prompt": [2], "draws": {"temperature": 1.0, "top_p": top_p}}
        tokens = [drawn(scores, np.array([length]), np.zeros((1, 0), np.int64), how).argmax() for length in range(3000)]
        np.testing.assert_allclose(np.bincount(tokens, minlength=4) / 3000, expected, atol=0.03)


def test_what_must_not_follow() -> None:
    how = {"never": [0], "end": 1, "min_new": 3, "no_repeat": 2}
    scores = np.zeros((2, 5), np.float32)
    texts = np.array([[2, 3, 2], [4, 4, 4]])
    found = np.isinf(allowed(scores, texts[:, :2], how))
    assert found.tolist() == [[True, True, False, False, False], [True, True, False, False, True]]
    found = np.isinf(allowed(scores, texts, how))
    assert found.tolist() == [[True, False, False, True, False], [True, False, False, False, True]]
    assert not np.isinf(scores).any()


def test_log_softmax_of_large_numbers() -> None:
    logits = np.array([[1000.0, 999.0, -1000.0]], np.float32)
    expected = torch.from_numpy(logits).log_softmax(-1).numpy()
    np.testing.assert_allclose(log_softmax(logits), expected, rtol=1e-5)


def test_the_writer_needs_no_pytorch() -> None:
    code = "import sys; sys.modules['torch'] = None; import trunkline.export.writer as w; assert w.np.pi > 3"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_names_that_meet(tmp_path: Path) -> None:
    """A task may be called as its input; what would be one name in the graph is refused before anything is written."""
    rows = table()
    task = TaskColumn(TextTask(vocabulary=280, max_length=5), "back", of="en")
    assert export_onnx(trained(rows, {"en": task}), rows, tmp_path / "model.onnx").texts == {"en": (11, 11)}
    targets = {"back": task, "read.back.mask": TaskColumn(Category(), "kind")}
    with pytest.raises(ConfigError, match=r"'read\.back\.mask' twice"):
        export_onnx(trained(rows, targets), rows, tmp_path / "other" / "model.onnx")
    with pytest.raises(ConfigError, match=r"call the graph \.onnx"):
        export_onnx(trained(rows, targets), rows, tmp_path / "other" / "model.json")
    assert not (tmp_path / "other").exists()


def test_nothing_to_copy_from(tmp_path: Path) -> None:
    """Rows without a word: the source has no token, and texts are generated."""
    rows = table()
    targets = {"back": TaskColumn(TextTask(vocabulary=280, max_length=6, copy=True), "back", of="en")}
    predictor, path = trained(rows, targets), tmp_path / "model.onnx"
    export_onnx(predictor, rows, path)
    said, ids = said_of(predictor, path, read_table([{"en": "", "size": 1.0}, {"en": " ", "size": 2.0}]))
    assert said["read.back.source"].shape == (2, 1)
    assert texts_of(path, "back", said, [0, 1]) == [until(row, 2) for row in ids["back"]]


def test_what_an_export_before_has_left_goes(tmp_path: Path) -> None:
    rows = table()
    targets = {"back": TaskColumn(TextTask(vocabulary=280, max_length=5), "back", of="en"), "kind": Category()}
    predictor = trained(rows, targets)
    export_onnx(predictor, rows, tmp_path / "model.onnx")
    others = ["model.stepwise.onnx", "model.step0.old.onnx", "model.v2.step0.onnx", "other.step0.onnx"]
    stale = ["model.int8.onnx", "model.int8.json", "model.int8.step0.onnx", "model.voice0.onnx"]
    for name in (*others, *stale):
        (tmp_path / name).write_text("of another model, or of the network before")
    export_onnx(predictor, rows, tmp_path / "model.onnx", tasks=["kind"])
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(["model.json", "model.onnx", *others])


@pytest.mark.parametrize(
    "options",
    [
        {"language": "de_DE", "beams": 3, "no_repeat": 2},
        {"language": "de_DE", "sample": True},
        {"freeze": True},
        {"freeze": True, "sample": True, "top_p": 0.9},
    ],
)
def test_prompts_of_two_tokens_and_marks_of_frozen_decoders(options: dict[str, Any], tmp_path: Path) -> None:
    rows = table()
    task = TextTask(decoder=save_decoders(tmp_path)["mbart"], max_length=7, **options)
    targets = {"back": TaskColumn(task, "back", of="en")}
    if "freeze" in options:
        targets["twice"] = TaskColumn(task, "twice", of="en", share="back")
    predictor, path = trained(rows, targets), tmp_path / "model.onnx"
    for head in predictor.network.heads:
        assert isinstance(head, TextHead)
        assert (head.mark is not None) == ("freeze" in options) and head.prompt.shape[1] == 1 + ("language" in options)
    assert set(export_onnx(predictor, rows, path).texts.values()) == {(11, 11)}
    said, ids = said_of(predictor, path, table(30, seed=1))
    for name in targets:
        found = texts_of(path, name, said, [row for row in range(30) if row != 1])
        assert found == [until(row, 1) for row in ids[name]]
