"""A config and its rows → everything that is known before the first step."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch

from trunkline.config import Config, DataConfig
from trunkline.data import WHOSE, Split, Splits, Table, check_slices, table_shares
from trunkline.defaults import Reasons, choose
from trunkline.engine import Engine, Level, expected_rates, warn_unseen
from trunkline.errors import DataError
from trunkline.facts import facts_of
from trunkline.loading import as_model, read_trained
from trunkline.modalities import Modality
from trunkline.model import Network, join
from trunkline.schema import (
    Fault,
    Preprocessing,
    RowBatches,
    Schema,
    evenly_spaced,
    kept_shares,
    rows_with,
    sampled,
    unseen_labels,
)
from trunkline.sources import as_schema, note_share, screen
from trunkline.tasks import Task
from trunkline.training import check_blending
from trunkline.types import Choices, State


@dataclass(frozen=True)
class Plan:
    """Everything that is known before the first step.

    Attributes:
        config: resolved.
        reasons: of the choices.
        splits: rows, without those that cannot be used.
        skipped: what was wrong with those.
        batches: by table identity, the source of batches.
        network: untrained.
        engine: with its balancer.
    """

    config: Config
    reasons: Reasons
    splits: Splits
    skipped: Sequence[Fault]
    batches: Mapping[int, RowBatches]
    network: Network
    engine: Engine

    def source(self, split: Split) -> RowBatches:
        """Where a split's batches come from."""
        return self.batches[id(split.table)]

    def taught(self, split: Split) -> RowBatches:
        """The same with the labels that are learned from, and by which the best weights are chosen."""
        return self.source(split) if self.config.start is None else self.source(split).teaching(self.learning)

    def keep_no_row_that_comes_once(self, processes: int) -> None:
        """Where all steps are within an epoch, nothing is kept of the training rows that go by.

        Args:
            processes: that train together, each on rows of its own.
        """
        training, data, source = self.config.training, self.config.data, self.taught(self.splits.train)
        is_whole = data is None or (data.is_drawn_whole and data.on_bad_row == "error")  # else each is read twice
        rows = int(source.labelled[self.splits.train.rows].any(1).sum())
        assert training.steps is not None and training.batch_size is not None
        inputs = source.preprocessing.schema.inputs.values()
        is_looked_at_again = self.network.blending is not None or any(c.modality.mosaic > 0 for c in inputs)
        if is_whole and not is_looked_at_again and training.steps * training.batch_size * processes <= rows:
            source.pass_by(self.splits.train.rows)

    @property
    def learning(self) -> tuple[str, ...]:
        """The tasks that learn: all, or those that are added to a trained run."""
        schema = self.network.preprocessing.schema
        return tuple(schema.tasks) if self.config.start is None else schema.newest


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
    config, share = note_share(config, splits)
    on_bad_row = "error" if config.data is None else config.data.on_bad_row
    _look_at_slices(config, splits)
    _inspect(as_schema(config), splits.train.table, splits.train.rows.tolist())
    splits, skipped = screen(as_schema(config), splits, on_bad_row)
    states, weights = (None, None) if config.start is None else read_trained(config.start)
    config, told = choose_options(config, splits.train, states)
    schema = as_schema(config)
    preprocessing = Preprocessing.fit(schema, splits.train.table, splits.train.rows, states)
    batches = _sources(preprocessing, splits, is_lenient=on_bad_row == "skip")
    for name, split in (("validation", splits.validation), ("test", splits.test)):
        if split is not None:
            for task, unseen in unseen_labels(preprocessing, split.table, split.rows.tolist()).items():
                warnings.warn(unseen.tell(name, task), stacklevel=2)
    train = batches[id(splits.train.table)]
    labelled = (train if config.start is None else train.teaching(schema.newest)).labelled[splits.train.rows]
    drawn = draw_weights(config.data, splits.train, labelled.any(1))
    facts = facts_of(config, train, splits.train.rows, labelled, drawn)
    config, reasons = choose(config, facts)
    reasons = {**types, **share, **told, **reasons}
    _warn_uneven(config, splits.train, labelled.any(1))
    assert config.training.input_dropout is not None and config.balancer is not None
    for source in batches.values():
        source.input_dropout = config.training.input_dropout
    level = cast(Level, config.balancer.level)  # resolved; one that does not exist is refused by the engine
    if warning := warn_unseen(level, facts.overlap, facts.counts, facts.tasks):
        warnings.warn(warning, stacklevel=2)
    torch.manual_seed(config.training.seed)
    network = as_model(config).build(preprocessing)
    check_blending(network, splits.validation)
    if weights is None:
        network.load_pretrained()
    else:
        join(network, weights)
    engine = Engine(
        config.balancer.make(),
        preprocessing.tasks,
        level=level,
        preferences={name: column.weight for name, column in schema.tasks.items()},
        rates=_rates(config, preprocessing, labelled, drawn),
        last_shared=network.trunk.last_shared(),
        shared=network.parameters(),
        every=config.balancer.every,
    )
    return Plan(config, reasons, splits, skipped, batches, network, engine)


