"""Scores of some rows and of others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trunkline import ConfigError, DataError, evaluate, fit
from trunkline.config import load_config, to_yaml
from trunkline.data import in_order, slice_names, write_rows
from trunkline.data.slices import OTHER, PARTS
from trunkline.report.files import read_run
from trunkline.report.sections.slices import slices as section
from trunkline.run import Run
from trunkline.sources import columns_of

CONFIG = """\
data: {table: rows.csv, split: part, slices: [who, age]}
inputs: {x: number, y: number}
tasks: {kind: {type: category}, sum: number}
training: {steps: 100, batch_size: 32, lr: 0.01, threads: 1, validations: 2}
width: 16
"""


def test_names_of_parts() -> None:
    assert slice_names(["b", None, " a ", 3.0, "3"]) == ["b", None, "a", "3", "3"]
    assert slice_names([True, False]) == ["true", "false"]
    few = slice_names([1, 2, 2, 3])
    assert few == ["1", "2", "2", "3"], "few different numbers are names"
    numbers = slice_names([None, *range(1, 101)])
    assert numbers[0] is None and numbers[1] == "≤ 25" and numbers[25] == "≤ 25"
    assert numbers[26] == "> 25 to 50" and numbers[75] == "> 50 to 75" and numbers[76] == numbers[100] == "> 75"
    assert slice_names([str(n) for n in range(100)])[99] == "> 74", "numbers of a CSV file that are still texts"


def test_many_equal_numbers_make_fewer_parts_and_none_is_empty() -> None:
    names = slice_names([0] * 90 + list(range(1, 21)))
    assert set(names) == {"≤ 0", "> 0"} and names.count("≤ 0") == 90


def test_large_and_near_numbers_have_names_of_their_own() -> None:
    for numbers in (
        [1_700_000_000 + i for i in range(100)],
        [1 + i * 1e-9 for i in range(100)],
        [20240101, *range(20240110, 20240190)],
    ):
        names = slice_names(numbers)
        assert sorted(names.count(name) for name in set(names))[0] > len(numbers) / 5 and len(set(names)) == 4
    assert "> 1700000024 to 1700000049" in slice_names([1_700_000_000 + i for i in range(100)])


def test_of_many_names_the_rarest_are_one_part() -> None:
    cells = [f"n{i:02}" for i in range(40) for _ in range(40 - i)]
    names = slice_names(cells)
    assert len(set(names)) == PARTS and names[0] == "n00" and names[-1] == OTHER
    assert slice_names(cells[: sum(40 - i for i in range(PARTS))]).count(OTHER) == 0, (
        "just as many as there is room for"
    )


def test_order_of_parts() -> None:
    assert in_order([OTHER, "b", "10", "9", "a"]) == ["9", "10", "a", "b", OTHER]
    assert in_order(["nan", "2", "10"]) == ["2", "10", "nan"]
    assert len(max(slice_names([1e300 * i for i in range(1, 60)]), key=len)) < 60
    assert in_order(["> 9", "> 5 to 9", "≤ 5"]) == ["≤ 5", "> 5 to 9", "> 9"]


def rows(folder: Path) -> Path:
    """`kind` is learned of `ann`; of `bob` it is the other way round where it is tested; `cy` has no label of it."""
    rng = np.random.default_rng(0)
    made = []
    for i in range(480):
        who = ("ann", "bob", "cy", None)[i % 4]
        x, y = rng.normal(size=2).round(3).tolist()
        part = ("train", "train", "test")[i // 4 % 3]
        kind = None if who == "cy" else "ab"[(x > 0) ^ (who == "bob" and part == "test")]
        made.append({"x": x, "y": y, "who": who, "age": i % 40, "kind": kind, "sum": x + y, "part": part})
    write_rows(folder / "rows.csv", made)
    (folder / "config.yaml").write_text(CONFIG)
    return folder / "config.yaml"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slices")
    return fit(rows(folder), out=folder / "run", show_progress=False).folder


def test_scores_of_a_part_are_those_of_its_rows_alone(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    told = metrics["slices"]
    assert list(told) == ["who", "age"] and list(told["who"]) == ["ann", "bob", "cy"]
    table = [row for row in _table(run) if row["part"] == "test"]
    for name in ("ann", "bob", "cy"):
        own = [row for row in table if row["who"] == name]
        part = told["who"][name]
        assert part["rows"] == len(own) == 40
        alone = evaluate(run, [{k: v for k, v in row.items() if k not in ("who", "age")} for row in own])["scores"]
        for task in ("kind", "sum"):
            assert part["scores"][task] == (None if alone[task] is None else pytest.approx(alone[task], abs=1e-6))
    assert told["who"]["cy"]["scores"]["kind"] is None and told["who"]["cy"]["labels"] == {"kind": 0, "sum": 40}
    assert told["who"]["ann"]["scores"]["kind"]["accuracy"] > 0.9 > told["who"]["bob"]["scores"]["kind"]["accuracy"]
    assert sum(part["rows"] for part in told["age"].values()) == 160 and len(told["age"]) == 4


def test_scores_of_the_whole_do_not_depend_on_slices(run: Path, tmp_path: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    plain = fit(rows(tmp_path), overrides=["data.slices=[]"], out=tmp_path / "run", show_progress=False).metrics
    assert "slices" not in plain
    for task, scores in plain["test"].items():
        assert metrics["test"][task] == pytest.approx(scores, abs=1e-6)


def test_another_table_is_told_apart_where_it_has_the_column(run: Path) -> None:
    table = [row for row in _table(run) if row["part"] == "test"]
    assert list(evaluate(run, table)["slices"]) == ["who", "age"]
    found = evaluate(run, [{k: v for k, v in row.items() if k != "age"} for row in table])
    assert list(found["slices"]) == ["who"]
    assert "slices" not in evaluate(run, [{k: row[k] for k in ("x", "y", "kind", "sum")} for row in table])


def test_the_report_has_a_table_a_column(run: Path) -> None:
    shown = section(read_run(run))
    assert shown is not None
    who, age = shown["columns"]
    assert [row["name"] for row in who["rows"]] == ["ann", "bob", "cy"] and len(age["rows"]) == 4
    assert [cell["score"] is None for cell in who["rows"][2]["cells"]] == [True, False]
    assert who["worst"][0].startswith("kind: ") and " for bob, " in who["worst"][0]
    page = (run / "report.html").read_text()
    assert "By who" in page and "&gt; 9 to 19" in page


def test_cells_that_are_no_names_are_told_before_anything_is_learned(tmp_path: Path) -> None:
    good = [{"x": i, "sum": i, "who": "q"} for i in range(40)]
    write_rows(tmp_path / "good.jsonl", good)
    write_rows(tmp_path / "bad.jsonl", [{**row, "who": ["p"] if row["x"] == 30 else "q"} for row in good])
    write_rows(tmp_path / "none.jsonl", [{"x": row["x"], "sum": row["sum"]} for row in good])

    def run(train: str, held: str, name: str) -> Run:
        config = {
            "data": {"train": str(tmp_path / train), "validation": str(tmp_path / held), "slices": ["who"]},
            "inputs": {"x": "number"}, "tasks": {"sum": "number"}, "training": {"steps": 2},
        }  # fmt: skip
        return fit(config, out=tmp_path / name, show_progress=False)

    with pytest.raises(DataError, match=r"bad\.jsonl, row 31, column 'who \(data\.slices\)': one name is wanted here"):
        run("good.jsonl", "bad.jsonl", "bad")
    assert not (tmp_path / "bad" / "log.csv").exists()
    found = run("bad.jsonl", "good.jsonl", "good")  # of training rows nobody asks
    with pytest.raises(DataError, match=r"bad\.jsonl, row 31, column 'who \(data\.slices\)'"):
        evaluate(found.folder, tmp_path / "bad.jsonl")
    with pytest.warns(
        UserWarning, match=r"data\.slices: the validation rows have no column 'who' to tell them apart by"
    ):
        assert "slices" not in run("good.jsonl", "none.jsonl", "none").metrics


def test_the_page_tells_scores_of_few_rows_without_a_colour(run: Path) -> None:
    found = read_run(run)
    parts = {
        name: {
            "rows": n,
            "labels": {"kind": n, "sum": n},
            "scores": {"kind": {"accuracy": a}, "sum": {"mae": m, "r2": 1 - m}},
        }
        for name, n, a, m in (("all rows", 13, 0.0, 0.1), ("b", 40, 0.7, 0.4), ("c", 40, 0.8, 0.2))
    }
    metrics = {**found.metrics, "slices": {"who": parts}}
    primary = {task: told["metric"] for task, told in found.tasks.items()}
    lower = {**found.tasks, "sum": {**found.tasks["sum"], "metric": "mae", "best": 0.0, "lower_is_better": True}}
    for tasks, said in ((None, f"sum: {primary['sum']}"), (lower, "sum: 0.4 for b, 0.2 for c")):
        shown = replace(found, metrics=metrics)
        if tasks is not None:
            shown.__dict__["tasks"] = tasks
        (who,) = section(shown)["columns"]  # type: ignore[index]
        assert who["worst"][0] == "kind: 0.700 for b, 0.800 for c"
        if tasks is not None:
            assert who["worst"][1] == said
        few, many = who["rows"][0]["cells"][0], who["rows"][1]["cells"][0]
        assert few["is_few"] and few["gain"] is None and few["score"] == 0.0
        assert not many["is_few"] and many["gain"] is not None and who["whole"]["cells"][0]["gain"] is not None


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.slices: the table has no column 'whom'\. Did you mean 'who'"):
        load_config(rows(tmp_path), columns=columns_of, overrides=["data.slices=[whom]"])


def test_of_several_tables_it_is_said_of_all(tmp_path: Path) -> None:
    rows(tmp_path)
    config = {
        "data": {
            "tables": {
                "one": {"train": str(tmp_path / "rows.csv"), "split": "part"},
                "two": {"train": str(tmp_path / "rows.csv"), "split": "part", "columns": {"who": None}},
            },
            "slices": ["who"],
        },
        "inputs": {"x": "number"},
        "tasks": {"sum": "number"},
        "training": {"steps": 2, "batch_size": 8, "threads": 1},
        "width": 8,
    }
    found = load_config(config, columns=columns_of)
    assert "slices:\n  - who" in to_yaml(found) or "slices: [who]" in to_yaml(found)
    metrics = fit(config, out=tmp_path / "run", show_progress=False).metrics
    assert set(metrics["by_table"]) == {"one", "two"}
    assert metrics["slices"]["who"]["ann"]["rows"] == 40, "rows of the table that has no such column are in no part"
    config["data"]["tables"]["one"]["slices"] = config["data"].pop("slices")  # type: ignore[index]
    with pytest.raises(ConfigError, match="are said of all tables"):
        load_config(config, columns=columns_of)


def _table(run: Path) -> list[dict]:
    from trunkline.data import read_table

    table = read_table(run.parent / "rows.csv")
    return [table.row(i) for i in range(len(table))]
