"""Options of tasks in whole runs: what is settled after training is in the run folder and is used from there."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trunkline import fit, load
from trunkline.config import load_config
from trunkline.data import write_rows
from trunkline.errors import DataError
from trunkline.plan import make_plan
from trunkline.predictor import Predictor
from trunkline.report import make_page
from trunkline.run import Run, evaluate
from trunkline.run.calibration import settle
from trunkline.run.facts import Subject
from trunkline.run.facts.held import intervals
from trunkline.sources import columns_of, read_splits
from trunkline.tasks import Binary

CONFIG = """
data: {table: rows.jsonl, split: split}
inputs: {x: number, y: number}
tasks:
  kind: {type: category, class_weights: balanced, label_smoothing: 0.05}
  rare: {type: binary, positive: R, threshold: best_f1}
  marks: {type: labels, threshold: best_f1}
  stars: ordinal
  price: number
width: 16
training: {steps: 60, batch_size: 32, threads: 1}
"""


def write_table(folder: Path) -> None:
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for i in range(360):
        x, y = rng.normal(size=2)
        noisy = x + y + rng.normal()
        rows.append({
            "split": ("train", "val", "test")[i % 3], "x": x, "y": y,
            "kind": "abc"[int(np.digitize(noisy, [-1, 1]))],
            "rare": "R" if noisy > 1.7 else "common",
            "marks": [n for n, cut in (("up", 0.0), ("far", 1.5)) if noisy > cut],
            "stars": int(np.digitize(noisy, [-2, -1, 1, 2])) + 1,
            "price": float(np.exp(2 + 1.5 * noisy)),
        })  # fmt: skip
    write_rows(folder / "rows.jsonl", rows)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("options")
    write_table(folder)
    (folder / "config.yaml").write_text(CONFIG)
    return fit(folder / "config.yaml", out=folder / "run")


def test_the_states_hold_what_was_settled(run: Run) -> None:
    states = json.loads((run.folder / "preprocessing.json").read_text())["tasks"]
    assert all(states[task]["temperature"] > 0 for task in ("kind", "rare", "marks", "stars"))
    assert 0 < states["rare"]["threshold"] < 1 and len(states["marks"]["thresholds"]) == 2
    assert "temperature" not in states["price"] and states["price"]["unit"] > 0


def test_open_options_are_in_the_resolved_config_with_reasons(run: Run) -> None:
    text = (run.folder / "config.yaml").read_text()
    assert "scale: log" in text and "tasks.price.scale: a long tail of positive values" in text


def test_the_report_file_and_the_metrics_say_how_far_to_believe(run: Run) -> None:
    found = json.loads((run.folder / "report" / "calibration.json").read_text())
    assert found["version"] == 1 and set(found["tasks"]) == {"kind", "rare", "marks", "stars"}
    for task, said in found["tasks"].items():
        figures = run.metrics["calibration"][task]
        assert figures == {key: value for key, value in said.items() if key != "bins"}
        assert said["split"] == "test" and said["temperature"] > 0 and math.isfinite(said["nll_after"])
        assert sum(b["count"] for b in said["bins"]) == 120 * (2 if task == "marks" else 1)
        error = sum(b["count"] * abs(b["accuracy"] - b["confidence"]) for b in said["bins"])
        assert said["ece_after"] == pytest.approx(error / sum(b["count"] for b in said["bins"]))


def test_the_report_takes_reliability_from_that_file_alone(run: Run, tmp_path: Path) -> None:
    """It is worked out once, of the answer that is said (of a scale its median, which need not be likeliest)."""
    quality = json.loads((run.folder / "report" / "quality.json").read_text())
    assert not any("calibration" in told for told in quality["tasks"].values())
    assert "How sure it is" in (run.folder / "report.html").read_text()
    shutil.copytree(run.folder, tmp_path / "run")
    (tmp_path / "run" / "report" / "calibration.json").unlink()
    assert "How sure it is" not in make_page([tmp_path / "run"])


def test_a_loaded_run_answers_and_scores_the_same(run: Run) -> None:
    assert evaluate(run.folder)["scores"] == run.metrics["test"]
    rows = [{"x": 2.0, "y": 1.0}, {"x": -1.0, "y": None}]
    assert load(run.folder).predict(rows) == run.predictor.predict(rows)


def test_few_validation_rows_are_told(tmp_path: Path) -> None:
    write_table(tmp_path)
    text = CONFIG.replace("split: split", "validation: 0.05").replace("steps: 60", "steps: 2")
    (tmp_path / "config.yaml").write_text(text)
    with pytest.warns(UserWarning, match=r"tasks\.rare\.threshold: stays at 0\.5: 18 labelled validation rows"):
        run = fit(tmp_path / "config.yaml", out=tmp_path / "run")
    assert run.metrics["calibration"]["kind"]["temperature"] is None
    assert "18 labelled validation rows are too few" in run.metrics["calibration"]["kind"]["skipped"]


def test_a_column_of_two_other_values_names_the_line_to_write(tmp_path: Path) -> None:
    """All such columns at once, before anything is trained."""
    write_table(tmp_path)
    text = CONFIG.replace("positive: R, ", "")
    text = text.replace("kind: {type: category, class_weights: balanced, label_smoothing: 0.05}", "kind: binary")
    (tmp_path / "config.yaml").write_text(text.replace("stars: ordinal", "stars: {type: binary, positive: '9'}"))
    with pytest.raises(DataError) as caught:
        fit(tmp_path / "config.yaml", out=tmp_path / "run")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "'kind': no cell is a yes or no" in lines[0] and "for several classes write `type: category`" in lines[0]
    assert "'rare'" in lines[1] and "as in `{type: binary, positive: 'R'}`" in lines[1]
    assert "'stars': positive: no cell is '9'; there are '3' (" in lines[2]
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_guessing_knows_nothing_that_was_settled(run: Run) -> None:
    """Whatever temperature and threshold a state has, the majority scores the same; the network does not."""
    plan = make_plan(run.config, read_splits(run.config))
    network = load(run.folder).network
    before = Predictor(network)
    states = network.preprocessing.states["tasks"]
    scores, majority = before.evaluate(plan.splits.train.table)
    states["stars"]["temperature"], states["rare"]["threshold"] = 20.0, 1e-6
    states["marks"]["thresholds"] = [1e-6, 1e-6]
    hot, same = before.evaluate(plan.splits.train.table)
    assert same == majority
    assert hot["stars"] != scores["stars"] and hot["rare"] != scores["rare"] and hot["marks"] != scores["marks"]


def test_the_chance_to_be_ahead_counts_the_same_guessing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a threshold of nearly 0 the network says yes to all; guessing, whose share is a tenth, still never does."""
    monkeypatch.setattr(Binary, "primary", "f1")
    plan = make_plan(run.config, read_splits(run.config))
    predictor = load(run.folder)
    predictor.preprocessing.states["tasks"]["rare"] |= {"prior": 0.1, "threshold": 1e-6}
    assert intervals(Subject(run.folder, plan, predictor, run.metrics, {}))["rare"]["better"] == 1.0


