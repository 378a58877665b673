"""One network against its twins, over seeds: what the folder says is what its runs say."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest
from typer.testing import CliRunner

from trunkline import ConfigError, RunError
from trunkline.cli import app
from trunkline.config import Config, load_config
from trunkline.data import write_rows
from trunkline.run import compare, evaluate, single_task_twins
from trunkline.run.many import Job, alone, rows_of
from trunkline.run.verdicts import by_task
from trunkline.sources import columns_of
from trunkline.tables import comparison_lines, comparison_table

CONFIG = """\
data: {table: rows.csv, split: split}
inputs: {x: number, y: number}
tasks: {total: number, is big: binary}
width: 8
trunk: {type: hard, layers: 1, members: 1}
training: {steps: 12, patience: off, accelerator: cpu}
"""


def write(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(120):
        x, y = rng.normal(size=2)
        split = "train" if i % 3 else "test" if i % 2 else "val"
        rows.append({"split": split, "x": x, "y": y, "total": x + y if i % 4 else None, "is big": int(x > 0)})
    folder.mkdir(exist_ok=True)
    write_rows(folder / "rows.csv", rows)
    (folder / "config.yaml").write_text(CONFIG)
    return folder / "config.yaml"


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder: its config, and the comparison of two seeds, two balancers and two trunks beside it."""
    folder = tmp_path_factory.mktemp("compare")
    said = CliRunner().invoke(
        app,
        [
            *("compare", str(write(folder)), "--seeds", "2", "--balancers", "upgrad", "--trunks", "hard,mmoe"),
            *("--out", str(folder / "out")),
        ],
    )
    assert said.exit_code == 0, said.output
    (folder / "said.txt").write_text(said.stdout)
    return folder


@pytest.fixture(scope="module")
def result(compared: Path) -> dict[str, Any]:
    return json.loads((compared / "out" / "comparison.json").read_text())


def metrics(compared: Path, run: str) -> dict[str, Any]:
    return metrics_in(compared / "out", run)


def metrics_in(folder: Path, run: str) -> dict[str, Any]:
    return json.loads((folder / run / "metrics.json").read_text())


def test_scores_are_those_of_the_runs(compared: Path, result: dict[str, Any]) -> None:
    assert result["version"] == 1
    assert result["seeds"] == [0, 1]
    assert list(result["models"]) == ["equal", "upgrad", "mmoe"], "the trunk that the config has is no other"
    for task in ("total", "is big"):
        metric = result["tasks"][task]["primary"]
        alone = [metrics(compared, run)["test"][task][metric] for run in result["alone"]["runs"][task]]
        assert result["alone"]["scores"][task][metric]["values"] == alone
        for model in result["models"].values():
            ours = [metrics(compared, run)["test"][task][metric] for run in model["runs"]]
            assert model["scores"][task][metric]["values"] == ours
            difference = model["differences"][task][metric]
            assert difference["values"] == pytest.approx([a - b for a, b in zip(ours, alone)])
            assert difference["mean"] == pytest.approx(np.mean(difference["values"]))
            assert difference["verdict"] in ("better", "worse", "no difference seen")


def test_pairs_share_seed_steps_rows_and_network(compared: Path, result: dict[str, Any]) -> None:
    runs = [metrics(compared, run) for model in result["models"].values() for run in model["runs"]]
    twins = [metrics(compared, run) for runs in result["alone"]["runs"].values() for run in runs]
    assert [run["seed"] for run in runs + twins] == [0, 1] * 5
    assert {run["steps"] for run in runs + twins} == {12}
    assert len({json.dumps(run["tables"]) for run in runs + twins}) == 1
    assert list(twins[0]["test"]) == ["total"]
    assert twins[0]["parameters"] < runs[0]["parameters"]


def by_share(folder: Path) -> Path:
    """No column says which rows are tested; some cells cannot be read, and their rows are left out."""
    rng = np.random.default_rng(1)
    rows = []
    for i in range(150):
        x, y = rng.normal(size=2)
        total = "?" if i % 30 == 7 else x + y
        rows.append({"x": x, "y": y, "total": total, "is big": int(x > 0), "kind": "abc"[i % 3 if i % 50 else 0]})
    write_rows(folder / "rows.csv", rows)
    text = CONFIG.replace("split: split", "validation: 0.2, test: 0.2, on_bad_row: skip")
    (folder / "config.yaml").write_text(text.replace("is big: binary}", "is big: binary, kind: category}"))
    return folder / "config.yaml"


