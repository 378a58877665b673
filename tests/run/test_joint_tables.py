"""One network from several tables: what is read, drawn, learned and told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from trunkline import ConfigError, DataError, RunError, evaluate, fit, predict
from trunkline.config import load_config, to_yaml
from trunkline.config.problems import Problems
from trunkline.config.settings import read_data
from trunkline.data import Split, Splits, read_table, write_rows
from trunkline.plan import draw_weights, make_plan
from trunkline.predictor import Predictor
from trunkline.report import make_page
from trunkline.run import compare
from trunkline.run.many import alone, inputs_of_twins
from trunkline.run.predictions import answers_of
from trunkline.run.verdicts import questions
from trunkline.run.wiring import rows_of, settings_of
from trunkline.schema import RowBatches
from trunkline.sources import columns_of, read_part, read_splits
from trunkline.tables import comparison_lines
from trunkline.training.loaders import make_sampler

CONFIG = """\
data:
  tables:
    shop: {train: shop.csv, split: part, columns: {note: words}}
    mail: {train: mail.jsonl, validation: 0.25, test: 0.25}
  sampling: SAMPLING
  batches: BATCHES
inputs: {note: text}
tasks: {kind: category, long: binary, stars: number}
training: {steps: 12, batch_size: 8, threads: 1, validations: 2}
width: 8
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`kind` is in both tables, `stars` in the shop's alone, `long` in the mail's."""
    rng = np.random.default_rng(0)
    words = ["red", "green", "blue"]
    parts = ["test", "train", "train", "train"]
    shop = [
        {"words": " ".join(rng.choice(words, 4)), "kind": "ab"[i % 2], "stars": i % 5, "part": parts[i % 4]}
        for i in range(80)
    ]
    mail = [{"note": " ".join(rng.choice(words, 3)), "kind": "ab"[i % 2], "long": i % 2} for i in range(24)]
    write_rows(tmp_path / "shop.csv", shop)
    write_rows(tmp_path / "mail.jsonl", mail)
    return tmp_path


def config(folder: Path, sampling: str = "equal", batches: str = "mixed") -> Path:
    path = folder / f"{sampling.strip('{')[:5]}-{batches}.yaml"
    path.write_text(CONFIG.replace("SAMPLING", sampling).replace("BATCHES", batches))
    return path


def test_a_run_from_two_tables(folder: Path) -> None:
    run = fit(config(folder), out=folder / "run", show_progress=False)
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    assert set(metrics["by_table"]) == {"shop", "mail"}
    assert metrics["by_table"]["shop"].keys() == {"kind"}, "the only task of both tables"
    assert set(metrics["tables"]) == {str(folder / "shop.csv"), str(folder / "mail.jsonl")}
    again = load_config(folder / "run" / "config.yaml", columns=columns_of)
    assert again.data is not None and again.data.sampling == "equal" and list(again.data.tables) == ["shop", "mail"]
    assert to_yaml(again) == to_yaml(load_config(folder / "run" / "config.yaml", columns=columns_of))
    said = predict(run.folder, [{"note": "red red"}])
    assert set(said[0]) == {"kind", "long", "stars"}


def test_held_out_rows_are_asked_for_the_tasks_of_their_table(folder: Path) -> None:
    """What nobody labels there is not said; what is, is what a prediction of all tasks says, row by row.

    `stars` and `short` are numbers, and so one stack of heads, of two tables.
    """
    mail = read_table(folder / "mail.jsonl")
    write_rows(folder / "mail.jsonl", [{**mail.row(i), "short": i % 7} for i in range(len(mail))])
    path = config(folder)
    path.write_text(path.read_text().replace("stars: number", "stars: number, short: number"))
    run = fit(path, out=folder / "run", show_progress=False)
    told = [json.loads(line) for line in (folder / "run" / "predictions" / "test.jsonl").read_text().splitlines()]
    plan = make_plan(run.config, read_splits(run.config))
    test = plan.splits.test
    assert test is not None and len(told) == len(test)
    whole = run.predictor.predict(test.table, test.rows.tolist())
    own = {"shop": {"kind", "stars"}, "mail": {"kind", "long", "short"}}
    whose = [test.table.column("table")[row] for row in test.rows]
    assert set(whose) == set(own)
    assert set(run.predictor.predict(test.table, test.rows.tolist(), tasks=["stars"])[0]) == set(whole[0])
    alone = run.predictor.predict(test.table, test.rows.tolist(), tasks=["stars"])
    assert all([task for task, value in said.items() if value is not None] == ["stars"] for said in alone)
    for table, said, every in zip(whose, told, whole):
        assert {task for task, value in said.items() if value is not None} == own[table]
        for task in own[table]:
            value, expected = (
                one[task]["value"] if isinstance(one[task], dict) else one[task] for one in (said, every)
            )
            assert value == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("sampling", "batches", "share"),
    [("equal", "mixed", 0.5), ("{shop: 1, mail: 3}", "mixed", 0.75), ("proportional", "one_table", None)],
)
def test_rows_are_drawn_as_it_says(folder: Path, sampling: str, batches: str, share: float | None) -> None:
    read = load_config(config(folder, sampling, batches), columns=columns_of)
    plan = make_plan(read, read_splits(read))
    training = rows_of(plan, plan.splits.train).labelled()
    sampler = make_sampler(training, settings_of(plan.config.training, plan.config.data))
    whose = plan.splits.train.table.column("table")
    share = share or float(np.mean([whose[row] == "mail" for row in training.rows]))
    tables = [{whose[row] for row in draw.rows} for draw in sampler]
    rows = [whose[row] for draw in sampler for row in draw.rows]
    assert rows.count("mail") / len(rows) == pytest.approx(share, abs=8 / len(rows))
    assert all(len(one) == 1 for one in tables) == (batches == "one_table")
    weights = draw_weights(plan.config.data, plan.splits.train, np.ones(len(plan.splits.train), dtype=bool))
    mail = np.array(whose)[plan.splits.train.rows] == "mail"
    assert weights[mail].sum() / weights.sum() == pytest.approx(share) and weights.mean() == pytest.approx(1.0)


def test_rates_follow_what_is_drawn(folder: Path) -> None:
    """`long` is on a fifth of the rows, and on half of those that are drawn."""
    text = config(folder).read_text().replace("threads: 1", "threads: 1, normalise: expected")
    (folder / "expected.yaml").write_text(text)
    read = load_config(folder / "expected.yaml", columns=columns_of)
    rates = make_plan(read, read_splits(read)).engine.rates
    assert rates["long"] == pytest.approx(0.5) and rates["stars"] == pytest.approx(0.5)
    assert rates["kind"] == pytest.approx(1.0)


def test_rows_that_teach_nothing_have_no_part(folder: Path) -> None:
    """Half of the mail has no label: the rest of it is drawn as often as the whole shop."""
    rows = [
        {"note": "red", "kind": "ab"[i % 2] if i < 12 else None, "long": i % 2 if i < 12 else None} for i in range(24)
    ]
    write_rows(folder / "mail.jsonl", rows)
    read = load_config(config(folder), columns=columns_of)
    plan = make_plan(read, read_splits(read))
    labelled = plan.source(plan.splits.train).labelled[plan.splits.train.rows].any(1)
    weights = draw_weights(plan.config.data, plan.splits.train, labelled)
    mail = np.array(plan.splits.train.table.column("table"))[plan.splits.train.rows] == "mail"
    assert (weights[~labelled] == 0).all() and not labelled[mail].all()
    assert weights[mail].sum() == pytest.approx(weights[~mail].sum()) and weights[labelled].mean() == pytest.approx(1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("equal", "{shop: 1}", r"data\.sampling: gives each of shop, mail a weight above 0"),
        ("equal", "0.5", r"data\.sampling: is a temperature of 1"),
        ("equal", "often", r"data\.sampling: 'often' is not"),
        ("validation: 0.25", "valid: 0.25", r"data\.tables\.mail\.valid"),
        ("train: mail.jsonl, ", "", r"data\.tables\.mail: names a table"),
        (
            "    mail: {train: mail.jsonl, validation: 0.25, test: 0.25}\n",
            "",
            r"data\.tables: names two tables or more",
        ),
        ("split: part", "split: parts", r"column 'parts'"),
        (
            "threads: 1",
            "threads: 1, by_length: true",
            r"training\.by_length: goes with rows that",
        ),
    ],
)
def test_what_is_wrong_with_tables(folder: Path, old: str, new: str, message: str) -> None:
    path = config(folder)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(Exception, match=message) as caught:
        fit(path, out=folder / "run", show_progress=False)
    assert type(caught.value).__name__ in ("ConfigError", "DataError")


def test_a_table_can_be_named_on_the_command_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "mail.jsonl").rename(folder / "elsewhere" / "mail.jsonl")
    monkeypatch.chdir(folder / "elsewhere")
    read = load_config(config(folder), columns=columns_of, overrides=["data.tables.mail.train=mail.jsonl"])
    assert "mail" in read_splits(read).train.table.column("table")
    with pytest.raises(ConfigError):
        load_config(config(folder), columns=columns_of, overrides=["data.sampling=never"])


def test_a_bad_cell_is_told_with_its_own_table_and_row(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "mail.jsonl").read_text().splitlines()]
    rows[4]["long"] = "perhaps"
    rows[7]["note"] = None
    write_rows(folder / "mail.jsonl", rows)
    with pytest.raises(DataError) as caught:
        fit(config(folder), out=folder / "run", show_progress=False)
    assert "mail.jsonl, row 5, column 'long'" in str(caught.value)
    assert "mail.jsonl, row 8: none of the inputs" in str(caught.value)
    path = config(folder)
    path.write_text(path.read_text().replace("sampling", "on_bad_row: skip\n  sampling"))
    with pytest.warns(UserWarning, match="2 rows that cannot be used are left out"):
        fit(path, out=folder / "run", show_progress=False)
    left = [json.loads(line) for line in (folder / "run" / "skipped.jsonl").read_text().splitlines()]
    assert [(one["source"], one["row"]) for one in left] == [("mail.jsonl", 5), ("mail.jsonl", 8)]


def test_tags_that_do_not_fit_are_told_with_their_own_table(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "mail.jsonl").read_text().splitlines()]
    rows = [{**row, "slots": " ".join("O" for _ in row["note"].split())} for row in rows]
    rows[2]["slots"] = "O"
    write_rows(folder / "mail.jsonl", rows)
    path = config(folder)
    path.write_text(path.read_text().replace("tasks: {", "tasks: {slots: {type: tags, of: note}, "))
    with pytest.raises(DataError, match=r"mail\.jsonl, row 3, column 'slots'"):
        fit(path, out=folder / "run", show_progress=False)


def test_length_is_chosen_where_rows_are_drawn_once_alone(folder: Path) -> None:
    for sampling, wanted in (("proportional", True), ("equal", False)):
        path = config(folder, sampling)
        path.write_text(path.read_text().replace("tasks: {", "tasks: {words: {type: text, column: copy}, "))
        rows = [json.loads(line) for line in (folder / "mail.jsonl").read_text().splitlines()]
        write_rows(folder / "mail.jsonl", [{**r, "copy": r["note"] * (i % 9 + 1)} for i, r in enumerate(rows)])
        read = load_config(path, columns=columns_of)
        assert make_plan(read, read_splits(read)).config.training.by_length is wanted


def test_no_pattern_takes_the_name_of_the_table(folder: Path) -> None:
    path = config(folder)
    path.write_text(
        path.read_text().replace("inputs: {note: text}", "inputs: {rest: {columns: all_other, type: text}}")
    )
    found = load_config(path, columns=columns_of)
    assert list(found.inputs) == ["note"]


def test_a_renamed_column_is_no_class_of_a_split(folder: Path) -> None:
    """The shop's `kind` is called `note`: it is a text, and no class of it must stay in training."""
    rare = ["one", "two", "three"]
    rows = [
        {"kind": f"text {i}", **{name: "b" if i == 5 + 7 * n else "a" for n, name in enumerate(rare)}}
        for i in range(40)
    ]
    write_rows(folder / "shop.csv", rows)
    path = folder / "renamed.yaml"
    path.write_text(
        "data:\n  tables:\n    shop: {train: shop.csv, validation: 0.25, columns: {note: kind}}\n"
        "    mail: {train: mail.jsonl}\ninputs: {note: text}\n"
        "tasks: {kind: category, one: category, two: category, three: category}\n"
    )
    for seed in range(15):
        splits = read_splits(load_config(path, overrides=[f"training.seed={seed}"], columns=columns_of))
        trained = splits.train.rows.tolist()
        assert all("b" in {splits.train.table.cell(row, name) for row in trained} for name in rare), seed


