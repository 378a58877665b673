"""What `data:` says → tables, their splits, and the rows of them that can be used."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from trunkline.config import Config, DataConfig
from trunkline.data import (
    Split,
    Splits,
    Table,
    files_of,
    join_splits,
    make_splits,
    named_table,
    origins,
    read_table,
    split_by_column,
    warn_of_groups,
)
from trunkline.defaults import Reasons, validation_share
from trunkline.errors import DataError, counted, nearest
from trunkline.schema import Fault, InputColumn, Schema, TaskColumn, bad_cells, find_faults, tell_faults
from trunkline.tasks import Task

TOLD = 5  # faults that a warning shows
READ_WHOLE = 2**30  # bytes of a file up to which all of it is read for its digest
BLOCK = 2**20  # bytes that are read of it at once


def columns_of(data: DataConfig) -> Table:
    """The table that `data:` names, to hold a config against; of several, all below each other."""
    if not data.tables:
        return read_more(data, data.train)
    parts = {name: Splits(Split.whole(read_more(one, one.train))) for name, one in data.tables.items()}
    return join_splits(parts, _naming(data)).train.table


def read_more(data: DataConfig | None, source: Any) -> Table:
    """A table, read as `data:` says."""
    if data is None:
        return read_table(source)
    return read_table(
        list(source) if isinstance(source, tuple) else source,
        na=data.na,
        encoding=data.encoding,
        delimiter=data.delimiter,
        pictures=data.pictures,
    )


def read_splits(config: Config) -> Splits:
    """The tables that `data:` names, split as it says."""
    data = config.data
    assert data is not None
    if not data.tables:
        return _read_splits(config, data, [data])
    alike: dict[tuple[Path, ...], list[DataConfig]] = {}
    for one in data.tables.values():
        alike.setdefault(origins(one.trained), []).append(one)
    parts = {name: _read_splits(config, one, alike[origins(one.trained)]) for name, one in data.tables.items()}
    warn_of_groups(parts, {name: (one.group, one.columns) for name, one in data.tables.items() if one.group})
    return join_splits(parts, _naming(data))


def _read_splits(config: Config, data: DataConfig, alike: Sequence[DataConfig]) -> Splits:
    """Of one table. `alike` are those of the same file: it is divided as all of them ask for, and so for each alike."""
    held = [
        given if given is None or isinstance(given, float) else read_more(data, given)
        for given in (data.validation, data.test)
    ]
    # What has been given another name is no column of its old name any more.
    names = [{**{old: None for old in o.columns.values() if old is not None}, **o.columns} for o in alike]
    return split_rows(config, read_more(data, data.train), held[0], held[1], data, names)


def _naming(data: DataConfig) -> dict[str, Callable[[Table], Table]]:
    """What gives each of several tables, and its columns, their names."""
    return {
        name: partial(named_table, name=name, columns=one.columns, split=one.split) for name, one in data.tables.items()
    }


def read_usable(config: Config) -> Splits:
    """The same as they will be used: without the rows that `on_bad_row: skip` leaves out."""
    splits = read_splits(config)
    assert config.data is not None
    return screen(as_schema(config), splits, "skip")[0] if config.data.on_bad_row == "skip" else splits


def read_part(config: Config, whole: Config) -> Splits:
    """The rows of a whole as they will be used by a part of it, which may have fewer tasks and inputs.

    Rows that have none of its inputs are left out.
    """
    splits = read_usable(whole)
    if config.inputs.keys() == whole.inputs.keys():
        return splits
    schema = as_schema(config)
    held = [
        None if part is None else with_inputs(schema, part, config.inputs) for part in (splits.validation, splits.test)
    ]
    validation, test = (part if part is not None and len(part) else None for part in held)
    return replace(splits, train=with_inputs(schema, splits.train, config.inputs), validation=validation, test=test)


def with_inputs(schema: Schema, part: Split, inputs: Iterable[str]) -> Split:
    """The rows that have one of these inputs."""
    present = np.zeros(len(part.table), dtype=bool)
    for column in {schema.inputs[name].column for name in inputs} & set(part.table.columns):
        present |= part.table.present(column)
    return Split(part.table, part.rows[present[part.rows]])


def as_schema(config: Config) -> Schema:
    """What a config binds to which column."""
    return Schema(
        {name: InputColumn(c.make(), c.column, c.share) for name, c in config.inputs.items()},
        {name: TaskColumn(c.make(), c.column, c.of, c.weight, c.share, c.added) for name, c in config.tasks.items()},
    )


def table_or_share(given: Any) -> Table | float | None:
    """A table that is given in Python, or a share as it is."""
    return given if given is None or isinstance(given, float) else read_table(given)


def split_rows(
    config: Config,
    table: Table,
    validation: Any,
    test: Any,
    data: DataConfig | None = None,
    names: Sequence[Mapping[str, str | None]] = ({},),
) -> Splits:
    """Splits of a table; the share of validation rows is `validation_share` where nothing else is said.

    In a split by share every class of every task stays in the training rows, so that none is met later for the first
    time.

    Args:
        config: what is learned.
        table: to be split.
        validation: another table, a share, or `None`.
        test: likewise.
        data: how this table is read; by default the config's section.
        names: `{name: column}` where the table's column goes by another name; several, where it is several tables.
    """
    data = config.data if data is None else data
    columns = [
        (name, column)
        for own in names
        for name, task in config.tasks.items()
        if (column := own.get(task.column, task.column)) is not None and column in table.columns
    ]
    split = table.split if data is None or data.split is None else data.split  # a source may hold out rows itself
    rows = np.arange(len(table)) if split is None else split_by_column(table, split).train.rows
    is_drawn = validation is None or isinstance(validation, float) or isinstance(test, float)
    keep = _one_of_each_class(config, table, rows, columns) if is_drawn else ()
    return make_splits(
        table,
        validation=validation,
        test=test,
        split=split,
        default=validation_share(len(table)),
        stratify=list(dict.fromkeys(column for _, column in columns)),
        keep=keep,
        group=None if data is None else data.group,
        seed=config.training.seed,
    )


def note_share(config: Config, splits: Splits) -> tuple[Config, Reasons]:
    """The config with the share that validation was drawn by, where it did not say one."""
    data = config.data
    if data is None or data.validation is not None or splits.share is None:
        return config, {}
    why = "a share of the training rows to choose the best weights by"
    return replace(config, data=replace(data, validation=splits.share)), {"data.validation": why}


def fingerprints(config: Config) -> dict[str, str]:
    """SHA-256 of each file that `data:` names, by its path; of a folder, of its files' names and sizes.

    Of a file above `READ_WHOLE` it is of its size and of pieces evenly spread over it.
    """
    data = config.data
    if data is None:
        return {}
    named = [path for one in (data.tables.values() or [data]) for path in _paths_of(one)]
    return {str(path): _digest(path) for name in named for path in files_of(name)}


def trained_from(config: Config) -> dict[str, str]:
    """SHA-256 of the weights that a config starts from, by their path; nothing where it starts from none."""
    if config.start is None:
        return {}
    path = config.start / "model.safetensors"
    return {str(path): _digest(path)}


def _paths_of(data: DataConfig) -> list[Path]:
    return [*data.trained, *(held for held in (data.validation, data.test) if isinstance(held, Path))]


def screen(schema: Schema, splits: Splits, on_bad_row: str) -> tuple[Splits, list[Fault]]:
    """Look through every row of every split before anything is learned from one.

    Args:
        schema: what reads which column.
        splits: rows.
        on_bad_row: `error` or `skip`.

    Returns:
        Splits without the rows that have a fault, and all faults.

    Raises:
        DataError: there are faults, and they are not to be skipped; or no training row is left.
    """
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    there = [part for part in parts.values() if part is not None]
    schema.check_columns(splits.train.table, is_training=True)
    found: dict[int, list[Fault]] = {}
    for table in {id(part.table): part.table for part in there}.values():
        rows = np.unique(np.concatenate([part.rows for part in there if part.table is table]))
        found[id(table)] = find_faults(schema, table, rows)
    faults = [fault for of_table in found.values() for fault in of_table]
    refuse_or_warn(faults, on_bad_row)
    if not faults:
        return splits, []
    emptied = {id(part.table): part.table.without(bad_cells(found[id(part.table)])) for part in there}
    left = {
        name: None if part is None else without(part, found[id(part.table)], emptied) for name, part in parts.items()
    }
    if left["train"] is None:
        raise DataError(f"no training row can be used:\n{tell_faults(faults)}")
    return replace(splits, train=left["train"], validation=left["validation"], test=left["test"]), faults


def usable(schema: Schema, table: Table, on_bad_row: str) -> Split:
    """The rows of another table that can be judged; see `screen`."""
    schema.check_columns(table, is_training=False)
    warn_absent(schema, table)
    faults = find_faults(schema, table)
    refuse_or_warn(faults, on_bad_row)
    left = without(Split.whole(table), faults, {id(table): table.without(bad_cells(faults))})
    if left is None:
        raise DataError(f"no row of {table.source} can be used:\n{tell_faults(faults)}")
    return left


def predictable(schema: Schema, table: Table, on_bad_row: str) -> Split:
    """The rows of a table that have an input; cells that cannot be read are absent, where that is allowed.

    Raises:
        DataError: there are such cells, and it is not.
    """
    schema.check_columns(table, is_training=False, with_targets=False)
    warn_absent(schema, table)
    faults = find_faults(schema, table, with_targets=False)
    if on_bad_row == "error" and any(fault.column is not None for fault in faults):
        raise DataError(f"{tell_faults(faults)}\nleft empty, such cells are absent; as they are, too, with "
                        "`on_bad_row: skip` under `data:` in the run's config")  # fmt: skip
    emptied = table.without(bad_cells(faults))
    present = np.stack([emptied.present(column.column) for column in schema.inputs.values()], 1).any(1)
    if faults:
        cells, rows = sum(fault.column is not None for fault in faults), int((~present).sum())
        bad = f"{counted(cells, 'cell')} cannot be read and {'counts' if cells == 1 else 'count'} as absent"
        have = "has no input and gets" if rows == 1 else "have no input and get"
        told = [bad] * (cells > 0) + [f"{counted(rows, 'row')} {have} no prediction"] * (rows > 0)
        warnings.warn(f"{', '.join(told)}:\n{tell_faults(faults, TOLD)}", stacklevel=2)
    return Split(emptied, np.flatnonzero(present))


def warn_absent(schema: Schema, table: Table) -> None:
    """Name the inputs that have no column in a table. They may be absent; but a name may also be spelt otherwise."""
    unread = set(table.columns) - {*schema.input_columns, *(task.column for task in schema.tasks.values())}
    gone = {c: nearest(c, unread) for c in schema.input_columns if c not in table.columns}
    if gone:
        first = sorted(gone, key=lambda column: not gone[column])  # what may be spelt otherwise
        lines = [f"no column {column!r}.{gone[column]}" for column in first[:TOLD]]
        more = [f"… and {len(gone) - TOLD} more"] if len(gone) > TOLD else []
        of = f"{len(gone)} of {len(schema.input_columns)} input columns"
        text = "\n".join([f"{table.source}: {of} are not there and count as absent in every row:", *lines, *more])
        warnings.warn(text, stacklevel=3)


def refuse_or_warn(faults: Sequence[Fault], on_bad_row: str) -> None:
    """What cannot be used ends it all, or is left out with a warning.

    Raises:
        DataError: all faults, at most 20 by name.
    """
    if not faults:
        return
    if on_bad_row == "error":
        raise DataError(f"{tell_faults(faults)}\n`on_bad_row: skip` under `data:` leaves such rows out")
    rows = len({(fault.source, fault.row) for fault in faults})
    left_out = f"{counted(rows, 'row')} that cannot be used {'is' if rows == 1 else 'are'} left out"
    warnings.warn(f"{left_out}:\n{tell_faults(faults, TOLD)}", stacklevel=3)


def without(part: Split, faults: Sequence[Fault], emptied: Mapping[int, Table]) -> Split | None:
    """The split without rows at fault, on the table whose bad cells are emptied; `None` where none is left."""
    bad = sorted({fault.row for fault in faults})
    rows = np.setdiff1d(part.rows, np.array(bad, dtype=np.int64), assume_unique=True)
    return Split(emptied[id(part.table)], rows) if len(rows) else None


def _one_of_each_class(config: Config, table: Table, rows: np.ndarray, columns: Sequence[tuple[str, str]]) -> list[int]:
    """One of these rows, drawn by the seed, of each class that a task's labels name; of tasks and their columns."""
    order = np.random.default_rng(config.training.seed).permutation(rows).tolist()
    keep: dict[tuple[str, str, str], int] = {}
    for name, column in columns:
        task = config.tasks[name]
        if task.component.names is not Task.names:
            kind = task.make()
            for row, value in TaskColumn(kind, column).readable(table, order):
                for label in kind.names(value):
                    keep.setdefault((name, column, label), row)
    return sorted(set(keep.values()))


def _digest(path: Path) -> str:
    if not path.is_dir():
        return _digest_of_file(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    listed = "\n".join(f"{file.relative_to(path).as_posix()} {file.stat().st_size}" for file in files)
    return hashlib.sha256(listed.encode()).hexdigest()


def _digest_of_file(path: Path) -> str:
    size, digest = path.stat().st_size, hashlib.sha256()
    places: Iterable[int] = range(0, size, BLOCK)
    if size > READ_WHOLE:
        digest.update(str(size).encode())
        places = np.linspace(0, size - BLOCK, READ_WHOLE // BLOCK).astype(int).tolist()
    with path.open("rb") as file:
        for place in places:
            file.seek(place)
            digest.update(file.read(BLOCK))
    return digest.hexdigest()
