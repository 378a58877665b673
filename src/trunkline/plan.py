"""A config and its rows → everything that is known before the first step."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from trunkline.balancers import CATALOG as BALANCERS
from trunkline.balancers import Balancer
from trunkline.config import BalancerConfig, ComponentConfig, Config, DataConfig, InputConfig, TaskConfig, Training
from trunkline.config.objects import as_type_and_options
from trunkline.data import Split, Splits, Table, make_splits, read_table
from trunkline.defaults import VALIDATION, Facts, Reasons, choose
from trunkline.engine import Engine, Level, expected_rates, warn_unseen
from trunkline.fusion import CATALOG as FUSION
from trunkline.loading import as_model
from trunkline.modalities import CATALOG as MODALITIES
from trunkline.modalities import Modality
from trunkline.model import MultiTaskModel, Network
from trunkline.schema import (
    InputColumn,
    Preprocessing,
    RowBatches,
    Schema,
    TaskColumn,
    rows_with,
    sampled,
    unseen_labels,
)
from trunkline.tasks import CATALOG as TASKS
from trunkline.tasks import Task
from trunkline.trunks import CATALOG as TRUNKS


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

    def source(self, split: Split) -> RowBatches:
        """Where a split's batches come from."""
        return self.batches[id(split.table)]


def make_plan(config: Config, splits: Splits) -> Plan:
    """Fit preprocessing, choose what the config leaves open, build the network."""
    if config.training.threads is not None:  # first of all: means and scales differ in the last bit
        torch.set_num_threads(config.training.threads)
    types = {
        f"{section}.{name}.type": component.reason
        for section, components in (("inputs", config.inputs), ("tasks", config.tasks))
        for name, component in components.items()
        if component.reason is not None
    }
    config, told = choose_options(config, splits.train)
    schema = _schema(config)
    preprocessing = Preprocessing.fit(schema, splits.train.table, splits.train.rows)
    tables = {id(s.table): s.table for s in (splits.train, splits.validation, splits.test) if s is not None}
    batches = {key: RowBatches(preprocessing, table) for key, table in tables.items()}
    for name, split in (("validation", splits.validation), ("test", splits.test)):
        if split is not None:
            for task, unseen in unseen_labels(preprocessing, split.table, split.rows.tolist()).items():
                warnings.warn(unseen.tell(name, task), stacklevel=2)
    labelled = batches[id(splits.train.table)].labelled[splits.train.rows]
    facts = _facts(preprocessing, labelled)
    config, reasons = choose(config, facts)
    reasons = {**types, **told, **reasons}
    assert config.training.input_dropout is not None and config.balancer is not None
    for source in batches.values():
        source.input_dropout = config.training.input_dropout
    level = cast(Level, config.balancer.level)  # resolved; one that does not exist is refused by the engine
    if warning := warn_unseen(level, facts.overlap, facts.counts, facts.tasks):
        warnings.warn(warning, stacklevel=2)
    torch.manual_seed(config.training.seed)
    network = as_model(config).build(preprocessing)
    network.load_pretrained()
    engine = Engine(
        config.balancer.make(),
        preprocessing.tasks,
        level=level,
        preferences={name: column.weight for name, column in schema.tasks.items()},
        rates=_rates(config, preprocessing, labelled),
        last_shared=network.trunk.last_shared(),
    )
    return Plan(config, reasons, splits, batches, network, engine)


def choose_options(config: Config, train: Split) -> tuple[Config, Reasons]:
    """Options of inputs that the config leaves open and the modality chooses from the training cells."""
    reasons: Reasons = {}
    inputs = dict(config.inputs)
    schema = _schema(config)
    schema.check_columns(train.table, is_training=True)
    for name, column in schema.inputs.items():
        kind = column.modality
        if column.share is not None or type(kind).choose is Modality.choose:
            continue
        readers = schema.readers(name)
        sample = list(sampled(readers, train.table, train.rows.tolist()))
        rows = sum(len(rows_with(reader, train.table, train.rows.tolist())) for reader in readers)
        chosen = {o: c for o, c in kind.choose(sample, rows).items() if getattr(kind, o) is None}
        inputs[name] = inputs[name].with_options({option: value for option, (value, _) in chosen.items()})
        reasons |= {f"inputs.{name}.{option}": why for option, (_, why) in chosen.items()}
    for name, column in schema.inputs.items():
        if column.share is not None:
            inputs[name] = inputs[name].with_options(inputs[column.share].options)
    return replace(config, inputs=inputs), reasons


def _schema(config: Config) -> Schema:
    return Schema(
        {name: InputColumn(c.make(), c.column, c.share) for name, c in config.inputs.items()},
        {name: TaskColumn(c.make(), c.column, c.of, c.weight) for name, c in config.tasks.items()},
    )


def config_of(model: MultiTaskModel, balancer: Balancer | None, level: Any, training: Training) -> Config:
    """What a config would say to make this model."""
    schema = model.schema()
    inputs = {
        name: InputConfig(column=c.column, share=c.share, **as_type_and_options(c.modality, MODALITIES))
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


def columns_of(data: DataConfig) -> Table:
    """The table that `data:` names, to hold a config against."""
    return read_table(data.train, na=data.na)


def read_splits(config: Config) -> Splits:
    """The tables that `data:` names, split as it says."""
    data = config.data
    assert data is not None
    train_table = read_table(data.train, na=data.na)
    return split_rows(config, train_table, table_or_share(data.validation, data.na), table_or_share(data.test, data.na))


def fingerprints(config: Config) -> dict[str, str]:
    """SHA-256 of each file that `data:` names, by its path."""
    data = config.data
    paths = [] if data is None else [p for p in (data.train, data.validation, data.test) if isinstance(p, Path)]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def table_or_share(given: Any, na: Any) -> Table | float | None:
    """A table that is given by its path, or a share as it is."""
    return given if given is None or isinstance(given, float) else read_table(given, na=na)


def split_rows(config: Config, table: Table, validation: Any, test: Any) -> Splits:
    """Splits of a table; the share of validation rows is `VALIDATION` where nothing else is said.

    In a split by share every class of every task stays in the training rows, so that none is met later for the first
    time.
    """
    split = None if config.data is None else config.data.split
    if split is None and validation is None:
        validation = VALIDATION
    targets = [task.column for task in config.tasks.values()]
    is_by_share = isinstance(validation, float) or isinstance(test, float)
    keep = _one_of_each_class(config, table) if is_by_share else ()
    return make_splits(
        table, validation=validation, test=test, split=split, stratify=targets, keep=keep, seed=config.training.seed
    )


def _one_of_each_class(config: Config, table: Table) -> list[int]:
    """One row, drawn by the seed, of each class that a task's labels name."""
    order = np.random.default_rng(config.training.seed).permutation(len(table)).tolist()
    keep: dict[tuple[str, str], int] = {}
    for name, task in config.tasks.items():
        if task.column in table.columns and task.component.names is not Task.names:
            kind = task.make()
            for row, value in TaskColumn(kind, task.column).values(table, order):
                for label in kind.names(value):
                    keep.setdefault((name, label), row)
    return sorted(set(keep.values()))


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
        inputs=len(preprocessing.inputs),
        tasks=preprocessing.tasks,
        overlap=flags.T @ flags,
        counts=flags.sum(0),
    )
