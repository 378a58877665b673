"""Train, and write a run folder."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_model

from trunkline.balancers import Balancer
from trunkline.config import Config, as_training, load_config
from trunkline.data import read_table, write_rows
from trunkline.defaults import Reasons
from trunkline.engine import Level
from trunkline.errors import DataError, RunError
from trunkline.files import plain_json, replacing, write_json
from trunkline.loading import config_of, write_digests
from trunkline.model import MultiTaskModel, TaskScores, aggregate
from trunkline.plan import Plan, make_plan
from trunkline.predictor import Prediction, Predictor
from trunkline.run.all_right import all_right
from trunkline.run.budget import fix_steps
from trunkline.run.calibration import calibration, figures, settle
from trunkline.run.facts import Subject
from trunkline.run.holding import held_folder
from trunkline.run.predictions import predict_split
from trunkline.run.reporting import report_on
from trunkline.run.resuming import METRICS, STATES, begin, end, go_on
from trunkline.run.slices import sliced
from trunkline.run.wiring import rows_of, settings_of, validation_of
from trunkline.sources import columns_of, fingerprints, read_splits, split_rows, table_or_share, trained_from
from trunkline.training import (
    Fitted,
    OnValidation,
    WriteError,
    check_tensorboard,
    from_all_processes,
    from_first_process,
    give_back,
    is_first_process,
    launch,
    meeting,
    train,
)

Metrics = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: where everything lies.
        predictor: the trained network.
        metrics: what `metrics.json` says.
        config: resolved.
        reasons: why each choice was made that the config had left open.
    """

    folder: Path
    predictor: Predictor
    metrics: Metrics
    config: Config
    reasons: Reasons


def fit(
    source: str | Path | Mapping[str, Any] | MultiTaskModel,
    rows: Any = None,
    *,
    validation: Any = None,
    test: Any = None,
    balancer: Balancer | None = None,
    level: Level | None = None,
    every: int = 1,
    overrides: Iterable[str] = (),
    out: str | Path | None = None,
    resume: bool = False,
    trust_code: bool = False,
    show_progress: bool | None = None,
    report: bool = True,
    on_validation: OnValidation | None = None,
    **training: Any,
) -> Run:
    """Train one network for all tasks and write a run folder.

    With more than one device the calling script is started once more for each further one, and `fit` returns in each
    of them, with the same metrics; the first writes the folder. So a script that ends with `fit` is good as it is, and
    what it does besides it does in every process. A notebook cannot be started again: use one device there.

    Args:
        source: path of a config, what it would hold, or a model made of objects.
        rows: with a model: the table to learn from (a path, a data frame, a list of dicts, …).
        validation: with a model: another table, or a share of `rows`.
        test: likewise.
        balancer: with a model: how tasks are combined; equal weights by default.
        level: with a model: where the engine takes gradients for a balancer that needs them.
        every: with a model: steps that the weights of one comparison serve.
        overrides: with a config: `key=value`.
        out: the run folder; it must not hold a run yet. By default a new one under `runs/`.
        resume: go on with the run in `out` that was interrupted, bit for bit; where none has begun, begin it.
        trust_code: import classes of your own that a config names as `my_package.my_module:MyClass`.
        show_progress: a bar on the terminal; by default where there is one.
        report: write the report, too; it takes some seconds, or minutes where much is written or spoken.
        on_validation: told of each look at the validation rows (`step`, `steps`, `aggregate`, `scores`); something true
            ends the training there, and the run with the best weights so far. What it raises leaves an interrupted run.
        **training: with a model: what a config says under `training:`.

    Raises:
        ConfigError: the config or the model cannot work; all faults at once.
        DataError: the rows cannot be used.
        RunError: `out` holds something already, training has diverged, or the run cannot go on.
        KeyboardInterrupt: Ctrl-C; the message says how to go on.

    Example:
        >>> run = fit(model, "train.csv", balancer=UPGrad(), steps=500)  # doctest: +SKIP
    """
    if resume and out is None:
        raise ValueError("resume: say which run, with `out`")
    if isinstance(source, MultiTaskModel):
        config, name = config_of(source, balancer, level, as_training(training), every=every), "model"
    else:
        config = load_config(source, columns=columns_of, overrides=overrides, trust_code=trust_code)
        name = Path(source).stem if isinstance(source, str | Path) else "config"
    with held_folder(out, name, is_resumed=resume) as folder:
        config = go_on(folder, config, trust_code=trust_code) if resume else config
        if isinstance(source, MultiTaskModel):
            splits = split_rows(config, read_table(rows), table_or_share(validation), table_or_share(test))
        else:
            splits = read_splits(config)
        plan = make_plan(config, splits)
        return train_plan(plan, folder, show_progress=show_progress, report=report, on_validation=on_validation)