def test_what_uneven_draws_do_not_go_with(folder: Path) -> None:
    path = config(folder, sampling="{shop: 1000, mail: 0.001}")
    text = path.read_text().replace("kind: category", "kind: {type: category, class_weights: balanced}")
    path.write_text(text)
    loaded = load_config(path, columns=columns_of)
    with pytest.warns(UserWarning, match="of the draws") as told:
        make_plan(loaded, read_splits(loaded))
    said = " ".join(str(one.message) for one in told)
    assert "class_weights: balanced (kind) counts the rows of all tables" in said
    assert "table 'mail' has 1e-06 of the draws, less than one of the 96 rows" in said


def test_each_table_is_scored_on_its_own_rows(folder: Path) -> None:
    """`by_table` says of a table what `evaluate` says of its test rows alone."""
    run = fit(config(folder), out=folder / "alone", show_progress=False)
    found = json.loads((folder / "alone" / "metrics.json").read_text())["by_table"]
    splits = read_splits(run.config)
    assert splits.test is not None
    table = splits.test.table
    for name in ("shop", "mail"):
        own = [table.row(row) for row in splits.test.rows.tolist() if table.cell(row, "table") == name]
        scores = run.predictor.evaluate(read_table(own))[0]["kind"]
        assert found[name]["kind"] == pytest.approx(scores)


