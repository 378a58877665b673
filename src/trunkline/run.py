"""The acts, composed: fit, evaluate, predict, check, and single-task twins. The command line says the same verbs."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_model

from trunkline.balancers import CATALOG as BALANCERS
from trunkline.balancers import Balancer
from trunkline.config import (
    BalancerConfig,
    ComponentConfig,
    Config,
    DataConfig,
    InputConfig,
    TaskConfig,
    Training,
    load_config,
    to_yaml,
)
from trunkline.config.objects import as_type_and_options
from trunkline.data import Split, Splits, Table, make_splits, read_table, write_rows
from trunkline.defaults import Facts, Reasons, choose
from trunkline.engine import Engine, expected_rates
from trunkline.errors import RunError
from trunkline.files import replacing, write_json
from trunkline.fusion import CATALOG as FUSION
from trunkline.load import as_model, load
from trunkline.modalities import CATALOG as MODALITIES
from trunkline.model import MultiTaskModel, Network, TaskScores, aggregate
from trunkline.predictor import Predictor
from trunkline.schema import InputColumn, Preprocessing, RowBatches, Schema, TaskColumn
from trunkline.tasks import CATALOG as TASKS
from trunkline.training import Fitted, Rows, Settings, train
from trunkline.trunks import CATALOG as TRUNKS

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


@dataclass(frozen=True)
class Plan:
    """Everything that is known before the first step.

    Attributes:
        config: resolved.
        reasons: of the choices.
        splits: rows.
        batches: by table identity, the source of batches.
        network: untrained.
        engine: with its balancer.
    """

    config: Config
    reasons: Reasons
    splits: Splits
    batches: Mapping[int, RowBatches]
    network: Network
    engine: Engine

    def rows(self, split: Split | None) -> Rows | None:
        """One split, ready to be batched."""
        return None if split is None else Rows(self.batches[id(split.table)], split.rows)


def fit(
    source: str | Path | Mapping[str, Any] | MultiTaskModel,
    rows: Any = None,
    *,
    validation: Any = None,
    test: Any = None,
    balancer: Balancer | None = None,
    level: Any = None,
    overrides: Iterable[str] = (),
    out: str | Path | None = None,
    trust_code: bool = False,
    show_progress: bool | None = None,
    **training: Any,
) -> Run:
    """Train one network for all tasks and write a run folder.

    Args:
        source: path of a config, what it would hold, or a model made of objects.
        rows: with a model: the table to learn from (a path, a data frame, a list of dicts, …).
        validation: with a model: another table, or a share of `rows`.
        test: likewise.
        balancer: with a model: how tasks are combined; equal weights by default.
        level: with a model: where the engine takes gradients for a balancer that needs them.
        overrides: with a config: `key=value`.
        out: the run folder; it must not hold a run yet. By default a new one under `runs/`.
        trust_code: import classes of your own that a config names as `my_package.my_module:MyClass`.
        show_progress: a bar on the terminal; by default where there is one.
        **training: with a model: what a config says under `training:`.

    Raises:
        ConfigError: the config or the model cannot work; all faults at once.
        DataError: the rows cannot be used.
        RunError: `out` holds something already.

    Example:
        >>> run = fit(model, "train.csv", balancer=UPGrad(), steps=500)  # doctest: +SKIP
    """
    if isinstance(source, MultiTaskModel):
        config = _config_of(source, balancer, level, Training(**training))
        splits = _split_rows(config, read_table(rows), _table_or_share(validation, ()), _table_or_share(test, ()))
        name = "model"
    else:
        config = load_config(source, columns=_columns_of, overrides=overrides, trust_code=trust_code)
        splits = _read_splits(config)
        name = Path(source).stem if isinstance(source, str | Path) else "config"
    folder = _new_folder(out, name)
    start = time.perf_counter()
    plan = make_plan(config, splits)
    return _train(plan, folder, start, show_progress)


def make_plan(config: Config, splits: Splits) -> Plan:
    """Fit preprocessing, choose what the config leaves open, build the network."""
    schema = Schema(
        {name: InputColumn(c.make(), c.column) for name, c in config.inputs.items()},
        {name: TaskColumn(c.make(), c.column, c.of, c.weight) for name, c in config.tasks.items()},
    )
    preprocessing = Preprocessing.fit(schema, splits.train.table, splits.train.rows)
    tables = {id(s.table): s.table for s in (splits.train, splits.validation, splits.test) if s is not None}
    batches = {key: RowBatches(preprocessing, table) for key, table in tables.items()}
    labelled = batches[id(splits.train.table)].labelled[splits.train.rows]
    config, reasons = choose(config, _facts(preprocessing, labelled))
    assert config.training.input_dropout is not None and config.balancer is not None
    for source in batches.values():
        source.input_dropout = config.training.input_dropout
    if config.training.threads is not None:
        torch.set_num_threads(config.training.threads)
    torch.manual_seed(config.training.seed)
    network = as_model(config).build(preprocessing)
    engine = Engine(
        config.balancer.make(),
        preprocessing.tasks,
        level=config.balancer.level,  # type: ignore[arg-type]
        preferences={name: column.weight for name, column in schema.tasks.items()},
        rates=_rates(config, preprocessing, labelled),
        last_shared=network.trunk.last_shared(),
    )
    return Plan(config, reasons, splits, batches, network, engine)


def evaluate(
    run: str | Path | Predictor, rows: Any = None, *, trust_code: bool = False
) -> dict[str, TaskScores]:
    """Scores of a trained run.

    Args:
        run: its folder; or a predictor, with `rows`.
        rows: a table with target columns; by default the run's own test split, or its validation split without one.
        trust_code: import classes of your own that the run's config names.

    Returns:
        `{"scores": …, "majority": …}`, each by task; `None` for a task without labels.

    Raises:
        RunError: it is no finished run.
        DataError: the rows cannot be used.
    """
    predictor = run if isinstance(run, Predictor) else load(run, trust_code=trust_code)
    if rows is not None:
        table, numbers = read_table(rows), None
    else:
        if isinstance(run, Predictor):
            raise RunError("a predictor has no rows of its own: give a table")
        config = load_config(Path(run) / "config.yaml", columns=None, trust_code=trust_code)
        if config.data is None:
            raise RunError(f"{run} was trained on rows given in Python: give a table to evaluate")
        splits = _read_splits(config)
        split = splits.test or splits.validation
        if split is None:
            raise RunError(f"{run} has neither test nor validation rows: give a table to evaluate")
        table, numbers = split.table, split.rows.tolist()
    scores, majority = predictor.evaluate(table, numbers)
    return {"scores": scores, "majority": majority}


def predict(run: str | Path | Predictor, rows: Any, out: str | Path | None = None, *, trust_code: bool = False) -> Any:
    """Predictions for rows with any inputs missing; target columns are not needed.

    Args:
        run: folder, or a predictor.
        rows: a path, a data frame, a list of dicts, …
        out: where to write them: `.jsonl` in full; `.csv`, `.tsv` or `.parquet` with one column a task.
        trust_code: import classes of your own that the run's config names.

    Returns:
        One dict a row, by task; `None` where the input a task is bound to is absent.
    """
    predictor = run if isinstance(run, Predictor) else load(run, trust_code=trust_code)
    predictions = predictor.predict(read_table(rows))
    if out is not None:
        is_full = ".jsonl" in Path(out).suffixes
        write_rows(out, [_plain(p) if is_full else _flat(p) for p in predictions])
    return predictions


def single_task_twins(config: Config, splits: Splits, steps: int, out: Path, **options: Any) -> dict[str, Run]:
    """The same config once for each task alone, each with this many steps.

    Args:
        config: resolved or not.
        splits: the same rows.
        steps: optimiser steps of each.
        out: folder of their run folders.
        **options: `show_progress`.
    """
    twins = {}
    for number, (name, task) in enumerate(config.tasks.items()):
        alone = replace(config, tasks={name: task}, training=replace(config.training, steps=steps))
        start = time.perf_counter()
        plan = make_plan(alone, splits)
        twins[name] = _train(plan, _new_folder(out / f"{number}", name), start, options.get("show_progress"))
    return twins


# --- steps of fit ---


def _train(plan: Plan, folder: Path, start: float, show_progress: bool | None) -> Run:
    training = plan.rows(plan.splits.train)
    assert training is not None
    fitted = train(
        plan.network,
        plan.engine,
        training,
        plan.rows(plan.splits.validation),
        _settings(plan.config.training),
        folder,
        show_progress=show_progress,
    )
    predictor = Predictor(plan.network)
    metrics = _metrics(plan, predictor, fitted, time.perf_counter() - start)
    run = Run(folder, predictor, metrics, plan.config, plan.reasons)
    if _is_first_process():
        _write(run, plan)
    return run


def _write(run: Run, plan: Plan) -> None:
    """The run folder; `metrics.json` last, so that what looks finished is."""
    write_json(run.folder / "preprocessing.json", plan.network.preprocessing.states)
    with replacing(run.folder / "config.yaml") as unfinished:
        unfinished.write_text(to_yaml(plan.config, reasons=plan.reasons))
    with replacing(run.folder / "model.safetensors") as unfinished:
        save_model(plan.network, str(unfinished))
    write_json(run.folder / "metrics.json", run.metrics)


def _metrics(plan: Plan, predictor: Predictor, fitted: Fitted, seconds: float) -> Metrics:
    scores: dict[str, Any] = {"test": None, "validation": None}
    majority: TaskScores | None = None
    for name, split in (("validation", plan.splits.validation), ("test", plan.splits.test)):
        if split is not None:
            scores[name], majority = predictor.evaluate(split.table, split.rows.tolist())
    judged = scores["test"] or scores["validation"]
    return {
        **scores,
        "majority": majority,
        "aggregate": None if judged is None else aggregate(judged, majority or {}, predictor.preprocessing),
        "steps": fitted.steps,
        "best_step": fitted.best_step,
        "parameters": sum(p.numel() for p in plan.network.parameters()),
        "seconds": round(seconds, 2),
        "training_seconds": round(fitted.seconds, 2),
        "seed": plan.config.training.seed,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }


def _settings(training: Training) -> Settings:
    """The resolved section, under the names of the training room."""
    names = {field.name for field in fields(Settings)}
    given = {k: v for k, v in asdict(training).items() if k in names and v is not None}
    return Settings(**given)


def _rates(config: Config, preprocessing: Preprocessing, labelled: np.ndarray) -> dict[str, float]:
    """Label rates of the tasks that are divided by the expected label weight."""
    useful = int(labelled.any(1).sum())
    counts = dict(zip(preprocessing.tasks, labelled.sum(0).tolist()))
    if config.training.normalise == "batch":
        return {}
    if config.training.normalise == "expected":
        return {task: count / useful for task, count in counts.items()}
    return expected_rates(counts, useful)


def _facts(preprocessing: Preprocessing, labelled: np.ndarray) -> Facts:
    flags = torch.from_numpy(labelled).double()
    return Facts(
        rows=int(labelled.any(1).sum()),
        encoders=len(preprocessing.encoders),
        tasks=preprocessing.tasks,
        overlap=flags.T @ flags,
        counts=flags.sum(0),
    )


# --- configs and rows ---


def _config_of(model: MultiTaskModel, balancer: Balancer | None, level: Any, training: Training) -> Config:
    """What a config would say to make this model."""
    schema = model.schema()
    inputs = {
        name: InputConfig(column=c.column, **as_type_and_options(c.modality, MODALITIES))
        for name, c in schema.inputs.items()
    }
    tasks = {
        name: TaskConfig(column=c.column, of=c.of, weight=c.weight, **as_type_and_options(c.task, TASKS))
        for name, c in schema.tasks.items()
    }
    return Config(
        inputs=inputs,
        tasks=tasks,
        fusion=ComponentConfig(**as_type_and_options(model.fusion, FUSION)),
        trunk=ComponentConfig(**as_type_and_options(model.trunk, TRUNKS)),
        balancer=None if balancer is None else BalancerConfig(level=level, **as_type_and_options(balancer, BALANCERS)),
        width=model.width,
        training=training,
    )


def _columns_of(data: DataConfig) -> Sequence[str]:
    return read_table(data.train, na=data.na).columns


def _read_splits(config: Config) -> Splits:
    data = config.data
    assert data is not None
    train_table = read_table(data.train, na=data.na)
    return _split_rows(
        config, train_table, _table_or_share(data.validation, data.na), _table_or_share(data.test, data.na)
    )


def _table_or_share(given: Any, na: Any) -> Table | float | None:
    return given if given is None or isinstance(given, float) else read_table(given, na=na)


def _split_rows(config: Config, table: Table, validation: Any, test: Any) -> Splits:
    split = None if config.data is None else config.data.split
    if split is None and validation is None:
        validation = 0.1
    targets = [task.column for task in config.tasks.values()]
    return make_splits(
        table, validation=validation, test=test, split=split, stratify=targets, seed=config.training.seed
    )


def _new_folder(out: str | Path | None, name: str) -> Path:
    """The run folder: the one asked for, which must be free, or the first free one under `runs/`."""
    if out is None:
        candidates = (Path("runs") / (name if n == 1 else f"{name}-{n}") for n in range(1, 10**6))
        return next(folder for folder in candidates if not folder.exists())
    folder = Path(out)
    if _is_first_process() and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} is not empty: a run never writes over another; give a new folder")
    return folder


def _is_first_process() -> bool:
    return int(os.environ.get("LOCAL_RANK", os.environ.get("RANK", "0"))) == 0


def _flat(prediction: Mapping[str, Any]) -> dict[str, Any]:
    """One value a task, for tables of text."""
    return {task: _jsonable(said["value"] if isinstance(said, dict) else said) for task, said in prediction.items()}


def _plain(prediction: Mapping[str, Any]) -> dict[str, Any]:
    return {task: _jsonable(said) for task, said in prediction.items()}


def _jsonable(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def read_metrics(folder: str | Path) -> Metrics:
    """`metrics.json` of a finished run."""
    return json.loads((Path(folder) / "metrics.json").read_text())
