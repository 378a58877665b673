"""Cells that cannot be read: all told at once, or left out, counted and listed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from trunkline.config import load_config
from trunkline.data import Draw, read_table, write_rows
from trunkline.errors import DataError
from trunkline.modalities import Image as ImageInput
from trunkline.modalities import Number, Text
from trunkline.plan import make_plan
from trunkline.run import evaluate, fit, predict
from trunkline.schema import Schema, find_faults, tell_faults
from trunkline.schema import faults as faults_room
from trunkline.sources import columns_of, predictable, read_splits
from trunkline.tasks import Number as NumberTask

CONFIG = """\
data: {table: rows.jsonl, split: split, on_bad_row: MODE}
inputs: {photo: {type: image, size: 16}, sound: {type: audio, rate: 8000}, size: number, shop: category}
tasks: {price: number, kind: category, hit: binary}
training: {steps: 3, batch_size: 8}
width: 16
"""
BAD = {
    3: ("size", "big", "'big' is not a number"),
    5: ("photo", "torn.png", "is not a picture"),
    8: ("photo", "none.png", "there is no file"),
    11: ("sound", "text.wav", "cannot be read as a sound"),
    14: ("price", "1e999", "is not finite"),
    17: ("hit", "perhaps", "is not a yes or no"),
    20: ("shop", ["a"], "one name is wanted here"),
    42: ("size", "large", "'large' is not a number"),
}
EMPTY = 23


def rows(folder: Path) -> list[dict]:
    table = []
    for i in range(60):
        Image.fromarray(np.full((8, 8, 3), 4 * i, np.uint8)).save(folder / f"{i}.png")
        soundfile.write(folder / f"{i}.wav", np.sin(np.arange(400) / (1 + i % 4)), 8000)
        table.append(
            {
                "photo": f"{i}.png",
                "sound": f"{i}.wav",
                "size": i / 7,
                "shop": "ab"[i % 2],
                "price": i * 1.5,
                "kind": "xyz"[i % 3],
                "hit": i % 2,
                "split": "train" if i < 40 else "val" if i < 50 else "test",
            }
        )
    (folder / "torn.png").write_bytes((folder / "7.png").read_bytes()[:40])
    (folder / "text.wav").write_text("no sound")
    for i, (column, cell, _) in BAD.items():
        table[i][column] = cell
    for column in ("photo", "sound", "size", "shop"):
        table[EMPTY][column] = None
    return table


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_rows(tmp_path / "rows.jsonl", rows(tmp_path))
    for mode in ("error", "skip"):
        (tmp_path / f"{mode}.yaml").write_text(CONFIG.replace("MODE", mode))
    return tmp_path


def plan_of(path: Path):
    config = load_config(path, columns=columns_of)
    return make_plan(config, read_splits(config))


def test_all_faults_are_told_at_once(folder: Path) -> None:
    with pytest.raises(DataError) as caught:
        plan_of(folder / "error.yaml")
    told = str(caught.value).split("\n")
    assert len(told) == len(BAD) + 2
    for line, (i, (column, _, reason)) in zip([t for t in told if f"row {EMPTY + 1}:" not in t], sorted(BAD.items())):
        assert line.startswith(f"rows.jsonl, row {i + 1}, column {column!r}: ")
        assert reason in line
    assert any(f"row {EMPTY + 1}: none of the inputs ('photo', 'sound', 'size', 'shop') is present" in t for t in told)
    assert told[-1] == "`on_bad_row: skip` under `data:` leaves such rows out"


def test_at_most_twenty_are_told(tmp_path: Path) -> None:
    columns = [f"x{n}" for n in range(10)]
    rows = [{name: f"?{i}" if i < 5 else i for name in columns} | {"y": i % 2} for i in range(100)]
    write_rows(tmp_path / "rows.csv", rows)
    (tmp_path / "c.yaml").write_text("data: {train: rows.csv}\ninputs: {x*: number}\ntasks: {y: binary}\n")
    with pytest.raises(DataError) as caught:
        plan_of(tmp_path / "c.yaml")
    assert str(caught.value).split("\n")[-2] == "… and 30 more"
    assert len(str(caught.value).split("\n")) == 22


def test_a_column_of_another_kind_is_told_once(tmp_path: Path) -> None:
    cells = [
        {"x": "NA" if i > 94 else f"word {i}" if i < 50 else i, "z": "?" if i == 3 else 1, "y": i % 2}
        for i in range(100)
    ]
    faults = find_faults(Schema({"x": Number(), "z": Number()}, {"y": NumberTask()}), read_table(cells))
    lines = [
        "rows, row 1, column 'x': 'word 0' is not a number; and 49 other cells of the column are not, in rows 2, 3, 4, "
        "5, …: if most are so, another `type` is meant",
        "rows, row 4, column 'z': '?' is not a number",
        """rows, 5 rows (96, 97, 98, 99, …), column 'x': 'NA' is not a number; `na: ["NA"]` makes them absent""",
    ]
    assert tell_faults(faults).split("\n") == lines
    assert tell_faults(faults, 1).split("\n") == [lines[0], "… and 6 more"]


def test_missing_files_are_told_one_by_one(tmp_path: Path) -> None:
    table = read_table([{"photo": str(tmp_path / f"{i}.png")} for i in range(30)])
    told = tell_faults(find_faults(Schema({"photo": ImageInput()}, {"y": NumberTask()}), table, with_targets=False))
    assert told.count("there is no file") == 20 and told.endswith("… and 10 more")


def test_equal_cells_are_told_once_with_what_makes_them_absent() -> None:
    cells = ["NA" if i < 53 else '"' if i in (60, 70) else "ten" if i == 80 else i for i in range(100)]
    table = read_table([{"x": cell, "z": 1} for cell in cells])
    schema = Schema({"x": Number(), "z": Number()}, {"y": NumberTask()})
    told = tell_faults(find_faults(schema, table, with_targets=False)).split("\n")
    assert told == [
        """rows, 53 rows (1, 2, 3, 4, …), column 'x': 'NA' is not a number; `na: ["NA"]` makes them absent""",
        r"""rows, 2 rows (61, 71), column 'x': '"' is not a number; `na: ["\""]` makes them absent""",
        "rows, row 81, column 'x': 'ten' is not a number",
    ]
    assert tell_faults(find_faults(schema, table, with_targets=False), 1).split("\n")[1:] == ["… and 3 more"]
    cured = read_table([{"x": cell, "z": 1} for cell in cells], na=["NA", '"'])
    assert len(find_faults(schema, cured, with_targets=False)) == 1


def test_skipped_rows_are_neither_learned_from_nor_judged(folder: Path) -> None:
    with pytest.warns(UserWarning, match=r"9 rows that cannot be used are left out:\nrows.jsonl, row 4, column 'size'"):
        plan = plan_of(folder / "skip.yaml")
    bad = {*BAD, EMPTY}
    assert plan.splits.validation is not None and plan.splits.test is not None
    assert plan.splits.train.rows.tolist() == [i for i in range(40) if i not in bad]
    assert plan.splits.validation.rows.tolist() == [i for i in range(40, 50) if i not in bad]
    assert [(f.row, f.column) for f in plan.skipped if f.column] == [(i, c) for i, (c, _, _) in sorted(BAD.items())]
    kept = [i / 7 for i in range(40) if i not in bad]
    assert plan.network.preprocessing.states["inputs"]["size"]["mean"] == pytest.approx(np.mean(kept))


@pytest.mark.parametrize("mode", ["error", "skip"])
def test_tags_that_are_not_one_a_word_are_found_before_training(tmp_path: Path, mode: str) -> None:
    table = [{"note": "a red cat", "slots": "O B-colour O"} for _ in range(80)]
    table[4]["slots"], table[70]["slots"] = "O B-colour", "O B-colour O O"
    table[7]["note"], table[9]["slots"] = None, None
    write_rows(tmp_path / "rows.jsonl", [{**row, "x": 1, "kind": "ab"[i % 2]} for i, row in enumerate(table)])
    config = f"data: {{train: rows.jsonl, on_bad_row: {mode}}}\ninputs: {{note: text, x: number}}\n"
    (tmp_path / "c.yaml").write_text(f"{config}tasks: {{kind: category, slots: {{type: tags, of: note}}}}\n")
    first = "rows.jsonl, row 5, column 'slots': 2 tags for 3 words; there must be one tag a word"
    second = "rows.jsonl, row 71, column 'slots': 4 tags for 3 words; there must be one tag a word"
    if mode == "error":
        with pytest.raises(DataError) as caught:
            plan_of(tmp_path / "c.yaml")
        assert str(caught.value).split("\n")[:2] == [first, second]
    else:
        with pytest.warns(UserWarning, match=f"2 rows that cannot be used are left out:\n{first}\n{second}"):
            plan = plan_of(tmp_path / "c.yaml")
        there = (plan.splits.train, plan.splits.validation, plan.splits.test)
        kept = sorted(row for part in there if part is not None for row in part.rows.tolist())
        assert kept == [row for row in range(80) if row not in (4, 70)]


def test_a_run_lists_them_and_predicts_every_row(folder: Path) -> None:
    with pytest.warns(UserWarning, match="9 rows that cannot be used"):
        run = fit(folder / "skip.yaml", out=folder / "run", show_progress=False)
    lines = [json.loads(line) for line in (run.folder / "skipped.jsonl").read_text().splitlines()]
    assert [line["row"] - 1 for line in lines] == sorted([*BAD, EMPTY])
    assert all(set(line) == {"source", "row", "column", "reason"} for line in lines)
    with pytest.warns(UserWarning, match="9 rows that cannot be used"):
        assert evaluate(run.folder)["scores"] == run.metrics["test"]
    with pytest.warns(UserWarning, match=r"6 cells cannot be read and count as absent, 1 row has no input"):
        said = predict(run.folder, folder / "rows.jsonl")
    assert len(said) == 60
    assert [i for i, row in enumerate(said) if row["price"] is None] == [EMPTY]
    assert said[EMPTY] == {"price": None, "kind": None, "hit": None}
    with pytest.warns(UserWarning, match=r"^1 row has no input and gets no prediction:\nrows, row 2: none of the"):
        predict(run.folder, [{"size": 1.0}, {"size": None}])
    table = read_table(folder / "rows.jsonl")
    without = [
        {n: c for n, c in table.row(i).items() if n != BAD[i][0]} if i in BAD else table.row(i) for i in (3, 5, 6)
    ]
    alone = predict(
        run.predictor,
        [
            {**row, "photo": row.get("photo") and str(folder / row["photo"]), "sound": str(folder / row["sound"])}
            for row in without
        ],
    )
    for i, row in zip((3, 5, 6), alone):
        assert row["price"]["value"] == pytest.approx(said[i]["price"]["value"], rel=1e-4)


def test_predict_refuses_bad_cells_where_nothing_is_skipped(folder: Path) -> None:
    good = [row for i, row in enumerate(rows(folder)) if i not in BAD and i != EMPTY]
    write_rows(folder / "rows.jsonl", good)
    run = fit(folder / "error.yaml", out=folder / "run", show_progress=False)
    assert not (run.folder / "skipped.jsonl").exists()
    with pytest.raises(DataError, match=r"row 1, column 'size': 'x' is not a number\n.*row 2: none of the inputs"):
        predict(run.folder, [{"size": "x"}, {"shop": None}])
    with pytest.warns(UserWarning, match=r"^1 row has no input and gets no prediction:"):
        said = predict(run.folder, [{"size": 1.0}, {"shop": None}])
    assert set(said[1].values()) == {None} and None not in said[0].values(), "a row without any input stops no other"


def test_a_file_that_only_decoding_shows_as_torn_does_not_end_a_run(folder: Path, monkeypatch) -> None:
    """Of many files only the beginnings are looked at; one torn in the middle is met later, and absent from then on."""
    monkeypatch.setattr(faults_room, "READ_BYTES", 0)
    monkeypatch.setattr(ImageInput, "fit_sample", 4)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)).save(folder / "9.png")
    (folder / "9.png").write_bytes((folder / "9.png").read_bytes()[:6000])
    with pytest.warns(UserWarning, match="left out"):
        plan = plan_of(folder / "skip.yaml")
    assert 9 in plan.splits.train.rows
    batches = plan.source(plan.splits.train)
    with pytest.warns(UserWarning, match=r"taken for absent: rows.jsonl, row 10, column 'photo'"):
        batch = batches[Draw((9, 10), 1)]
    assert batch.present["photo"].tolist() == [False, True]
    assert batch.present["size"].tolist()[1] in (True, False)
    plan.network.training_loss(batch, plan.engine).backward()


def test_columns_read_at_once_have_the_faults_of_their_cells(folder: Path) -> None:
    """The same whether cells are texts, plain values, or Arrow columns, and one by one."""
    plan_schema = plan_of_good(folder)
    for source in (rows_in_csv(folder), read_table(folder / "rows.jsonl")):
        found = {(f.row, f.column) for f in find_faults(plan_schema, source) if f.column}
        expected = set()
        for columns in (plan_schema.inputs, plan_schema.tasks):
            for column in columns.values():
                reader = getattr(column, "modality", None) or column.task
                for row in range(len(source)):
                    cell = source.cell(row, column.column)
                    try:
                        if cell is not None:
                            reader.read(str(folder / cell) if reader.reads_files else cell)
                    except DataError:
                        expected.add((row, column.column))
        assert found == expected


def plan_of_good(folder: Path):
    from trunkline.schema import Schema

    config = load_config(folder / "skip.yaml", columns=columns_of)
    return Schema({n: c.make() for n, c in config.inputs.items()}, {n: c.make() for n, c in config.tasks.items()})


def rows_in_csv(folder: Path):
    write_rows(folder / "rows.csv", [read_table(folder / "rows.jsonl").row(i) for i in range(60)])
    return read_table(folder / "rows.csv")


def test_an_input_column_that_is_not_there_is_named() -> None:
    """It may be absent; or its name is spelt otherwise, by a column that nothing else reads."""
    schema = Schema({"height": Number(), "age": Number(), "noted": Text()}, {"ages": NumberTask()})
    table = read_table([{"hieght": 1, "ages": 2, "noted": "so"}])
    with pytest.warns(UserWarning, match="input columns") as caught:
        predictable(schema, table, "error")
    (told,) = (str(warning.message).split("\n") for warning in caught)
    assert told == [
        f"{table.source}: 2 of 3 input columns are not there and count as absent in every row:",
        "no column 'height'. Did you mean 'hieght'?",
        "no column 'age'.",
    ]


def test_nothing_is_said_where_every_input_has_its_column(recwarn: pytest.WarningsRecorder) -> None:
    schema = Schema({"height": Number()}, {"age": NumberTask()})
    predictable(schema, read_table([{"height": 1, "hieght": 2}]), "error")
    assert not recwarn.list