def test_a_twin_has_the_inputs_that_rows_with_its_label_have(folder: Path) -> None:
    """Nobody who trains one task alone gives it encoders of what never comes with it."""
    mail = read_table(folder / "mail.jsonl")
    write_rows(folder / "mail.jsonl", [{**mail.row(i), "note": None, "body": mail.row(i)["note"]} for i in range(24)])
    path = config(folder)
    path.write_text(path.read_text().replace("{note: text}", "{note: text, body: {type: text, share: note}}"))
    found = compare(path, seeds=2, out=folder / "all", overrides=["training.steps=2", "training.validations=1"])
    runs = found.result["alone"]["runs"]
    inputs = {
        task: load_config(found.folder / run / "config.yaml", columns=None).inputs for task, (run, _) in runs.items()
    }
    assert {task: list(own) for task, own in inputs.items()} == {
        "kind": ["note", "body"], "long": ["body"], "stars": ["note"]
    }  # fmt: skip
    assert inputs["kind"]["body"].share == "note" and inputs["long"]["body"].share is None
    a_step = {task: about["labels_a_step_together"] for task, about in found.result["tasks"].items()}
    assert a_step == pytest.approx({"kind": 8, "long": 4, "stars": 4})  # both tables are drawn equally often
    costs = found.result["costs"]
    assert costs["alone"]["bytes"] == sum(
        (found.folder / run / "model.safetensors").stat().st_size for run, _ in runs.values()
    )
    assert costs["alone"]["predict_ms_a_row"] > 0
    for run in runs["long"]:
        scores = json.loads((found.folder / run / "metrics.json").read_text())["test"]
        assert scores["long"]["accuracy"] is not None and evaluate(found.folder / run)["scores"] == scores