def _sources(preprocessing: Preprocessing, splits: Splits, *, is_lenient: bool) -> dict[int, RowBatches]:
    """One source of batches a table."""
    parts = [part for part in (splits.train, splits.validation, splits.test) if part is not None]
    return {
        number: RowBatches(
            preprocessing,
            table,
            rows=np.concatenate([part.rows for part in parts if part.table is table]),
            pool=splits.train.rows if table is splits.train.table else None,
            is_lenient=is_lenient,
        )
        for number, table in {id(part.table): part.table for part in parts}.items()
    }


def choose_options(config: Config, train: Split, known: State | None = None) -> tuple[Config, Reasons]:
    """Options that the config leaves open and the modality or the task chooses from the training cells; not of those
    whose states are known.
    """
    trained = {} if known is None else known
    reasons: Reasons = {}
    inputs, tasks = dict(config.inputs), dict(config.tasks)
    schema = as_schema(config)
    schema.check_columns(train.table, is_training=True)
    rows = train.rows.tolist()

    def fill(section: str, configs: dict[str, Any], name: str, kind: Modality | Task, choices: Choices) -> None:
        chosen = {option: choice for option, choice in choices.items() if getattr(kind, option) is None}
        configs[name] = configs[name].with_options({option: value for option, (value, _) in chosen.items()})
        reasons.update({f"{section}.{name}.{option}": why for option, (_, why) in chosen.items()})

    for name, column in schema.inputs.items():
        kind = column.modality
        if column.share is not None or name in trained.get("inputs", ()) or not _chooses(kind):
            continue
        readers = schema.readers(name)
        sample = list(sampled(readers, train.table, rows))
        there = sum(len(rows_with(reader, train.table, rows)) for reader in readers)
        is_read = any(name in (other, c.share) for other, c in schema.inputs.items() if other in schema.kept_inputs)
        if name in schema.pyramids:
            choices = kind.choose_pyramid(sample, there)
        else:
            choices = kind.choose(sample, there, is_read=is_read)
        fill("inputs", inputs, name, kind, choices)
    for name, column in schema.inputs.items():
        if column.share is not None and name not in trained.get("inputs", ()):
            inputs[name] = inputs[name].with_options(inputs[column.share].options)
    for name, target in schema.tasks.items():
        if name not in trained.get("tasks", ()) and type(target.task).choose is not Task.choose:
            wanted = target.task.choose_sample
            looked_at = rows if wanted is None else evenly_spaced(rows_with(target, train.table, rows), wanted)
            values = [value for _, value in target.values(train.table, looked_at)]
            fill("tasks", tasks, name, target.task, target.task.choose(values))
    return replace(config, inputs=inputs, tasks=tasks), reasons


