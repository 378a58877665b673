"""Fixed weights of tasks, searched for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trunkline import RunError
from trunkline.config import Config, load_config, to_yaml
from trunkline.run.many import Job
from trunkline.run.tuning import Trial, best_of, forget_others, search, told, weighed


def config(tasks: tuple[str, ...] = ("a", "b", "c"), weight: float = 2.0) -> Config:
    source = {"inputs": {"x": "number"}, "tasks": {t: {"type": "number", "weight": weight} for t in tasks}}
    return load_config({**source, "balancer": "upgrad"}, columns=["x", *tasks])


def trials(number: int, score: Any, tasks: tuple[str, ...] = ("a", "b", "c")) -> list[Trial]:
    """A search in which a run's score follows from its weights alone."""

    def train(jobs: Mapping[str, Job]) -> dict[str, dict[str, Any]]:
        return {
            name: {
                "aggregate": 0.0,
                "validation_aggregate": score({task: one.weight for task, one in job.config.tasks.items()}),
            }
            for name, job in jobs.items()
        }

    return search(config(tasks), number, Path("out"), train)


def away(weights: Mapping[str, float]) -> float:
    """Best where b counts four times a, and c a third of it."""
    return -((math.log(weights["b"] / 4) ** 2) + math.log(weights["c"] * 3) ** 2)


def test_the_search_begins_with_equal_weights_and_gets_better() -> None:
    found = trials(40, away)
    assert found[0].weights == {"a": 1.0, "b": 1.0, "c": 1.0}
    assert all(trial.weights["a"] == 1.0 and 0.1 <= trial.weights["b"] <= 10.0 for trial in found)
    assert [trial.run for trial in found] == [f"tune-{i}" for i in range(40)]
    best = best_of(found)
    assert best.score == max(trial.score for trial in found) > -0.5 > away(found[0].weights)
    guided = sorted(trial.score for trial in found[20:])[10]
    assert guided > sorted(trial.score for trial in found[1:9])[4]  # half of the late ones, half of the early ones


def test_more_trials_begin_with_the_same_ones() -> None:
    assert trials(3, away) == trials(6, away)[:3] == trials(9, away)[:3]
    assert trials(6, away) == trials(9, away)[:6]


def test_what_is_searched_is_the_plain_sum() -> None:
    made = weighed(config(), {"a": 1.0, "b": 0.5, "c": 3.0})
    assert made.balancer is not None and made.balancer.type == "equal"
    assert {name: task.weight for name, task in made.tasks.items()} == {"a": 1.0, "b": 0.5, "c": 3.0}


def test_a_tie_is_won_by_the_first() -> None:
    assert best_of(trials(4, lambda weights: 0.5)).run == "tune-0"


def test_without_a_score_nothing_can_be_chosen() -> None:
    with pytest.raises(RunError, match="tune-0: no score of all tasks"):
        trials(2, lambda weights: None)


def test_what_is_told() -> None:
    found = trials(2, away)
    said = told(found, {trial.run: {"training_seconds": 3.0} for trial in found})
    assert said["training_seconds"] == 6.0 and len(said["trials"]) == 2
    assert said["weights"] == best_of(found).weights


def test_the_weights_of_the_config_are_tried_too() -> None:
    made = config()
    own = replace(made, tasks={**made.tasks, "b": replace(made.tasks["b"], weight=6.0)})
    found = search(own, 2, Path("out"), lambda jobs: {name: {"validation_aggregate": 0.5} for name in jobs})
    assert found[1].weights == pytest.approx({"a": 1.0, "b": 3.0, "c": 1.0})


def test_runs_of_other_weights_are_taken_away(tmp_path: Path) -> None:
    """As when another version of the estimator proposes otherwise; those of the same stay."""
    jobs = {}
    for name, weight in (("same", 1.0), ("other", 1.5)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(to_yaml(config(weight=weight)))
        jobs[name] = Job(config(weight=1.0), tmp_path / name)
    forget_others({**jobs, "new": Job(config(), tmp_path / "new")}, trust_code=False)
    assert (tmp_path / "same" / "config.yaml").is_file() and not (tmp_path / "other").exists()
