"""An exported network answers raw rows where PyTorch is not: every kind of input and task, as `predict` does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trunkline import MultiTaskModel, Predictor
from trunkline.contexts import LETTERS
from trunkline.data import read_table
from trunkline.errors import DataError
from trunkline.export import Exported, Model, export_onnx
from trunkline.modalities import Audio, Category, Graph, Image, Number, Text, Vector
from trunkline.schema import Preprocessing, TaskColumn
from trunkline.tasks import Binary, Boxes, Dense, Labels, Mask, Ordinal, Speech, Tags, Transcript
from trunkline.tasks import Category as CategoryTask
from trunkline.tasks import Number as NumberTask
from trunkline.tasks import Text as TextTask
from worlds import write_world

torch.set_num_threads(1)
ROWS = 14
HIDDEN = ("torch", "transformers", "lightning", "torchvision", "torchmetrics", "torch_geometric", "pyarrow")

INPUTS: dict[str, Any] = {
    "photo": Image(size=(24, 32), aspect="letterbox", stem=4),
    "sound": Audio(rate=8000, channels=8, depth=1),
    "note": Text(),
    "size": Number(),
    "shop": Category(),
    "place": Vector(),
    "molecule": Graph(layers=1),
}
TASKS: dict[str, Any] = {
    "kind": CategoryTask(),
    "loud": Binary(),
    "price": NumberTask(),
    "weight": NumberTask(),
    "marks": Labels(),
    "stars": Ordinal(),
    "area": TaskColumn(Mask(), "area", of="photo"),
    "height": TaskColumn(Dense(scale=100, missing=0), "height", of="photo"),
    "things": TaskColumn(Boxes(), "things", of="photo"),
    "slots": TaskColumn(Tags(crf=True), "slots", of="note"),
    "german": TaskColumn(TextTask(vocabulary=280, max_length=6, copy=True, beams=2), "german", of="note"),
    "heard": TaskColumn(Transcript(beams=2), "note", of="sound"),
    "said": TaskColumn(Speech(8000, mels=20, channels=8, depth=1, vocoder_steps=4), "sound", of="note"),
}

ASKED = """
import json, sys
for name in {hidden}:
    sys.modules[name] = None
import numpy as np
from trunkline.export import Model

def plain(x):
    if isinstance(x, dict):
        return {{k: plain(v) for k, v in x.items()}}
    if isinstance(x, (list, tuple)):
        return [plain(v) for v in x]
    return x.tolist() if isinstance(x, np.ndarray) else x