@pytest.mark.filterwarnings("ignore:.*cannot be used are left out")
def test_a_twin_has_the_rows_of_the_whole(tmp_path: Path) -> None:
    """A split by share depends on all tasks: drawn for one task alone it is another."""
    config = load_config(by_share(tmp_path), columns=columns_of)

    def rows(config: Config, whole: Config | None) -> list[list[int]]:
        splits = rows_of(Job(config, tmp_path, whole=whole))
        assert splits.validation is not None and splits.test is not None
        return [part.rows.tolist() for part in (splits.train, splits.validation, splits.test)]

    used = rows(config, config)
    assert sum(map(len, used)) == 145
    for task in config.tasks:
        assert rows(alone(config, task, config.inputs), config) == used
    assert rows(alone(config, "kind", config.inputs), None) != rows(config, None)


@pytest.mark.filterwarnings("ignore:.*cannot be used are left out")
def test_the_twins_of_one_run_have_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(by_share(tmp_path), columns=columns_of)
    monkeypatch.setattr("trunkline.run.twins.running", nullcontext)  # the jobs as they are, not begun
    with single_task_twins(config, 2, tmp_path) as jobs:
        assert list(jobs) == list(config.tasks)
        used = [rows_of(job).train.rows.tolist() for job in jobs.values()]
    assert used == [rows_of(Job(config, tmp_path, whole=config)).train.rows.tolist()] * 3


def test_pairs_are_judged_by_the_very_same_rows(tmp_path: Path) -> None:
    """What guessing scores depends on the rows that train and on those that are tested, and on nothing else."""
    result = compare(by_share(tmp_path), seeds=1, overrides=["training.steps=2"], out=tmp_path / "out").result

    def of(run: str) -> Any:
        return json.loads((tmp_path / "out" / run / "metrics.json").read_text())

    for task, (twin,) in result["alone"]["runs"].items():
        assert of(twin)["majority"][task] == of("equal-seed-0")["majority"][task]
        with pytest.warns(UserWarning, match="cannot be used are left out"):
            assert evaluate(tmp_path / "out" / twin)["scores"] == of(twin)["test"]


def test_errors_and_scores_count_their_own_way(result: dict[str, Any]) -> None:
    """`mae` down is better, `roc_auc` up is; Δm is negative where better, and has no share of R²."""
    model = result["models"]["equal"]
    mae, area = model["differences"]["total"]["mae"], model["differences"]["is big"]["roc_auc"]
    assert np.sign(mae["percent"]) == np.sign(mae["mean"])
    assert np.sign(area["percent"]) == -np.sign(area["mean"])
    assert model["differences"]["total"]["r2"]["percent"] is None
    scores, alone = model["scores"], result["alone"]["scores"]
    by_seed = []
    for seed in range(2):
        changes: dict[str, list[float]] = {"total": [], "is big": []}
        for task, sign, metric in (
            ("total", 1, "mae"), ("total", 1, "rmse"), ("is big", -1, "roc_auc"),
            ("is big", -1, "average_precision"), ("is big", -1, "accuracy"), ("is big", -1, "f1"),
        ):  # fmt: skip
            ours, theirs = scores[task][metric]["values"][seed], alone[task][metric]["values"][seed]
            if ours is not None and theirs:
                changes[task].append(sign * 100 * (ours - theirs) / abs(theirs))
        by_seed.append(changes)
    over_metrics = [np.mean([*c["total"], *c["is big"]]) for c in by_seed]
    over_tasks = [np.mean([np.mean(one) for one in c.values()]) for c in by_seed]
    assert model["delta_m"]["per_metric"]["values"] == pytest.approx(over_metrics)
    assert model["delta_m"]["per_task"]["values"] == pytest.approx(over_tasks)


def test_a_task_that_the_first_seed_cannot_judge_is_told_all_the_same() -> None:
    scores = [{"total": {}}, {"total": {"mae": 2.0}}, {"total": {"mae": 4.0}}]
    assert by_task(scores, ["total"]) == {"total": {"mae": {"values": [None, 2.0, 4.0], "mean": 3.0, "std": ANY}}}


def test_labels_and_costs(compared: Path, result: dict[str, Any]) -> None:
    total, big = result["tasks"]["total"], result["tasks"]["is big"]
    assert (total["labels"], big["labels"]) == (60, 80)
    assert total["labels_a_step_together"] == pytest.approx(big["labels_a_step_together"] * 60 / 80)
    alone, together = result["costs"]["alone"], result["costs"]["equal"]
    runs = [result["alone"]["runs"][task][0] for task in result["tasks"]]
    assert alone["parameters"] == sum(metrics(compared, run)["parameters"] for run in runs) > together["parameters"]
    assert together["predict_ms_a_row"] > 0