def test_a_threshold_that_was_given_is_one_of_guessing_too() -> None:
    state = {"prior": 0.4, "threshold": 0.3, "temperature": 2.0}
    assert Binary(threshold=0.3).before_settling(state) == {"prior": 0.4, "threshold": 0.3}
    assert Binary(threshold="best_f1").before_settling(state) == {"prior": 0.4}


def test_a_threshold_that_nothing_can_find_is_told(tmp_path: Path) -> None:
    write_table(tmp_path)
    (tmp_path / "config.yaml").write_text(CONFIG)
    config = load_config(tmp_path / "config.yaml", columns=columns_of)
    plan = make_plan(config, read_splits(config))
    none = replace(plan, splits=replace(plan.splits, validation=None))
    with pytest.warns(UserWarning, match="no validation rows") as told:
        assert settle(none, Predictor(plan.network)) == {}
    for task in ("rare", "marks"):
        assert any(
            f"tasks.{task}.threshold: stays at 0.5: there are no validation rows" in str(w.message) for w in told
        )


@pytest.mark.filterwarnings("ignore:.*marks.threshold")
def test_what_was_fitted_on_the_rows_that_judge_it_says_so(run: Run, tmp_path: Path) -> None:
    """Where there is a test split nothing needs to be said."""
    assert not any(said["fitted_on_these_rows"] for said in run.metrics["calibration"].values())
    assert "fitted on the rows that judge" not in (run.folder / "report.html").read_text()
    write_table(tmp_path)
    text = CONFIG.replace("split: split", "validation: 0.4").replace("steps: 60", "steps: 2")
    (tmp_path / "config.yaml").write_text(text)
    bare = fit(tmp_path / "config.yaml", out=tmp_path / "run")
    assert [task for task, said in bare.metrics["calibration"].items() if said["fitted_on_these_rows"]] == [
        "kind", "rare", "marks", "stars",
    ]  # fmt: skip
    page = (bare.folder / "report.html").read_text()
    assert "were fitted on the rows that judge them" in page and "were fitted on these very rows" in page