def test_twins_with_as_many_labels_a_step(folder: Path) -> None:
    """Each takes what the whole has of its task on average; the whole is not trained again for them."""
    write_rows(folder / "mail.jsonl", [{"note": "red green", "long": i % 2} for i in range(24)])
    path = config(folder, "{shop: 3, mail: 1}")
    how: dict[str, Any] = {
        "seeds": 1,
        "out": folder / "all",
        "overrides": ["training.steps=1", "training.validations=1"],
    }
    plain = compare(path, **how)
    weights = plain.folder / "equal-seed-0" / "model.safetensors"
    trained = weights.stat().st_mtime_ns
    found = compare(path, same_labels=True, **how)
    assert not plain.result["same_labels"] and found.result["same_labels"]
    sizes: dict[str, list[int | None]] = {}
    for result in (plain.result, found.result):
        for task, (run,) in result["alone"]["runs"].items():
            own = load_config(found.folder / run / "config.yaml", columns=None)
            sizes.setdefault(task, []).append(own.training.batch_size)
    assert sizes == {"kind": [8, 6], "long": [8, 2], "stars": [8, 6]}
    about = found.result["tasks"]
    assert {task: one["labels_a_step_alone"] for task, one in about.items()} == {"kind": 6, "long": 2, "stars": 6}
    assert {task: one["labels_a_step_together"] for task, one in about.items()} == pytest.approx(
        {"kind": 6, "long": 2, "stars": 6}
    )
    assert weights.stat().st_mtime_ns == trained
    assert comparison_lines(found.result)[-1].endswith("as many labels of a task in a step alone as together")
    assert "alone with as many labels a step as together" in make_page([found.folder])
    again = compare(path, **how)  # those of the other kind are there still
    assert again.result["alone"] == plain.result["alone"]


