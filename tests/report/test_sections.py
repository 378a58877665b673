"""What the sections say of facts that are made up for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trunkline.report.checks import held_out
from trunkline.report.files import RunFiles
from trunkline.report.sections.answers import answers, calibration
from trunkline.report.sections.data import data
from trunkline.report.sections.gallery import _read
from trunkline.report.sections.summary import summary
from trunkline.report.sections.training import training
from trunkline.tasks import Category, Labels


def run_of(
    tasks: dict[str, dict[str, Any]],
    *,
    scores: dict[str, float],
    twins: dict[str, float] | None = None,
    log: list[dict[str, Any]] | None = None,
    best_step: int = 1,
    others: dict[str, Any] | None = None,
) -> RunFiles:
    """The files of a run with one metric a task, judged on test rows; guessing scores 0.5."""
    plain = {"type": "number", "metric": "m", "best": 1.0, "lower_is_better": False, "rows": 500}
    metrics = {
        "test": {task: {"m": score} for task, score in scores.items()},
        "validation": None,
        "majority": {task: {"m": 0.5} for task in scores},
        "parameters": 10, "steps": 4, "best_step": best_step, "training_seconds": 1.0,
    }  # fmt: skip
    facts = {name: {} for name in ("data", "model", "choices", "system", "absence", "gallery", "calibration")}
    told = {"tasks": {task: plain | tasks.get(task, {}) for task in scores}}
    alone = {task: {"m": score} for task, score in (twins or {}).items()}
    return RunFiles(Path("run"), "run", metrics, log or [], [], "", facts | {"quality": told} | (others or {}), alone)


def test_what_becomes_of_unseen_labels_is_said_for_each_kind() -> None:
    unseen = {
        name: {"unseen": {"names": [["new", 3]], "consequence": kind().unseen_names}}
        for name, kind in (("kind", Category), ("animal", Category), ("marks", Labels))
    }
    said = held_out.unseen(run_of(unseen, scores={"kind": 0.7, "animal": 0.7, "marks": 0.7, "other": 0.7}))
    assert said is not None
    assert said.says.endswith("for kind and animal: they count as wrong; for marks: they are left out of its scores.")


@pytest.mark.parametrize("best", [0.0, 1.0])
@pytest.mark.parametrize("lower_is_better", [True, False])
def test_a_tie_is_no_better_than_alone(lower_is_better: bool, best: float) -> None:
    """Whatever `best` and guessing are: the direction is a fact of its own."""
    facts = {task: {"lower_is_better": lower_is_better, "best": best} for task in ("less", "same", "more")}
    run = run_of(facts, scores=dict.fromkeys(facts, 0.3), twins={"less": 0.4, "same": 0.3, "more": 0.2})
    ahead, behind = ("less", "same and more") if lower_is_better else ("more", "less and same")
    assert summary(run)["twins"].startswith(f"Better together: {ahead}. No better than alone: {behind}.")


def log_of(aggregates: list[float | None]) -> list[dict[str, Any]]:
    """A validation at each step, with what it says of all tasks."""
    return [{"step": i + 1, "validation": {"y": {"m": 0.5}}, "aggregate": a} for i, a in enumerate(aggregates)]


def kept(log: list[dict[str, Any]], best_step: int) -> str:
    found = training(run_of({}, scores={"y": 0.7}, log=log, best_step=best_step))
    assert found is not None
    return found["kept"]


def test_weights_that_no_score_chose_are_not_called_best() -> None:
    for best_step in (1, 6):
        said = kept(log_of([None] * 6), best_step)
        assert f"step {best_step} were kept" in said
        assert "best" not in said


def test_weights_that_a_score_chose_are_called_best() -> None:
    assert "the best on the validation rows" in kept(log_of([None, 0.5, 0.4, 0.3, 0.2, 0.1]), 2)


def test_without_validation_rows_the_last_weights_are_kept() -> None:
    assert "No rows were held out" in kept([{"step": 1, "losses": {"y": 1.0}}], 1)
    unlabelled = [{"step": 1, "validation": {"y": None}, "aggregate": None}]
    assert "No rows were held out" not in kept(unlabelled, 1)


def test_counts_of_some_rows_say_of_how_many() -> None:
    values = {"kind": "classes", "classes": [["a", 20], ["b", 10]], "more": 0, "rest": 0}
    columns = [
        {"name": name, "type": "category", "present": {"train": 40}, "values": values | {"looked_at": rows}}
        for name, rows in (("some", 30), ("all", 40))
    ]
    facts = {"splits": {"train": 40}, "inputs": columns, "tasks": [], "overlap": None}
    found = data(run_of({}, scores={"y": 0.7}, others={"data": facts}))
    assert found is not None
    assert [card["looked_at"] for card in found["groups"][0]["cards"]] == [30, None]


def test_reliability_of_a_yes_or_no_is_that_of_a_yes() -> None:
    one = {"bins": [{"confidence": 0.2, "accuracy": 0.25, "count": 400}], "ece_before": 0.05, "ece_after": 0.05,
           "temperature": None, "skipped": None}  # fmt: skip
    for kind, words in (("binary", "chance of a yes"), ("labels", "chance of a yes"), ("category", "confidence")):
        run = run_of({"y": {"type": kind}}, scores={"y": 0.7}, others={"calibration": {"tasks": {"y": one}}})
        found = calibration(run)
        assert found is not None
        assert words in found["tasks"][0]["figure"]
        assert found["has_yes_or_no"] == (kind != "category")


def test_a_list_of_classes_that_was_cut_says_so() -> None:
    for number, is_cut in ((29, False), (30, True)):
        classes = [{"name": str(i), "rows": 1, "precision": None, "recall": 0.0} for i in range(number)]
        found = answers(run_of({"y": {"type": "category", "classes": classes}}, scores={"y": 0.7}))
        assert found is not None
        assert found["tasks"][0]["has_more_classes"] == is_cut


def test_boxes_have_curves_with_a_legend_and_reliable_scores() -> None:
    bins = [{"low": 0.8, "high": 0.9, "confidence": 0.85, "accuracy": 0.4, "count": 200}]
    told = {
        "type": "boxes",
        "classes": [{"name": "cat", "rows": 9, "precision": 0.5, "recall": 0.5, "map50": 0.4, "map": 0.2}],
        "curves": [{"name": "cat", "points": [[0.0, 1.0], [0.5, 0.8]]}],
        "legend": [["cat", "#e69f00"]],
        "reliability": {"bins": bins, "ece": 0.45, "from": 0.3},
    }
    run = run_of({"things": told}, scores={"things": 0.4, "other": 0.7})
    (task,) = answers(run)["tasks"]
    assert task["extra"] == {"map50": "AP50", "map": "AP"} and task["legend"] == [("cat", "#e69f00")]
    assert "stroke:#e69f00" in task["figures"][-1] and "<title>cat</title>" in task["figures"][-1]
    sure = calibration(run)
    assert sure["scored"] == ["things"] and sure["tasks"][0]["words"] == "too sure of itself"
    assert sure["tasks"][0]["after"] == 0.45 and sure["tasks"][0]["before"] is None


def test_words_of_a_transcript_are_equally_strong_however_long_they_are() -> None:
    sources = [{"input": "sound", "kind": "time", "word": f"{i} s"} for i in range(4)]
    weights = [[0.25, 0.25, 0.25, 0.25], [0.0, 0.0, 0.5, 0.5]]
    told = {"sources": sources, "words": ["one", "two"], "weights": weights, "maps": {}, "more": 0, "unread": 0}
    aligned, attended = (_read("said", {**told, "is_alignment": one})["figure"] for one in (True, False))
    assert aligned.count('fill-opacity="1"') == 6 and attended.count('fill-opacity="1"') == 2


def test_experts_are_told_by_the_last_third() -> None:
    """Of a task that some lines lack, by those that have it; a task's own experts are nobody else's."""
    lines = [{"step": i, "losses": {}, "experts": {"y": {"y: 1": i / 10, "shared 1": 1 - i / 10}}} for i in range(1, 7)]
    lines[5]["experts"]["z"] = {"z: 1": 0.25, "shared 1": 0.75}
    found = training(run_of({}, scores={"y": 0.7, "z": 0.7}, log=lines))
    assert found is not None
    assert found["experts"]["names"] == ["y: 1", "shared 1", "z: 1"]
    (_, own), (_, other) = found["experts"]["rows"]
    assert own == [pytest.approx(0.55), pytest.approx(0.45), None]
    assert other == [None, 0.75, 0.25]
