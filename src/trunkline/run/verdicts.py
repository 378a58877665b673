"""Metrics of all runs of a comparison → what `comparison.json` says."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from trunkline.analysis import NOT_RATIOS, compare_scores, mean_ranks, mean_std, metrics_of
from trunkline.config import Config, load_config
from trunkline.data import WHOSE, Split, Table
from trunkline.loading import WEIGHTS, as_model, load
from trunkline.plan import draw_weights
from trunkline.run.fitting import Metrics
from trunkline.run.predictions import answers_of, tasks_of_tables
from trunkline.schema import Preprocessing, RowBatches, evenly_spaced, label_flags
from trunkline.sources import read_splits, read_usable, with_inputs

VERSION = 1  # of comparison.json
CONFIDENCE = 0.95
ALONE = "alone, each task"  # among the models that are ranked
TIMED_ROWS, TIMED_PASSES = 256, 3


@dataclass(frozen=True)
class Contest:
    """What is compared.

    Attributes:
        config: settled; of every run, but for what makes it that run.
        models: the configs of the multi-task models, by name; the config itself first.
        seeds: of each.
        same_labels: the twins' batches hold as many labels as those of the whole do, and not as many as suit them.
    """

    config: Config
    models: Mapping[str, Config]
    seeds: Sequence[int]
    same_labels: bool = False

    def together(self, model: str, seed: int) -> str:
        """The name of a multi-task run, and of its folder."""
        return f"{re.sub(r'[^A-Za-z0-9_-]', '_', model)}-seed-{seed}"

    def alone(self, task: str, seed: int) -> str:
        """The name of a twin's run; tasks may have any name, so they are numbered."""
        kind = "same-labels" if self.same_labels else "alone"
        return f"{kind}-{list(self.config.tasks).index(task)}-seed-{seed}"


def result_of(contest: Contest, metrics: Mapping[str, Metrics], folder: Path, *, trust_code: bool) -> dict[str, Any]:
    """Everything, as plain values.

    Args:
        contest: what was compared.
        metrics: of every run, by its name.
        folder: of the runs.
        trust_code: import classes of your own that the runs' configs name.
    """
    tasks, seeds = list(contest.config.tasks), list(contest.seeds)
    whole = [contest.together(name, seed) for name in contest.models for seed in seeds]
    judged = "test" if all(metrics[run]["test"] for run in whole) else "validation"
    alone = [{task: metrics[contest.alone(task, seed)][judged] or {} for task in tasks} for seed in seeds]
    twins = [{task: found.get(task) or {} for task, found in of_seed.items()} for of_seed in alone]
    lower = {task: c.component.lower_is_better for task, c in contest.config.tasks.items()}
    models = {}
    for name in contest.models:
        runs = [contest.together(name, seed) for seed in seeds]
        ours = [{task: metrics[run][judged][task] or {} for task in tasks} for run in runs]
        compared = compare_scores(ours, twins, lower, confidence=CONFIDENCE)
        models[name] = {"runs": runs, "scores": by_task(ours, tasks), **compared}
    by_name = {**{name: model["scores"] for name, model in models.items()}, ALONE: by_task(twins, tasks)}
    ranks = mean_ranks({name: _means(scores) for name, scores in by_name.items()}, lower)
    for name, model in models.items():
        model["mean_rank"] = ranks[name]
    majority = [metrics[contest.together(next(iter(contest.models)), seed)]["majority"] for seed in seeds]
    return {
        "version": VERSION,
        "judged": judged,
        "seeds": seeds,
        "steps": contest.config.training.steps,
        "same_labels": contest.same_labels,
        "confidence": CONFIDENCE,
        "not_in_delta_m": list(NOT_RATIOS),
        "tasks": _about_tasks(contest, folder, trust_code),
        "majority": by_task([{t: scores[t] or {} for t in tasks} for scores in majority], tasks),
        "alone": {
            "runs": {task: [contest.alone(task, seed) for seed in seeds] for task in tasks},
            "scores": by_name[ALONE],
            "mean_rank": ranks[ALONE],
        },
        "models": models,
        "costs": _costs(contest, metrics, folder, trust_code),
    }


def by_task(scores: Sequence[Mapping[str, Mapping[str, Any]]], tasks: Iterable[str]) -> dict[str, Any]:
    """Scores of each seed → by task and metric, `{"values", "mean", "std"}` over the seeds that have one."""
    return {task: {metric: _spread([one[task].get(metric) for one in scores]) for metric in metrics_of(scores, task)}
            for task in tasks}  # fmt: skip


def _means(scores: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, float | None]]:
    return {task: {metric: found["mean"] for metric, found in own.items()} for task, own in scores.items()}