rows = json.load(open({rows!r}))
json.dump(plain(Model({path!r}, batch_size=5).predict(rows)), open({out!r}, "w"))
"""


def made_rows(folder: Path) -> list[dict[str, Any]]:
    """Of a world with more kinds of cells, and holes; files by their whole paths."""
    rows = [json.loads(line) for line in write_world(folder, ROWS, holes=0.15).read_text().splitlines()]
    for number, row in enumerate(rows):
        for name in ("photo", "sound", "area", "height"):
            row[name] = None if row.get(name) is None else str(folder / row[name])
        row["place"] = None if number == 1 else [0.5 * number, -1.0]
        row["molecule"] = [None, "CCO", "c1ccccc1O"][number % 3]
        row["stars"] = 1 + number % 4
        row["things"] = [{"box": [2, 2, 10, 8 + number % 4], "label": "ab"[number % 2]}]
    return rows


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Predictor, list[dict[str, Any]], Exported]:
    folder = tmp_path_factory.mktemp("world")
    rows = made_rows(folder)
    # A transcript and a sound have columns of their own: no task may read what an input does.
    tasks = {
        **TASKS,
        "heard": TaskColumn(TASKS["heard"].task, "words", of="sound"),
        "said": TaskColumn(TASKS["said"].task, "spoken", of="note"),
    }
    full = [{**row, "words": row["note"], "spoken": row["sound"]} for row in rows]
    table = read_table(full)
    model = MultiTaskModel(INPUTS, tasks, width=32)
    states = Preprocessing.fit(model.schema(), table, range(ROWS))
    states.states["tasks"]["kind"]["temperature"] = 1.7
    states.states["tasks"]["loud"]["threshold"] = 0.4
    torch.manual_seed(0)
    network = model.build(states).eval()
    for parameter in network.heads.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    predictor = Predictor(network)
    return predictor, rows, export_onnx(predictor, table, folder / "model.onnx", rows=6)


def near(ours: Any, theirs: Any, where: str) -> None:
    """The same but for rounding."""
    if isinstance(ours, dict):
        assert list(ours) == list(theirs), where
        for key, value in ours.items():
            near(value, theirs[key], f"{where}.{key}")
    elif isinstance(ours, float):
        assert theirs == pytest.approx(ours, rel=2e-3, abs=2e-3), where
    else:
        assert ours == theirs, where


def test_what_is_written_says_how_near_it_is(world: Any) -> None:
    written: Exported = world[2]
    assert max(written.differences.values()) < 1e-3
    same, texts = written.texts["german"]
    assert same == texts > 0
    sounds = written.sounds["said"]
    assert sounds.same == sounds.count > 0 and sounds.mel < 1e-4 and sounds.wave < 1e-2
    assert written.prepared.pop("photo.pixels") <= 1.0, "a level of 255 at most"
    assert max(written.prepared.values()) == 0.0, "all else is the same code"


def test_it_answers_without_pytorch(world: Any, tmp_path: Path) -> None:
    predictor, rows, written = world
    asked = [{name: row[name] for name in INPUTS if row[name] is not None} for row in rows]
    (tmp_path / "rows.json").write_text(json.dumps(asked))
    told = {"rows": str(tmp_path / "rows.json"), "path": str(written.path), "out": str(tmp_path / "said.json")}
    code = ASKED.format(hidden=HIDDEN, **told)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
    theirs = json.loads((tmp_path / "said.json").read_text())
    ours = predictor.predict(asked)
    assert len(ours) == len(theirs) == ROWS
    for number, (one, other) in enumerate(zip(ours, theirs)):
        assert one.keys() == other.keys()
        for task in ("kind", "loud", "price", "weight", "marks", "stars", "slots", "german", "heard"):
            near(one[task], other[task], f"row {number}, {task}")
        for task in ("area", "height", "things", "said"):
            assert (one[task] is None) == (other[task] is None)
        if one["area"] is not None:
            assert np.mean(one["area"] == np.array(other["area"])) > 0.99
            np.testing.assert_allclose(one["height"], np.array(other["height"]), atol=1e-2, rtol=1e-2)
            scores = [[box["score"] for box in said["things"]] for said in (one, other)]
            np.testing.assert_allclose(scores[0], scores[1], atol=1e-2)
        if one["said"] is not None:
            wave, rate, samples = other["said"]
            assert (rate, samples) == (one["said"].rate, one["said"].samples)
            np.testing.assert_allclose(wave, one["said"].wave, atol=2e-2)


def test_a_word_of_100_000_letters_is_copied_from_as_far_as_a_token_goes(world: Any) -> None:
    predictor, _, written = world
    rows = [{"note": "open " + "ab" * 50_000 + " door"}, {"note": "open the door"}]
    model = Model(written.path)
    with pytest.warns(UserWarning, match="inputs.note: 1 of 2 rows have more than the network reads"):
        assert model.prepare(rows).arrays["copied.german.ids"].shape[1] < 3 * LETTERS
    with pytest.warns(UserWarning, match="inputs.note: 1 of 2 rows have more than"):
        theirs = model.predict(rows)
    with pytest.warns(UserWarning, match="inputs.note: 1 of 2 rows have more than"):
        ours = predictor.predict(rows)
    assert [row["german"] for row in ours] == [row["german"] for row in theirs]


def test_bad_rows_say_where(world: Any) -> None:
    model = Model(world[2].path)
    with pytest.raises(DataError, match="row 2: none of the inputs is present"):
        model.predict([{"size": 1.0}, {"else": 2}])
    with pytest.raises(DataError, match="rows, row 2, column 'size': 'big' is not a number"):
        model.predict([{"size": 1.0}, {"size": "big"}])
    with pytest.raises(DataError, match="rows, row 1, column 'photo': there is no file"):
        model.predict([{"photo": "nothing.png"}])


def test_a_row_with_one_input_alone(world: Any) -> None:
    """No row has a picture, a text or a sound: tasks that are bound to them say nothing."""
    predictor, _, written = world
    ours, theirs = predictor.predict([{"size": 3.0}]), Model(written.path).predict([{"size": 3.0}])
    near(ours[0]["kind"], theirs[0]["kind"], "kind")
    assert {task for task, said in theirs[0].items() if said is None} == {
        task for task, column in TASKS.items() if isinstance(column, TaskColumn)
    }