def test_a_comparison_of_an_earlier_version_is_gone_on_with(compared: Path, tmp_path: Path) -> None:
    """What it was asked for did not say an option that is new since; another value of one is another config."""
    shutil.copytree(compared, tmp_path, dirs_exist_ok=True)
    out, config = tmp_path / "out", compared / "config.yaml"
    asked = (out / "asked.yaml").read_text()
    assert "  shard: false\n" in asked
    (out / "asked.yaml").write_text(asked.replace("  shard: false\n", ""))
    said: list[str] = []
    compare(config, seeds=2, out=out, say=said.append)
    assert "6 of them finished before" in said[0]
    with pytest.raises(RunError, match="holds a comparison of another config"):
        compare(config, seeds=2, out=out, overrides=["training.clip=0.5"])


def test_each_model_differs_from_the_config_in_one_thing(compared: Path, result: dict[str, Any]) -> None:
    found = {name: load_config(compared / "out" / model["runs"][1] / "config.yaml", columns=None)
             for name, model in result["models"].items()}  # fmt: skip
    kinds = {name: (config.balancer.type, config.trunk.type) for name, config in found.items()}
    assert kinds == {"equal": ("equal", "hard"), "upgrad": ("upgrad", "hard"), "mmoe": ("equal", "mmoe")}
    assert {config.training for config in found.values()} == {found["equal"].training}
    assert found["mmoe"].trunk.options["experts"] > 1, "its own defaults are written out"


def test_what_is_printed(compared: Path, result: dict[str, Any]) -> None:
    said = (compared / "said.txt").read_text()
    for word in ("10 runs of 12 steps", "10 of 10:", "together (equal) against alone, test rows", "is big", "roc_auc",
                 "Δm of upgrad over tasks", "negative is better",
                 "Mean rank over tasks (1 is best): ", "2 seeds (95% intervals"):  # fmt: skip
        assert word in said


def test_the_page_has_a_line_for_each_model_and_task(compared: Path, result: dict[str, Any]) -> None:
    page = (compared / "out" / "report.html").read_text(encoding="utf-8")
    models = ["alone", *result["models"]]
    told = re.findall(r'<td class="model">([^<]*)</td>', page)
    assert told == models * len(result["tasks"])
    ranks = [result["alone"]["mean_rank"], *(model["mean_rank"] for model in result["models"].values())]
    assert all(f'<td class="num">{rank["per_task"]:.2f}</td>' in page for rank in ranks)


def test_ranks_are_those_of_the_mean_scores(result: dict[str, Any]) -> None:
    named = {"alone": result["alone"], **result["models"]}
    scores = {name: one["scores"] for name, one in named.items()}
    for task in scores["alone"]:
        for metric in scores["alone"][task]:
            assert {metric in own[task] for own in scores.values()} == {True}
    for name, one in named.items():
        of_tasks = []
        for task, told in result["tasks"].items():
            places = []
            for metric in scores[name][task]:
                sign = 1 if metric in told["lower_is_better"] else -1
                values = {other: sign * scores[other][task][metric]["mean"] for other in scores}
                before, equal = (
                    sum(value < values[name] for value in values.values()),
                    sum(value == values[name] for value in values.values()),
                )
                places.append(before + (equal + 1) / 2)
            of_tasks.append(np.mean(places))
        assert one["mean_rank"]["per_task"] == pytest.approx(np.mean(of_tasks))


def test_a_finished_part_is_not_trained_again(compared: Path, result: dict[str, Any], tmp_path: Path) -> None:
    """One run is lost and a seed is added; the others stay as they are, and the lost one comes back as it was."""
    folder = tmp_path / "copy"
    shutil.copytree(compared / "out", folder)
    lost = result["models"]["equal"]["runs"][1]
    (folder / lost / "metrics.json").unlink()
    told: list[str] = []
    again = compare(
        compared / "config.yaml", seeds=2, balancers=["upgrad"], trunks=["mmoe"], out=folder, say=told.append
    ).result
    assert told[0] == "10 runs of 12 steps, 9 of them finished before"
    assert len(told) == 2
    for key in ("models", "alone", "majority", "tasks"):
        assert again[key] == result[key]


def kept_score(run: Path) -> float:
    """What all tasks scored on the validation rows, at the step whose weights were kept, as the log has it."""
    best = json.loads((run / "metrics.json").read_text())["best_step"]
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return next(line["aggregate"] for line in lines if line["step"] == best and "validation" in line)