def test_inputs_that_shared_an_encoder_that_is_gone_share_one_among_them() -> None:
    texts = {"a": {"type": "text", "layers": 0}, "b": {"share": "a"}, "c": {"share": "a"}, "d": "text"}
    whole = load_config({"inputs": texts, "tasks": {"t": "binary", "u": "binary"}}, columns=[*"abcdtu"])
    twin = alone(whole, "t", ["b", "c", "d"])
    assert {name: one.share for name, one in twin.inputs.items()} == {"b": None, "c": "b", "d": None}
    assert twin.inputs["c"].options == twin.inputs["b"].options == {"layers": 0}


def test_a_twin_has_every_input_where_some_split_would_have_no_row() -> None:
    rows = [{"a": 1.0, "t": 0, "u": None} if i % 2 else {"b": 2.0, "t": None, "u": 1} for i in range(8)]
    table = read_table([*rows, {"b": 2.0, "t": 1, "u": 1}])
    inputs = {name: {"type": "number"} for name in "ab"}
    whole = load_config({"inputs": inputs, "tasks": {"t": "binary", "u": "binary"}}, columns=table)
    train, last = Split(table, np.arange(8)), Split(table, np.array([8]))
    assert inputs_of_twins(whole, Splits(train)) == {"t": ["a"], "u": ["b"]}
    assert inputs_of_twins(whole, Splits(train, test=last)) == {"t": ["a", "b"], "u": ["b"]}


def two_texts(folder: Path, more: str = "") -> Path:
    """Two tables with a text each, and nothing in common but one task."""
    mail = read_table(folder / "mail.jsonl")
    write_rows(folder / "mail.jsonl", [{**mail.row(i), "note": None, "body": mail.row(i)["note"]} for i in range(24)])
    path = config(folder)
    text = "{type: text, encoder: scratch}"
    path.write_text(path.read_text().replace("{note: text}", f"{{note: {text}, body: {text}}}") + more)
    return path


def test_a_twin_with_one_encoder_brings_nothing_together(folder: Path) -> None:
    """`training.align` is refused where there is one encoder."""
    path = two_texts(folder)
    path.write_text(path.read_text().replace("validations: 2", "validations: 1, align: 0.1"))
    found = compare(path, seeds=1, out=folder / "all", overrides=["training.steps=1"])
    aligned = {
        task: load_config(found.folder / run / "config.yaml", columns=None).training.align
        for task, (run,) in found.result["alone"]["runs"].items()
    }
    assert aligned == {"kind": 0.1, "long": 0.0, "stars": 0.0}


def test_twins_of_an_earlier_version_are_not_mixed_with_those_of_now(folder: Path) -> None:
    path, how = two_texts(folder), {"seeds": 1, "overrides": ["training.steps=1", "training.validations=1"]}
    compare(path, out=folder / "all", **how)
    twin = next(run for run in (folder / "all").glob("alone-*") if "body" not in (run / "config.yaml").read_text())
    text = (twin / "config.yaml").read_text()
    (twin / "config.yaml").write_text(text.replace("inputs:\n", "inputs:\n  body: text\n"))
    with pytest.raises(RunError, match=rf"{twin.name} began with the inputs body, note, by an earlier version"):
        compare(path, out=folder / "all", **how)


