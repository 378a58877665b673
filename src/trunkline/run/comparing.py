"""One model for all tasks against one for each: the same data, splits and steps, over several seeds."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trunkline.balancers import CATALOG as BALANCERS
from trunkline.config import BalancerConfig, ComponentConfig, Config, load_config, to_yaml
from trunkline.errors import ConfigError, RunError, counted, suggest
from trunkline.files import plain_json, replacing, write_json
from trunkline.loading import FILES, read_metrics
from trunkline.machine import cores
from trunkline.plan import make_plan
from trunkline.run.budget import fix_steps
from trunkline.run.fitting import Metrics
from trunkline.run.holding import LOCK, locked
from trunkline.run.many import Job, alone, inputs_of_twins, running
from trunkline.run.reporting import report
from trunkline.run.tuning import TUNED, check_tools, forget_others, score_of, search, told, weighed
from trunkline.run.verdicts import Contest, labels_a_step, result_of
from trunkline.sources import columns_of, fingerprints, read_splits, read_usable
from trunkline.training import checkpoints
from trunkline.trunks import CATALOG as TRUNKS

Say = Callable[[str], None]


@dataclass(frozen=True)
class Comparison:
    """A finished comparison.

    Attributes:
        folder: where its runs and `comparison.json` lie.
        result: what `comparison.json` says; see `docs/compare.md`.
    """

    folder: Path
    result: dict[str, Any]


def compare(
    source: str | Path | Mapping[str, Any],
    *,
    seeds: int = 3,
    balancers: Sequence[str] = (),
    trunks: Sequence[str] = (),
    tune: int = 0,
    same_labels: bool = False,
    overrides: Iterable[str] = (),
    out: str | Path | None = None,
    trust_code: bool = False,
    say: Say = lambda text: None,
) -> Comparison:
    """Train the config's network and its single-task twins with several seeds, and say where they differ.

    Every run has one thread, and as many run at a time as there are cores. A folder that holds a part of the same
    comparison is gone on with: finished runs are taken as they are, interrupted ones go on, and more seeds, balancers
    or trunks can be added later.
    A script that calls this must guard its main part (`if __name__ == "__main__":`), since processes are started.

    Args:
        source: path of a config, or what it would hold; with `data`.
        seeds: how many; from `training.seed` on.
        balancers: names of others to compare beside the config's own, each with its trunk.
        trunks: names of others, each with its balancer.
        tune: runs to search fixed weights of the tasks by, with the first seed; the best, by the validation rows, are
            one model more.
        same_labels: twins' batches hold as many labels as those of the whole do, whatever would suit them. Twins of
            either kind may lie in one folder; what is told is of the kind that was asked for last.
        overrides: `key=value`.
        out: the folder; by default under `runs/`.
        trust_code: import classes of your own that the config names.
        say: told of each run that ends.

    Raises:
        ConfigError: the config cannot work, has fewer than two tasks, or a balancer or trunk is unknown.
        DataError: the rows cannot be used.
        RunError: the folder holds something else, or a table has changed since.
    """
    config = load_config(source, columns=columns_of, overrides=overrides, trust_code=trust_code)
    _check(config, seeds, balancers, trunks, tune)
    name = Path(source).stem if isinstance(source, str | Path) else "config"
    folder = Path(out) if out is not None else Path("runs") / f"{name}-compare"
    with locked(folder):
        settled = _settled(config, folder, trust_code)
        first = settled.training.seed
        models = _models(settled, config.balancer, balancers, trunks)
        is_open = config.training.batch_size is None
        contest = Contest(settled, models, tuple(range(first, first + seeds)), same_labels)
        inputs = _inputs_of_twins(contest)
        metrics = _run(_jobs(contest, folder, inputs, is_open=is_open), settled, say)
        tuned = None
        if tune:
            run = contest.together(next(iter(models)), first)
            score_of(metrics[run], run)  # that nothing can be chosen by is said before more is trained
            contest, metrics, tuned = _tuned(
                contest, folder, inputs, metrics, tune, say, is_open=is_open, trust_code=trust_code
            )
        result = {**result_of(contest, metrics, folder, trust_code=trust_code), "tuned": tuned}
        write_json(folder / "comparison.json", plain_json(result))
        report(folder)
        return Comparison(folder, result)


def _models(
    settled: Config, balancer: BalancerConfig | None, balancers: Sequence[str], trunks: Sequence[str]
) -> dict[str, Config]:
    """The config itself, under its balancer's name, and the others, each by the name of what it has for its own.

    Args:
        settled: everything chosen.
        balancer: as it was asked for: at which level another trunk's gradients are taken follows from that trunk.
        balancers: names.
        trunks: names.
    """
    assert settled.balancer is not None and settled.trunk is not None
    models = {settled.balancer.type: settled}
    for name in balancers:
        models.setdefault(name, replace(settled, balancer=BalancerConfig(type=name, component=BALANCERS[name])))
    for name in trunks:
        if name != settled.trunk.type:
            other = ComponentConfig(type=name, component=TRUNKS[name])
            models[name] = replace(settled, trunk=other, balancer=balancer or settled.balancer)
    return models


def _tuned(
    contest: Contest,
    folder: Path,
    inputs: Mapping[str, Collection[str]],
    metrics: Mapping[str, Metrics],
    number: int,
    say: Say,
    *,
    is_open: bool,
    trust_code: bool,
) -> tuple[Contest, dict[str, Metrics], dict[str, Any]]:
    """Search weights, and train the best with every seed: the contest with one model more, and all metrics."""
    tried: dict[str, Metrics] = {}

    def train(jobs: Mapping[str, Job]) -> Mapping[str, Metrics]:
        forget_others(jobs, trust_code=trust_code)
        tried.update(_run(jobs, contest.config, say))
        return tried

    found = told(search(contest.config, number, folder, train), tried)
    model = weighed(contest.config, found["weights"])
    more = replace(contest, models={**contest.models, TUNED: model})
    jobs = _jobs(more, folder, inputs, is_open=is_open)
    forget_others({name: job for name, job in jobs.items() if name not in metrics}, trust_code=trust_code)
    return more, _run(jobs, contest.config, say), found


def _check(config: Config, seeds: int, balancers: Sequence[str], trunks: Sequence[str], tune: int) -> None:
    faults = [f"balancers: {n!r} is not a balancer.{suggest(n, BALANCERS)}" for n in balancers if n not in BALANCERS]
    faults += [f"trunks: {n!r} is not a trunk.{suggest(n, TRUNKS)}" for n in trunks if n not in TRUNKS]
    if config.start is not None:
        faults.append("start: a comparison trains whole networks, none that stays as it is; leave it out")
    if config.data is None:
        faults.append("data: a comparison trains many runs from files; name a table")
    if len(config.tasks) < 2:
        faults.append("tasks: one task alone has nothing to be compared with; give 2 or more")
    if seeds < 1:
        faults.append(f"seeds: {seeds} is no number of runs; 1 or more are")
    if tune < 0:
        faults.append(f"tune: {tune} is no number of runs; 0 or more are")
    if faults:
        raise ConfigError("\n".join(faults))
    if tune:
        check_tools()  # before the first run, not after
        splits = read_splits(config)
        if splits.test is None or splits.validation is None:
            lacking = "test" if splits.test is None else "validation"
            raise ConfigError(f"tune: weights are chosen by the validation rows and judged by the test rows, and there "
                              f"are no {lacking} rows; `data.{lacking}` names some")  # fmt: skip


def _settled(config: Config, folder: Path, trust_code: bool) -> Config:
    """Everything that is left open, chosen once for all runs and kept in the folder, with what was asked for."""
    asked = folder / "asked.yaml"
    if asked.is_file():
        before = load_config(asked, columns=None, trust_code=trust_code)  # options that are new since are as they were
        if to_yaml(replace(before, mute=())) != to_yaml(replace(config, mute=())):
            raise RunError(f"{folder} holds a comparison of another config; give a new folder with --out")
    elif folder.exists() and any(path.name != LOCK for path in folder.iterdir()):
        raise RunError(f"{folder} is not empty and holds no comparison; give a new folder with --out")
    else:
        alone = replace(config.training, threads=1, devices=1, nodes=1, shard=False)  # as the runs have it
        one_thread = replace(config, training=alone)
        plan, _ = fix_steps(make_plan(one_thread, read_splits(config)))
        with replacing(folder / "config.yaml") as unfinished:
            unfinished.write_text(to_yaml(plan.config, reasons=plan.reasons), encoding="utf-8")
        with replacing(asked) as unfinished:
            unfinished.write_text(to_yaml(replace(config, mute=())), encoding="utf-8")
    settled = load_config(folder / "config.yaml", columns=None, trust_code=trust_code)
    return replace(settled, mute=config.mute)


def _inputs_of_twins(contest: Contest) -> dict[str, set[str]]:
    """By task, the inputs that come with its label in any seed's training rows: one network for all seeds."""
    found: dict[str, set[str]] = {task: set() for task in contest.config.tasks}
    for seed in contest.seeds:
        config = _with_seed(contest.config, seed)
        for task, names in inputs_of_twins(config, read_usable(config)).items():
            found[task].update(names)
        if all(own == config.inputs.keys() for own in found.values()):
            break  # no other seed adds any
    return found