def test_tuned_weights_are_one_model_more(compared: Path, result: dict[str, Any], tmp_path: Path) -> None:
    """The best of what was tried, over all seeds; of fewer trials others may be the best, and then their runs go."""
    folder = tmp_path / "copy"
    shutil.copytree(compared / "out", folder)
    others = {"seeds": 2, "balancers": ["upgrad"], "trunks": ["mmoe"], "out": folder}
    tuned = compare(compared / "config.yaml", tune=3, **others).result
    assert [trial["run"] for trial in tuned["tuned"]["trials"]] == ["tune-0", "tune-1", "tune-2"]
    scores = [kept_score(folder / trial["run"]) for trial in tuned["tuned"]["trials"]]
    assert scores == [trial["score"] for trial in tuned["tuned"]["trials"]], "chosen by the validation rows"
    equal = metrics(compared, "equal-seed-0")
    assert metrics_in(folder, "tune-0")["test"] == equal["test"], "the first trial is the plain sum"
    best = tuned["tuned"]["trials"][int(np.argmax(scores))]
    assert tuned["tuned"]["weights"] == best["weights"]
    assert metrics_in(folder, "tuned-seed-0")["test"] == metrics_in(folder, best["run"])["test"]
    assert list(tuned["models"]) == ["equal", "upgrad", "mmoe", "tuned"]
    ranked = {"mean_rank": ANY}  # among one more
    assert {**tuned["models"]["equal"], **ranked} == {**result["models"]["equal"], **ranked}
    assert "Weights that were tried" in (folder / "report.html").read_text()

    (folder / "tune-1" / "metrics.json").unlink()  # the search was interrupted, and goes on
    again = compare(compared / "config.yaml", tune=3, **others).result
    assert again["tuned"]["weights"] == tuned["tuned"]["weights"]

    fewer = compare(compared / "config.yaml", tune=1, **others).result
    assert fewer["tuned"]["weights"] == {"total": 1.0, "is big": 1.0}
    assert fewer["models"]["tuned"]["scores"] == fewer["models"]["equal"]["scores"]


def test_a_folder_of_something_else(compared: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds a comparison of another config; give a new folder"):
        compare(compared / "config.yaml", overrides=["width=16"], out=compared / "out")
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty and holds no comparison"):
        compare(compared / "config.yaml", out=tmp_path)
    assert (tmp_path / "note.txt").read_text() == "mine"


def test_a_table_that_has_changed(compared: Path, tmp_path: Path) -> None:
    shutil.copytree(compared / "out", tmp_path / "out")
    before = (compared / "rows.csv").read_text()
    try:
        (compared / "rows.csv").write_text(before.replace("test", "train", 1))
        with pytest.raises(RunError, match=r"equal-seed-0, .*the tables changed since"):
            compare(compared / "config.yaml", seeds=2, out=tmp_path / "out")
    finally:
        (compared / "rows.csv").write_text(before)


def test_all_that_cannot_work_is_said_at_once(tmp_path: Path) -> None:
    one = {
        "inputs": {"x": "number"},
        "tasks": {"y": "number"},
        "data": {"table": str(write(tmp_path).with_name("rows.csv"))},
    }
    with pytest.raises(ConfigError) as caught:
        compare(one, seeds=0, balancers=["upgrade"], trunks=["moe"], tune=-1)
    assert "'upgrade' is not a balancer. Did you mean 'upgrad'?" in str(caught.value)
    assert "trunks: 'moe' is not a trunk. Did you mean 'mmoe'?" in str(caught.value)
    assert "tasks: one task alone has nothing to be compared with" in str(caught.value)
    assert "seeds: 0 is no number of runs" in str(caught.value)
    assert "tune: -1 is no number of runs" in str(caught.value)


def test_weights_are_not_tuned_by_the_rows_that_judge_them(tmp_path: Path) -> None:
    text = write(tmp_path).read_text().replace("split: split", "validation: 0.2")
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match="there are no test rows; `data"):
        compare(tmp_path / "config.yaml", tune=2, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_seed_claims_nothing(result: dict[str, Any]) -> None:
    one = json.loads(json.dumps(result))
    for model in one["models"].values():
        spreads = [*model["delta_m"].values(), *(d for t in model["differences"].values() for d in t.values() if d)]
        for said in spreads:
            said |= {"std": None, "low": None, "high": None, "verdict": "one seed"}
    one["seeds"] = [0]
    one["judged"] = "validation"
    lines = "\n".join(comparison_lines(one))
    assert "nothing can be said of chance" in lines
    assert "weights were chosen by the same validation rows" in lines
    shown = comparison_table("equal", one)
    assert shown.row_count == 2
    assert [column.header for column in shown.columns][-1] == "difference", "of one seed nothing is said of chance"
    assert [column.header for column in comparison_table("equal", result).columns][-1] == "together is"


def test_a_divided_network_is_compared_on_one_device(tmp_path: Path) -> None:
    """Each run of a comparison has one, as it has one thread; nothing is left that refers to several."""
    overrides = ["training.devices=2", "training.shard=true", "training.steps=2"]
    found = compare(write(tmp_path), seeds=1, overrides=overrides, out=tmp_path / "out").result
    assert set(found["models"]) == {"equal"}
    assert load_config(tmp_path / "out" / "config.yaml", columns=None).training.shard is False