def _chooses(kind: Modality) -> bool:
    """Whether it looks at cells; if not, none are read for it."""
    of_its_own = (type(kind).choose, type(kind).choose_pyramid)
    return of_its_own != (Modality.choose, Modality.choose_pyramid)


def _look_at_slices(config: Config, splits: Splits) -> None:
    """Hold the held-out rows against `data.slices`, before anything is learned.

    Raises:
        DataError: a cell is neither name nor number.
    """
    slices = () if config.data is None else config.data.slices
    for name, split in (("test", splits.test), ("validation", splits.validation)):
        if split is not None and slices:
            check_slices(split.table, split.rows, slices)
            for column in (column for column in slices if column not in split.table.columns):
                warnings.warn(
                    f"data.slices: the {name} rows have no column {column!r} to tell them apart by", stacklevel=3
                )
            return


def _inspect(schema: Schema, table: Table, rows: Sequence[int]) -> None:
    """Hold each target column against its kind of task, before any cell is read.

    Raises:
        DataError: a column cannot be what the config says; all of them at once.
    """
    schema.check_columns(table, is_training=True)
    faults = []
    for column in schema.tasks.values():
        if type(column.task).inspect is not Task.inspect and column.column in table.columns:
            cells = table.column(column.column)
            try:
                column.task.inspect([cells[row] for row in rows if cells[row] is not None])
            except DataError as error:
                faults.append(str(error.at(table.source, None, column.column)))
    if faults:
        raise DataError("\n".join(faults))


def _warn_uneven(config: Config, train: Split, useful: np.ndarray) -> None:
    """Tell what does not go well with tables that are not drawn as often as they have rows."""
    data = config.data
    if data is None or not data.tables:
        return
    weighted = [name for name, task in config.tasks.items() if task.options.get("class_weights") == "balanced"]
    if weighted and data.sampling != "proportional":
        warnings.warn(
            f"class_weights: balanced ({', '.join(weighted)}) counts the rows of all tables, which are not drawn as "
            "often as they have rows (`data.sampling`): give the weight of each class",
            stacklevel=3,
        )
    names, counts = np.unique(np.array(train.table.column(WHOSE))[train.rows][useful], return_counts=True)
    shares = table_shares(dict(zip(names.tolist(), counts.tolist())), data.sampling)
    steps, size = config.training.steps, config.training.batch_size
    assert steps is not None and size is not None
    draws, what = (steps, "batches") if data.batches == "one_table" else (steps * size, "rows")
    for name, share in shares.items():
        if 0 < share * draws < 1:
            warnings.warn(
                f"table {name!r} has {share:.2g} of the draws, less than one of the {draws} {what} of this training: "
                "it may not be seen at all; give `data.sampling`",
                stacklevel=3,
            )


def draw_weights(data: DataConfig | None, split: Split, useful: np.ndarray) -> np.ndarray:
    """How often each row is drawn, against the mean of all that are: of several tables as `data` has it, `[rows]`."""
    if data is None or not data.tables:
        return useful.astype(np.float64)
    whose = np.array(split.table.column(WHOSE))[split.rows]
    names, counts = np.unique(whose[useful], return_counts=True)
    shares = table_shares(dict(zip(names.tolist(), counts.tolist())), data.sampling)
    weights = np.zeros(len(whose))
    for name, count in zip(names.tolist(), counts.tolist()):
        weights[useful & (whose == name)] = shares[name] * counts.sum() / count
    return weights


def _rates(config: Config, preprocessing: Preprocessing, labelled: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """Label rates of the tasks that are divided by the expected label weight."""
    useful = int(labelled.any(1).sum())
    kept, seen = kept_shares(preprocessing.schema), (weights[:, None] * labelled).sum(0)
    counts = {task: kept[task] * count for task, count in zip(preprocessing.tasks, seen.tolist())}
    if config.training.normalise == "batch":
        return {}
    if config.training.normalise == "expected":
        return {task: min(1.0, count / useful) for task, count in counts.items() if count > 0}
    return expected_rates(counts, useful)