def _spread(values: Sequence[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    mean, std = mean_std(known) if known else (None, None)
    return {"values": list(values), "mean": mean, "std": std}


def labels_a_step(config: Config) -> tuple[dict[str, int], dict[str, float]]:
    """By task, how many training rows have its label, and how many of a step's rows have it on average.

    Args:
        config: of the whole, settled.
    """
    train = read_splits(config).train
    flags = label_flags(as_model(config).schema(), train.table, list(config.tasks))[train.rows]
    drawn = draw_weights(config.data, train, flags.any(1))
    a_step = (config.training.batch_size or 0) * (drawn @ flags) / drawn.sum()
    return dict(zip(config.tasks, flags.sum(0).tolist())), dict(zip(config.tasks, a_step.tolist()))


def _about_tasks(contest: Contest, folder: Path, trust_code: bool) -> dict[str, Any]:
    """What each task is, and how many labels it saw."""
    config, seed = contest.config, contest.seeds[0]
    labels, together = labels_a_step(config)
    about = {}
    for name, task in config.tasks.items():
        path = folder / contest.alone(name, seed) / "config.yaml"
        twin = load_config(path, columns=None, trust_code=trust_code).training.batch_size or 0
        about[name] = {
            "kind": task.type,
            "primary": task.make().primary,
            "lower_is_better": sorted(task.component.lower_is_better),
            "labels": labels[name],
            "labels_a_step_together": together[name],
            "labels_a_step_alone": min(twin, labels[name]),
        }
    return about


def _costs(contest: Contest, metrics: Mapping[str, Metrics], folder: Path, trust_code: bool) -> dict[str, Any]:
    """Parameters, bytes of weights, seconds of training, milliseconds a predicted row: of a model, and of all twins."""
    seeds = contest.seeds
    splits = read_usable(contest.config)
    part = splits.test or splits.validation or splits.train
    rows = Split(part.table, np.array(evenly_spaced(part.rows.tolist(), TIMED_ROWS), dtype=np.int64))
    members = {name: [contest.together(name, seed) for seed in seeds] for name in contest.models}
    is_joint = contest.config.data is not None and bool(contest.config.data.tables)

    def cost(runs: Sequence[Sequence[Metrics]], folders: Sequence[Path]) -> dict[str, Any]:
        timed = partial(_milliseconds, rows=rows, is_joint=is_joint, trust_code=trust_code)
        return {
            "parameters": sum(found["parameters"] for found in runs[0]),
            "bytes": sum((folder / WEIGHTS).stat().st_size for folder in folders),
            "training_seconds": sum(found["training_seconds"] for one in runs for found in one) / len(runs),
            "predict_ms_a_row": sum(map(timed, folders)),
        }

    costs = {name: cost([[metrics[run]] for run in runs], [folder / runs[0]]) for name, runs in members.items()}
    twins = [[contest.alone(task, seed) for task in contest.config.tasks] for seed in seeds]
    found = [[metrics[run] for run in runs] for runs in twins]
    return {**costs, "alone": cost(found, [folder / run for run in twins[0]])}


def _milliseconds(run: Path, rows: Split, *, is_joint: bool, trust_code: bool) -> float:
    """The quickest of a few passes over rows that it is judged by, from cells to decoded values, over their number.

    Of several tables, each row is asked for the tasks of its own, and is nothing to a network that has none of them.
    """
    predictor = load(run, trust_code=trust_code)
    own, asked = questions(predictor.preprocessing, rows, is_joint=is_joint)
    places, seconds = np.arange(len(own)), []
    for _ in range(TIMED_PASSES):
        start = time.perf_counter()
        source = RowBatches(predictor.preprocessing, own, with_targets=False)  # of a table, all is prepared
        answers_of(predictor, source, places, asked)
        seconds.append(time.perf_counter() - start)
    return 1000 * min(seconds) / max(len(rows), 1)


def questions(preprocessing: Preprocessing, rows: Split, *, is_joint: bool) -> tuple[Table, dict[str, frozenset[str]]]:
    """What a network is asked of some rows: those that it has an input of, as a table; and by their table, tasks.

    Args:
        preprocessing: the network's.
        rows: of several tables those are left out of which it knows no task.
        is_joint: they are of several tables.
    """
    table, own = rows.table, with_inputs(preprocessing.schema, rows, preprocessing.inputs).rows
    asked: dict[str, frozenset[str]] = {}
    if is_joint:
        tasks, whose = preprocessing.tasks, table.column(WHOSE)
        asked = tasks_of_tables(table, tasks, label_flags(preprocessing.schema, table, tasks))
        own = np.array([row for row in own.tolist() if asked[whose[row]]], dtype=np.int64)
    return table.cut(own), asked