def _jobs(contest: Contest, folder: Path, inputs: Mapping[str, Collection[str]], *, is_open: bool) -> dict[str, Job]:
    """All runs by name, seed by seed.

    A twin has the rows of the whole, and the batch size that suits its own label rate where the config leaves it open
    (`is_open`); or as many labels a step as the whole.
    """
    shown = {contest.together(name, contest.seeds[0]) for name in contest.models}
    sizes = dict.fromkeys(contest.config.tasks, None if is_open else contest.config.training.batch_size)
    if contest.same_labels:
        sizes = {task: max(1, round(labels)) for task, labels in labels_a_step(contest.config)[1].items()}
    jobs = {}
    for seed in contest.seeds:
        for name, model in contest.models.items():
            run = contest.together(name, seed)
            jobs[run] = Job(_with_seed(model, seed), folder / run, report=run in shown)
        config = _with_seed(contest.config, seed)
        for task, size in sizes.items():
            run = contest.alone(task, seed)
            own = replace(config, training=replace(config.training, batch_size=size))
            jobs[run] = Job(alone(own, task, inputs[task]), folder / run, whole=config)
    return jobs


def _with_seed(config: Config, seed: int) -> Config:
    return replace(config, training=replace(config.training, seed=seed))


def _run(jobs: Mapping[str, Job], config: Config, say: Say) -> dict[str, Metrics]:
    """Metrics of all runs; those that are finished already are read."""
    tables = fingerprints(config)
    metrics = {name: read_metrics(job.folder) for name, job in jobs.items() if _is_finished(job.folder)}
    if changed := [name for name, found in metrics.items() if found["tables"] != tables]:
        raise RunError(f"{', '.join(changed)}: the tables changed since; give a new folder with --out")
    missing = {name: job for name, job in jobs.items() if name not in metrics}
    _check_inputs(jobs)
    steps = config.training.steps
    say(f"{len(jobs)} runs of {steps} steps" + (f", {len(metrics)} of them finished before" if metrics else ""))
    for job in missing.values():
        if not checkpoints(job.folder):  # an interrupted run of this comparison that has nothing to go on with
            shutil.rmtree(job.folder, ignore_errors=True)
    if not missing:
        return metrics
    start = time.perf_counter()
    with running(missing) as futures:
        names = {future: name for name, future in futures.items()}
        for done, future in enumerate(as_completed(names), 1):
            metrics[names[future]] = future.result()
            left = len(missing) - done
            minutes = counted(math.ceil((time.perf_counter() - start) / done * left / 60), "minute")
            is_known = left and done > cores()  # at first the others are nearly done, too
            say(f"{len(metrics)} of {len(jobs)}: {names[future]}, {metrics[names[future]]['seconds']:.0f} s"
                + (f"; {left} more in about {minutes}" if is_known else ""))  # fmt: skip
    return metrics


def _check_inputs(jobs: Mapping[str, Job]) -> None:
    """That runs which have begun have the inputs that they would have now.

    Raises:
        RunError: an earlier version gave a twin all inputs, or seeds that were added give it more.
    """
    for name, job in jobs.items():
        if (path := job.folder / "config.yaml").is_file():
            had = load_config(path, columns=None, trust_code=True).inputs.keys()  # imported to make the job
            if had != job.config.inputs.keys():
                raise RunError(f"{name} began with the inputs {', '.join(sorted(had))}, by an earlier version or with "
                               f"fewer seeds; now {', '.join(sorted(job.config.inputs))} come with its label. Give a "
                               "new folder with --out")  # fmt: skip


def _is_finished(folder: Path) -> bool:
    return all((folder / name).is_file() for name in FILES)
