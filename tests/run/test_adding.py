"""`start: RUN`: a run that adds tasks to another, from the config to what can be done with it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from training.test_training import interrupt_at
from trunkline import ConfigError, RunError, check, evaluate, fit, load, predict
from trunkline.config import load_config
from trunkline.data import write_rows
from trunkline.plan import make_plan
from trunkline.run import Run, compare
from trunkline.run.fitting import train_plan
from trunkline.sources import columns_of, read_splits

TRAINING = {"steps": 6, "batch_size": 16, "validations": 2, "threads": 1}
OLD, NEW = ("kind", "big"), ("sum", "small")


def rows_of(count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(count):
        x, word = float(rng.normal()), ("up", "down")[int(rng.integers(2))]
        rows.append({
            "x": x, "word": f"a {word} b", "kind": word, "big": x > 0,
            "sum": x + 2.0 * (word == "up"), "small": x < -0.5,
            "split": ("train", "train", "train", "val", "test")[i % 5],
        })  # fmt: skip
    return rows


def config(folder: Path, **sections: Any) -> dict[str, Any]:
    """The new run's, as short as it can be."""
    data = {"table": str(folder / "new.jsonl"), "split": "split"}
    return {"start": str(folder / "old"), "data": data, "tasks": {"sum": "number", "small": "binary"},
            "training": TRAINING, **sections}  # fmt: skip


