"""A file or a dict → `Config`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from trunkline.config.components import Catalogs
from trunkline.config.dialect import parse_yaml
from trunkline.config.infer import infer_types
from trunkline.config.options import signature_of
from trunkline.config.overrides import override
from trunkline.config.problems import Problems
from trunkline.config.reader import Entry, Reader
from trunkline.config.sections import Config, DataConfig
from trunkline.config.settings import read_data, read_mute, read_training, read_width
from trunkline.config.sharded import check_sharding
from trunkline.config.sharing import take_over
from trunkline.config.spread import bind, check_columns, check_leaks, spread
from trunkline.config.starting import joined, read_start
from trunkline.data import WHOSE, Table
from trunkline.errors import ConfigError, DataError, brief, suggest

Columns = Sequence[str] | Table


def load_config(
    source: str | Path | Mapping[str, Any],
    *,
    columns: Columns | Callable[[DataConfig], Columns] | None,
    overrides: Iterable[str] = (),
    catalogs: Catalogs | None = None,
    trust_code: bool = False,
) -> Config:
    """Read a config, check all of it, and write its patterns out.

    Args:
        source: path of a YAML file, or what it would hold. Paths in it are relative to the file (of a dict: to the
            working directory).
        columns: the table, or only its columns' names where no type is left out; or a function that reads either once
            `data:` is known. `None` where there is no table to hold the config against: it must be a resolved one,
            which has no patterns and names every type.
        overrides: `key=value`, as on the command line.
        catalogs: the names that `type:` may have; trunkline's own by default.
        trust_code: import what `type: my_package.my_module:MyClass` names.

    Raises:
        ConfigError: everything that is wrong, one line each.
        DataError: the config is good as far as it can be seen, but its table cannot be read.
    """
    problems = Problems()
    raw, folder = _read_source(source)
    raw = override(raw, overrides, problems)
    sections = [field.name for field in fields(Config)]
    for key in (key for key in raw if key not in sections):
        problems.add(key, f"there is no such section.{suggest(key, sections)}")
    start = read_start(raw.get("start"), folder, problems)
    if columns is not None:
        raw = _with_start(raw, start, problems)
    data = read_data(raw.get("data"), folder, problems, is_needed=callable(columns))
    reader = Reader(problems, catalogs or Catalogs(), trust_code=trust_code)
    entries = {"inputs": reader.read_inputs(raw.get("inputs")), "tasks": reader.read_tasks(raw.get("tasks"))}
    rest = Config(
        inputs={},
        tasks={},
        data=data,
        fusion=reader.read_fusion(raw.get("fusion")),
        trunk=reader.read_trunk(raw.get("trunk")),
        balancer=reader.read_balancer(raw.get("balancer")),
        width=read_width(raw.get("width"), problems),
        training=read_training(raw.get("training"), problems),
        mute=read_mute(raw.get("mute"), problems),
        start=start,
    )
    processes = (rest.training.devices, rest.training.nodes)
    if rest.training.affinity and any(isinstance(count, int) and count > 1 for count in processes):
        problems.add("training.affinity", "one process measures it; leave out training.devices and training.nodes.")
    if rest.training.affinity and rest.training.precision == "16-mixed":
        problems.add("training.affinity", "gradients of single tasks are not scaled; bf16-mixed needs no scaling.")
    check_sharding(rest, problems)
    if rest.training.by_length and data is not None and not data.is_drawn_whole:
        problems.add("training.by_length", "goes with rows that are drawn once an epoch. Leave it out, or "
                     "`data.sampling` and `data.batches`.")  # fmt: skip
    if isinstance(rest.training.shuffle, int) and data is not None and not data.is_drawn_whole:
        problems.add("training.shuffle", "goes with rows that are drawn once an epoch. Leave it out, or "
                     "`data.sampling` and `data.batches`.")  # fmt: skip
    table = _read_columns(columns, data, problems)
    config = _with_entries(rest, entries, table, reader)
    problems.raise_any()
    return config if data is None else _with_separator(config, data.separator)


def _with_start(raw: Mapping[str, Any], start: Path | None, problems: Problems) -> Mapping[str, Any]:
    """With what the run has that it starts from."""
    if start is not None:
        return joined(raw, start, problems)
    tasks = raw.get("tasks")
    for name, task in tasks.items() if isinstance(tasks, Mapping) else ():
        if isinstance(task, Mapping) and task.get("added"):
            problems.add(f"tasks.{name}.added", "goes with `start`, the run that it was added to.")
    return raw


def _read_source(source: str | Path | Mapping[str, Any]) -> tuple[Mapping[str, Any], Path]:
    if isinstance(source, Mapping):
        return source, Path.cwd()
    path = Path(source)
    try:
        raw = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text: {error}") from error
    except (OSError, ValueError) as error:  # the latter of a name with a NUL in it
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: is no config. It begins with a section such as `inputs:`, not with {brief(raw)}")
    return raw, path.absolute().parent


def _read_columns(
    columns: Columns | Callable[[DataConfig], Columns] | None, data: DataConfig | None, problems: Problems
) -> Columns | None:
    if not callable(columns):
        return columns
    if data is None:
        return None
    try:
        return columns(data)
    except DataError as error:
        if not problems.lines:
            raise
        problems.add("data", str(error))
        return None


def _with_entries(
    rest: Config, entries: Mapping[str, Mapping[str, Entry]], given: Columns | None, reader: Reader
) -> Config:
    """The config with its inputs and tasks: written out, held against the table, types filled in, bound."""
    problems = reader.problems
    table = given if isinstance(given, Table) else None
    if given is None:
        _refuse_groups(entries, problems)
        written = {
            section: {name: entry.config for name, entry in by_name.items() if not entry.is_off}
            for section, by_name in entries.items()
        }
    else:
        columns = given.columns if isinstance(given, Table) else given
        named = {} if rest.data is None else {"split": rest.data.split, "group": rest.data.group}
        reserved = {key: column for key, column in named.items() if column is not None}
        written = spread(entries, columns, reserved=[*reserved.values(), *_of_tables(rest)], problems=problems)
        check_columns(written, columns, problems)
        for key, column in reserved.items():
            if column not in columns:
                problems.add(f"data.{key}", f"the table has no column {column!r}.{suggest(column, columns)}")
        for column in () if rest.data is None else rest.data.slices:
            if column not in columns:
                problems.add("data.slices", f"the table has no column {column!r}.{suggest(column, columns)}")
    check_leaks(written["inputs"], written["tasks"], problems)
    written = infer_types(written, table, reader, problems)
    written = {section: take_over(section, configs, problems) for section, configs in written.items()}
    written["tasks"] = bind(written["inputs"], written["tasks"], problems)
    return replace(rest, inputs=written["inputs"], tasks=written["tasks"])


def _of_tables(rest: Config) -> list[str]:
    """Columns of several tables that say what a row belongs to: its table, its group."""
    tables = {} if rest.data is None else rest.data.tables
    return [WHOSE, *(one.group for one in tables.values() if one.group is not None)] if tables else []


def _refuse_groups(entries: Mapping[str, Mapping[str, Entry]], problems: Problems) -> None:
    for section, by_name in entries.items():
        for name in (name for name, entry in by_name.items() if entry.columns is not None):
            problems.add(f"{section}.{name}.columns", "can only be written out with a table at hand.")


def _with_separator(config: Config, separator: str) -> Config:
    """`data.separator` reaches everything that reads lists and does not say otherwise."""

    def pass_on(component: Any) -> Any:
        own = signature_of(component.component).get("separator")
        if own is None or own.default == separator or "separator" in component.options:
            return component
        return replace(component, options={**component.options, "separator": separator})

    inputs = {name: pass_on(component) for name, component in config.inputs.items()}
    return replace(config, inputs=inputs, tasks={name: pass_on(component) for name, component in config.tasks.items()})