def test_a_twin_has_the_inputs_of_all_seeds(tmp_path: Path) -> None:
    """Of the rare pairing some seeds have no training row; still there is one network for all of them."""
    rows = [{"a": "x y", "b": None, "t": i % 2, "u": None} for i in range(40)]
    rows += [{"a": None, "b": "z w", "t": i % 2 if i == 0 else None, "u": i % 2} for i in range(40)]
    write_rows(tmp_path / "rows.jsonl", rows)
    text = {"type": "text", "encoder": "scratch"}
    raw = {
        "data": {"train": str(tmp_path / "rows.jsonl"), "validation": 0.3, "test": 0.3},
        "inputs": {"a": text, "b": text}, "tasks": {"t": "binary", "u": "binary"}, "width": 8,
        "training": {"batch_size": 8, "validations": 1},
    }  # fmt: skip
    by_seed = []
    for seed in range(8):
        config = load_config({**raw, "training": {**raw["training"], "seed": seed}}, columns=columns_of)
        by_seed.append(inputs_of_twins(config, read_splits(config))["t"])
    first = next(s for s in range(7) if by_seed[s] == ["a"] and by_seed[s + 1] == ["a", "b"])
    found = compare(raw, seeds=2, out=tmp_path / "all", overrides=["training.steps=1", f"training.seed={first}"])
    for run in found.result["alone"]["runs"]["t"]:
        assert list(load_config(found.folder / run / "config.yaml", columns=None).inputs) == ["a", "b"]


def test_what_a_network_is_asked_for_when_it_is_timed(folder: Path) -> None:
    """Rows with its inputs, of tables with its tasks, as a table of their own: others are not prepared."""
    path = two_texts(folder)
    whole = load_config(path, columns=columns_of)
    splits = read_splits(whole)
    numbers = splits.train.rows[::3]
    whose = [splits.train.table.column("table")[row] for row in numbers]
    asked = {}
    for name, one in {"whole": whole, "stars": alone(whole, "stars", ["note"])}.items():
        plan = make_plan(one, read_splits(whole) if name == "whole" else read_part(one, whole))
        rows = Split(splits.train.table, numbers)
        asked[name] = questions(plan.network.preprocessing, rows, is_joint=True)
    assert len(asked["whole"][0]) == len(numbers)
    assert asked["whole"][1] == {"shop": {"kind", "stars"}, "mail": {"kind", "long"}}
    assert set(asked["stars"][0].column("table")) == {"shop"}
    assert len(asked["stars"][0]) == whose.count("shop") and asked["stars"][1] == {"shop": {"stars"}, "mail": set()}
    nobody = Split(splits.train.table, np.array([row for row in numbers if row not in asked_rows(splits, "shop")]))
    own, tasks = questions(plan.network.preprocessing, nobody, is_joint=True)
    source = RowBatches(plan.network.preprocessing, own, with_targets=False)
    assert answers_of(Predictor(plan.network), source, np.arange(len(own)), tasks)[0] == [], "no row is timed, either"


def test_rows_of_a_table_without_its_task_are_not_timed(folder: Path) -> None:
    """They have an input that the network reads, and nothing that it is asked."""
    whole = load_config(config(folder), columns=columns_of)
    stars = make_plan(one := alone(whole, "stars", ["note"]), read_part(one, whole))
    rows = read_splits(whole).train
    assert 0 < len(asked_rows(Splits(rows, rows), "mail")) < len(rows.rows)
    table, tasks = questions(stars.network.preprocessing, rows, is_joint=True)
    assert set(table.column("table")) == {"shop"} and tasks["shop"] == {"stars"}
    assert len(table) == len(asked_rows(Splits(rows, rows), "shop"))


def asked_rows(splits: Splits, table: str) -> set[int]:
    whose = splits.train.table.column("table")
    return {int(row) for row in splits.train.rows if whose[row] == table}