def train(config: dict[str, Any], out: Path) -> Run:
    """Without its report, which takes longer than all else."""
    resolved = load_config(config, columns=columns_of)
    return train_plan(make_plan(resolved, read_splits(resolved)), out, report=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An old run, and a table without its targets."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("adding")
    rows = rows_of(150)
    write_rows(folder / "old.jsonl", [{k: v for k, v in row.items() if k not in NEW} for row in rows[:100]])
    write_rows(folder / "new.jsonl", [{k: v for k, v in row.items() if k not in OLD} for row in rows])
    first = {
        "data": {"table": str(folder / "old.jsonl"), "split": "split"},
        "inputs": {"x": "number", "word": "text"},
        "tasks": {"kind": "category", "big": "binary"},
        "trunk": {"type": "mmoe", "dropout": 0.5},
        "width": 16,
        "training": TRAINING,
    }
    train(first, folder / "old")
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return fit(config(folder), out=folder / "new")


def test_what_was_there_stays_to_the_bit(folder: Path, run: Run) -> None:
    before, after = (load_file(folder / name / "model.safetensors") for name in ("old", "new"))
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    states, now = (json.loads((folder / name / "preprocessing.json").read_text()) for name in ("old", "new"))
    assert now["inputs"] == states["inputs"]
    assert {task: now["tasks"][task] for task in OLD} == states["tasks"]
    rows = [*rows_of(40), {"x": 1.0}, {"word": "up"}]
    for one, other in zip(predict(folder / "old", rows), predict(run.folder, rows)):
        assert {task: other[task] for task in OLD} == one
        assert other.keys() == {*OLD, *NEW}


def test_the_new_tasks_have_learned(run: Run) -> None:
    network = run.predictor.network
    learned = {n for n, p in network.named_parameters() if p.requires_grad}
    assert all(n.startswith(("heads.2.", "heads.3.", "trunk.gates.2.", "trunk.gates.3.")) for n in learned)
    again = make_plan(replace(run.config), read_splits(run.config)).network  # before the first step
    now = dict(network.named_parameters())
    assert sum(not torch.equal(p, now[name]) for name, p in again.named_parameters()) == len(learned) > 4


def test_metrics_are_of_the_rows_that_have_labels(folder: Path, run: Run) -> None:
    scores = run.metrics["test"]
    assert scores["kind"] is None and scores["big"] is None
    assert scores["sum"]["mae"] > 0
    assert run.metrics["start"]["kept"] == list(OLD)
    assert run.metrics["start"]["run"] == str(folder / "old")
    write_rows(folder / "all.jsonl", rows_of(150))
    both = evaluate(run.folder, folder / "all.jsonl")["scores"]
    assert all(both[task] is not None for task in (*OLD, *NEW))
    own = evaluate(folder / "old", folder / "all.jsonl")["scores"]
    assert {task: both[task] for task in OLD} == own


def test_the_folder_serves_without_the_old_run(folder: Path, run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path / "new")
    text = (tmp_path / "new" / "config.yaml").read_text()
    (tmp_path / "new" / "config.yaml").write_text(text.replace(str(folder / "old"), str(tmp_path / "gone")))
    assert evaluate(tmp_path / "new")["scores"] == run.metrics["test"]
    assert load(tmp_path / "new").predict([{"x": 1.0}])
    assert (tmp_path / "new" / "report.html").is_file()
    card = (tmp_path / "new" / "MODEL_CARD.md").read_text()
    assert "taken over from the run `old`" in card


@pytest.mark.slow
def test_it_is_exported_whole(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from trunkline.run import export

    written, _ = export(run.folder, tmp_path / "model.onnx")
    assert set(written.differences) >= {*OLD, *NEW}


def test_the_resolved_config_gives_the_same_run_again(folder: Path, run: Run, tmp_path: Path) -> None:
    again = train(str(run.folder / "config.yaml"), tmp_path / "again")  # type: ignore[arg-type]
    files = [one / "model.safetensors" for one in (run.folder, again.folder)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_an_interrupted_run_goes_on(folder: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        interrupt_at(patched, 3)
        with pytest.raises(KeyboardInterrupt, match="stopped after step 3 of 6"):
            fit(config(folder), out=tmp_path / "new")
    shutil.copytree(tmp_path / "new", tmp_path / "other")
    monkeypatch.setattr("trunkline.run.fitting.report_on", lambda subject: None)
    again = fit(config(folder), out=tmp_path / "new", resume=True)
    assert again.metrics["test"] == run.metrics["test"]
    files = [one / "model.safetensors" for one in (run.folder, again.folder)]
    assert files[0].read_bytes() == files[1].read_bytes()
    shutil.copytree(folder / "old", tmp_path / "old")
    weights = tmp_path / "old" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    kept = tmp_path / "other" / "config.yaml"
    kept.write_text(kept.read_text().replace(str(folder / "old"), str(tmp_path / "old")))
    with pytest.raises(RunError, match=r"model\.safetensors is not what the run wrote"):
        fit(config(folder, start=str(tmp_path / "old")), out=tmp_path / "other", resume=True)
    (tmp_path / "old" / "files.json").unlink()  # as if it had been trained anew
    with pytest.raises(RunError, match=r"model\.safetensors.* changed since the run"):
        fit(config(folder, start=str(tmp_path / "old")), out=tmp_path / "other", resume=True)


def test_tasks_are_added_once_more(folder: Path, run: Run, tmp_path: Path) -> None:
    third = {**config(folder), "start": str(run.folder), "tasks": {"tiny": {"type": "binary", "column": "small"}}}
    added = train(third, tmp_path / "third")
    assert [task.added for task in added.config.tasks.values()] == [0, 0, 1, 1, 2]
    for one, other in zip(predict(run.folder, rows_of(20)), predict(added.folder, rows_of(20))):
        assert {task: other[task] for task in one} == one


def test_check_shows_it(folder: Path, run: Run) -> None:
    assert list(check(config(folder)).plan.learning) == list(NEW)


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"start": "nowhere"}, r"start: .*nowhere is no finished run: it is not there\."),
        ({"start": 3}, "start: is the folder of a finished run, not 3"),
        ({"tasks": {"kind": "category"}}, "tasks: names none that is new: .*old has kind, big. All that"),
        ({"tasks": {"kind": {"type": "category", "column": "small"}, "sum": "number"}},
         r"tasks\.kind\.column: the run has it already, 'kind', and it stays as it is"),
        ({"inputs": {"z": "number"}}, r"inputs\.z: is no input of .*old, whose network stays .* It has x, word"),
        ({"inputs": {"x": "category"}}, r"inputs\.x: the run has it already, 'number', and it stays as it is"),
        ({"inputs": {"word": {"type": "text", "word_dropout": 0.7}}}, r"inputs\.word\.word_dropout: the run has"),
        ({"trunk": "ple"}, "trunk: the run has it already, 'mmoe', and it stays as it is"),
        ({"width": 32}, "width: the run has it already, 16, and it stays"),
        ({"balancer": "upgrad"}, "balancer: has nothing to balance"),
        ({"training": {**TRAINING, "align": 0.1}}, r"training\.align: is about what tasks share"),
        ({"tasks": {"sum": "number", "more": {"type": "binary", "column": "small", "share": "big"}}},
         r"tasks\.more\.share: .*"),
        ({"tasks": {"nix": "number"}}, r"tasks\.nix: the table has no column 'nix'"),
        ({"inputs": {"x*": {"type": "category"}}}, r"inputs\.x\*: the run has it already, 'number'"),
    ],
)  # fmt: skip
def test_what_cannot_be(folder: Path, sections: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_config(config(folder, **sections), columns=columns_of)


def test_a_table_without_an_input(folder: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "new.jsonl", [{"x": row["x"], "sum": row["sum"]} for row in rows_of(30)])
    with pytest.raises(ConfigError, match=r"inputs\.word: the table has no column 'word'"):
        load_config({**config(folder), "data": {"train": str(tmp_path / "new.jsonl")}}, columns=columns_of)


def test_added_without_a_run(folder: Path) -> None:
    alone = {**config(folder), "start": None, "inputs": ["x"], "tasks": {"sum": {"type": "number", "added": 1}}}
    with pytest.raises(ConfigError, match=r"tasks\.sum\.added: goes with `start`"):
        load_config(alone, columns=columns_of)


def test_a_comparison_refuses(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="start: a comparison trains whole networks"):
        compare(config(folder), out=tmp_path / "comparison")


def test_a_run_in_an_override_is_found_from_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    given = {key: value for key, value in config(folder).items() if key != "start"}
    assert load_config(given, columns=columns_of, overrides=["start=old"]).start == folder / "old"
