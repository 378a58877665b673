"""Fixed weights of the tasks, searched for on the validation rows: what a balancer is to be held against.

Well-tuned sums match methods made for the purpose in several careful studies (Xin et al., NeurIPS 2022; Kurin et al.,
NeurIPS 2022), at the price of the runs that find them.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trunkline.arrays.extras import need
from trunkline.balancers import CATALOG as BALANCERS
from trunkline.config import BalancerConfig, Config, load_config
from trunkline.errors import RunError
from trunkline.run.fitting import Metrics
from trunkline.run.many import Job
from trunkline.run.resuming import CONFIG

TUNED = "tuned"
MOST = 10.0  # times the weight of the first task, or that share of it
AT_ONCE = 4  # trials that know nothing of each other: a fixed number, so that every machine searches alike
UNGUIDED = 4  # trials before any are guided by what others scored


@dataclass(frozen=True)
class Trial:
    """Weights, and how good they are.

    Attributes:
        weights: by task.
        score: what all tasks scored together on the validation rows, with the network's weights that were kept.
        run: its name.
    """

    weights: dict[str, float]
    score: float
    run: str


def search(
    config: Config,
    number: int,
    folder: Path,
    train: Callable[[Mapping[str, Job]], Mapping[str, Metrics]],
) -> list[Trial]:
    """Try weights: equal ones, the config's own, then such as a tree-structured Parzen estimator proposes.

    The estimator is that of Bergstra et al. (NeurIPS 2011). The same config and number give the same trials, and a
    larger number begins with them.

    Args:
        config: settled, with the seed of the trials.
        number: of runs.
        folder: of their folders, `tune-0` and so on.
        train: runs by name → their metrics.

    Raises:
        ConfigError: Optuna is missing.
        RunError: no score of all tasks could be worked out on the validation rows.
    """
    optuna = check_tools()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(n_startup_trials=UNGUIDED, multivariate=True, seed=config.training.seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    first, *others = config.tasks
    study.enqueue_trial(dict.fromkeys(others, 0.0))
    own = {task: math.log(config.tasks[task].weight / config.tasks[first].weight) for task in others}
    if any(own.values()) and all(abs(ratio) <= math.log(MOST) for ratio in own.values()):
        study.enqueue_trial(own)
    found: list[Trial] = []
    while len(found) < number:
        asked = [study.ask() for _ in range(AT_ONCE)]
        weights = [_weights(trial, first, others) for trial in asked]
        names = [f"tune-{len(found) + i}" for i in range(min(AT_ONCE, number - len(found)))]
        jobs = {name: Job(weighed(config, one), folder / name, whole=config) for name, one in zip(names, weights)}
        metrics = train(jobs)
        for trial, one, name in zip(asked, weights, names):
            found.append(Trial(one, score_of(metrics[name], name), name))
            study.tell(trial, found[-1].score)
    return found


def forget_others(jobs: Mapping[str, Job], *, trust_code: bool) -> None:
    """Take away runs in the folders of these that had other weights: of another number of trials, or another Optuna."""
    for job in jobs.values():
        path = job.folder / CONFIG
        has = load_config(path, columns=None, trust_code=trust_code).tasks if path.is_file() else job.config.tasks
        if any(task not in has or not math.isclose(has[task].weight, one.weight, rel_tol=1e-9)
               for task, one in job.config.tasks.items()):  # fmt: skip
            shutil.rmtree(job.folder)


def check_tools() -> Any:
    """Optuna.

    Raises:
        ConfigError: it is missing.
    """
    return need("optuna", extra="tune", what="a search for weights")


def weighed(config: Config, weights: Mapping[str, float]) -> Config:
    """The config with the plain sum of its tasks' losses, so weighed."""
    tasks = {name: replace(task, weight=weights[name]) for name, task in config.tasks.items()}
    return replace(config, tasks=tasks, balancer=BalancerConfig(type="equal", component=BALANCERS["equal"]))


def best_of(trials: Sequence[Trial]) -> Trial:
    """The one that scored highest; of several, the first."""
    return max(trials, key=lambda trial: trial.score)


def told(trials: Sequence[Trial], metrics: Mapping[str, Metrics]) -> dict[str, Any]:
    """As `comparison.json` has it."""
    return {
        "weights": best_of(trials).weights,
        "trials": [{"weights": t.weights, "score": t.score, "run": t.run} for t in trials],
        "training_seconds": sum(metrics[t.run]["training_seconds"] for t in trials),
    }


def _weights(trial: Any, first: str, others: Sequence[str]) -> dict[str, float]:
    """Only their ratios matter (the engine brings weights to mean 1), so the first task has 1.

    Searched on a scale on which twice and half are as far.
    """
    bound = math.log(MOST)
    return {first: 1.0, **{task: math.exp(trial.suggest_float(task, -bound, bound)) for task in others}}


def score_of(metrics: Metrics, name: str) -> float:
    """By which weights are chosen: never that of the test rows.

    Raises:
        RunError: there is none.
    """
    if "validation_aggregate" not in metrics:
        raise RunError(f"{name} was trained before runs kept what they scored on the validation rows; "
                       "give a new folder with --out, or leave out --tune")  # fmt: skip
    if metrics["validation_aggregate"] is None:
        raise RunError(f"{name}: no score of all tasks can be worked out on the validation rows, so no weights can be "
                       "chosen by it; give more validation rows, or leave out --tune")  # fmt: skip
    return float(metrics["validation_aggregate"])