TWICE = """\
data:
  tables:
    long: {train: shop.csv, columns: {note: words, stars: null}SHARES}
    short: {train: ./shop.csv, columns: {note: line, kind: null}OTHER}
inputs: {note: text}
tasks: {kind: category, stars: number, rare: category}
"""


@pytest.mark.parametrize("shares", ["", ", validation: 0.2, test: 0.3", ", validation: 0.2, group: maker"])
def test_no_table_trains_on_what_another_one_of_the_same_file_holds_out(folder: Path, shares: str) -> None:
    rows = [
        {"words": f"w{i}", "line": f"l{i}", "kind": "ab"[i % 2], "stars": i % 5, "rare": "xy"[i == 7], "maker": i // 4}
        for i in range(80)
    ]
    write_rows(folder / "shop.csv", rows)
    (folder / "twice.yaml").write_text(TWICE.replace("SHARES", shares).replace("OTHER", shares))
    splits = read_splits(load_config(folder / "twice.yaml", columns=columns_of))
    whose = splits.train.table.column("table")
    for part in (splits.train, splits.validation, splits.test):
        assert (part is None) == ("test" not in shares and part is splits.test)
        if part is not None:
            notes = [splits.train.table.column("note")[row] for row in part.rows]
            long, short = ({n[1:] for n, row in zip(notes, part.rows) if whose[row] == w} for w in ("long", "short"))
            assert long == short and len(long) > 10
            assert ("7" in long) == (part is splits.train), "the one row of a class stays"


@pytest.mark.parametrize(
    ("shares", "other", "message"),
    [
        (", validation: 0.2", ", validation: 0.1", "'long' reads, divided otherwise.*the same validation"),
        (", split: part", "", "the same split"),
        (', na: ["?"], test: 0.1', "", "the same test"),
        (', na: ["?"]', "", "the same na"),
        ("", ", train: shards", "reads some of the files of 'long'"),
        (", train: pets", ", train: pets/test", "reads some of the files of 'long'"),
        (", train: [side.csv, shop.csv]", ", train: [shop.csv, side.csv]", "reads some of the files of 'long'"),
        ("", ", train: [shop.csv, more.csv]", "reads some of the files of 'long'"),
        ("", ", train: 's*.csv'", "reads some of the files of 'long'"),
        ("", ", train: more.csv, test: 's*.csv'", "tables.long: trains on a file that another table holds out"),
        (", validation: 0.2", ", validation: more.csv", "the same validation"),
        ("", ", train: more.csv, validation: shop.csv", "tables.long: trains on a file that another table holds out"),
    ],
)
def test_tables_of_one_file_are_divided_alike(folder: Path, shares: str, other: str, message: str) -> None:
    (folder / "side.csv").touch()
    (folder / "pets" / "test").mkdir(parents=True)
    (folder / "shards").mkdir()
    (folder / "shards" / "0.csv").symlink_to(folder / "shop.csv")
    (folder / "shards" / "1.csv").touch()
    text = TWICE.replace("SHARES", shares).replace("OTHER", other)
    text = text.replace("train: ./shop.csv, ", "" if "train" in other else "train: ./shop.csv, ")
    text = text.replace("train: shop.csv, ", "" if "train" in shares else "train: shop.csv, ")
    (folder / "twice.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(folder / "twice.yaml", columns=lambda data: read_table(folder / "shop.csv"))


@pytest.mark.parametrize(
    ("shares", "other"),
    [
        (", validation: one.csv", ", validation: two.csv"),  # both train on all of the file
        (", validation: 0.2, test: one.csv", ", validation: 0.2, test: two.csv"),
        (", train: .", ""),  # a folder of pictures, say, in which a table lies
        (", train: other.csv, na: ['?']", ", split: part"),  # nothing in common
    ],
)
def test_tables_of_one_file_may_differ_where_no_row_is_held_out_for_it(folder: Path, shares: str, other: str) -> None:
    text = TWICE.replace("SHARES", shares).replace("OTHER", other)
    text = text.replace("train: shop.csv, ", "" if "train" in shares else "train: shop.csv, ")
    tables = yaml.safe_load(text)["data"]["tables"]
    read_data({"tables": tables}, folder, problems := Problems(), is_needed=True)
    assert problems.lines == []