def train_plan(
    plan: Plan,
    folder: Path,
    *,
    show_progress: bool | None = None,
    report: bool = True,
    on_validation: OnValidation | None = None,
) -> Run:
    """Train what is planned and write its run folder; go on with the run that has begun there.

    Args:
        plan: what to train.
        folder: of the run.
        show_progress: a bar on the terminal; by default where there is one.
        report: write the report, too; it takes some seconds, or minutes where much is written or spoken.
        on_validation: see `fit`.

    Raises:
        DataError: the numbers of a column are too large to be scaled.
        RunError: training has diverged, or the run began with other rows.
        KeyboardInterrupt: Ctrl-C; what was learned is in the folder.
    """
    _check_states(plan.network.preprocessing.states)
    if plan.config.training.tensorboard:
        check_tensorboard()
    start = time.perf_counter()
    with meeting():
        launch(settings_of(plan.config.training, plan.config.data))
        folder = from_first_process(folder)
        plan, _ = fix_steps(plan)
        plan.keep_no_row_that_comes_once(len(from_all_processes(None)))
        if is_first_process():
            begin(plan, folder)
        fitted = _train(plan, folder, show_progress, on_validation)
        give_back()
        predictor = Predictor(plan.network)
        believed = calibration(plan, predictor, settle(plan, predictor))
        metrics = _metrics(plan, predictor, fitted, time.perf_counter() - start)
        metrics["calibration"] = figures(believed)
        run = Run(folder, predictor, metrics, plan.config, plan.reasons)
        if is_first_process():
            said = _write(run, plan, believed)
            end(folder)
            if report:
                report_on(Subject(folder, plan, predictor, metrics, said))
    give_back()  # what comes next in this process, another run perhaps, begins anew
    return run


def _train(plan: Plan, folder: Path, show_progress: bool | None, on_validation: OnValidation | None) -> Fitted:
    try:
        return train(
            plan.network,
            plan.engine,
            rows_of(plan, plan.splits.train),
            validation_of(plan),
            settings_of(plan.config.training, plan.config.data),
            folder,
            show_progress=show_progress,
            on_validation=on_validation,
        )
    except KeyboardInterrupt as stop:
        if not stop.args:
            raise
        raise KeyboardInterrupt(f"{stop}. To go on: the same again, with --out {folder} --resume") from None
    except WriteError as error:
        raise RunError(f"{error}. What was saved before is whole: make room, and go on with --out {folder} --resume"
                       ) from error  # fmt: skip


def _check_states(states: Mapping[str, Any]) -> None:
    """What preprocessing has fitted are numbers: a column of ±1e200 has no standard deviation that a float can hold.

    Raises:
        DataError: names the columns.
    """
    wrong = [f"{kind}.{name}" for kind in ("inputs", "tasks") for name, s in states[kind].items() if not _is_finite(s)]
    if wrong:
        raise DataError(f"{', '.join(wrong)}: the numbers are too large: their scale is not finite")


def _is_finite(state: Any) -> bool:
    try:
        json.dumps(state, allow_nan=False)
    except ValueError:
        return False
    return True


def _write(run: Run, plan: Plan, believed: Mapping[str, Any]) -> dict[str, dict[int, Prediction]]:
    """The run folder; `metrics.json` last, so that what looks finished is. Returns predictions by split and place."""
    predictions = {}
    if plan.skipped:
        write_rows(run.folder / "skipped.jsonl", [fault.as_plain() for fault in plan.skipped])
    with replacing(run.folder / "model.safetensors") as unfinished:
        save_model(plan.network, str(unfinished))
    for name, split in (("validation", plan.splits.validation), ("test", plan.splits.test)):
        if split is not None:
            out = run.folder / "predictions" / f"{name}.jsonl"
            is_joint = plan.config.data is not None and bool(plan.config.data.tables)
            predictions[name] = predict_split(run.predictor, plan.source(split), split.rows, out, is_joint=is_joint)
    write_json(run.folder / "report" / "calibration.json", plain_json(believed))
    write_json(run.folder / STATES, plan.network.preprocessing.states)  # with what was settled after training
    write_digests(run.folder)
    write_json(run.folder / METRICS, plain_json(run.metrics))
    return predictions


def _metrics(plan: Plan, predictor: Predictor, fitted: Fitted, seconds: float) -> Metrics:
    scores: dict[str, Any] = {"test": None, "validation": None}
    majority: TaskScores | None = None
    told: dict[str, Any] = {}
    held, validation = plan.splits.test or plan.splits.validation, plan.splits.validation
    if validation is not None and validation is not held:
        scores["validation"], _ = predictor.evaluate(plan.source(validation), validation.rows.tolist())
    if held is not None:
        data = plan.config.data
        slices, tables = ((), ()) if data is None else (data.slices, list(data.tables))
        judged, majority, told = sliced(predictor, plan.source(held), held.table, held.rows, slices, tables)
        scores["test" if held is plan.splits.test else "validation"] = judged
    judged = scores["test"] or scores["validation"]
    whole = None if held is None else all_right(predictor, plan.source(held), held.rows.tolist())
    return {
        **scores,
        **told,
        **({} if whole is None else {"all_right": whole}),
        "majority": majority,
        "aggregate": None if judged is None else aggregate(judged, majority or {}, predictor.preprocessing),
        "validation_aggregate": fitted.aggregate,
        "steps": fitted.steps,
        "best_step": fitted.best_step,
        "parameters": sum(p.numel() for p in plan.network.parameters()),
        "seconds": round(fitted.before + seconds, 2),
        "training_seconds": round(fitted.seconds, 2),
        "signatures": _signatures(plan.config),
        "seed": plan.config.training.seed,
        "tables": fingerprints(plan.config),
        **_started(plan),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }


def _started(plan: Plan) -> dict[str, Any]:
    """Where the network comes from, and which tasks it had and kept; nothing where it began anew."""
    if plan.config.start is None:
        return {}
    (weights,) = trained_from(plan.config).values()
    kept = [task for task in plan.config.tasks if task not in plan.learning]
    return {"start": {"run": str(plan.config.start), "weights": weights, "kept": kept}}


def _signatures(config: Config) -> dict[str, dict[str, str]]:
    """How metrics are computed, by task and metric, for the kinds that say so."""
    found = {name: task.make().signatures() for name, task in config.tasks.items()}
    return {name: said for name, said in found.items() if said}
