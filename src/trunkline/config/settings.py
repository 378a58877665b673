"""`data:`, `training:` and `width:` → what they say, or what is wrong with it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from trunkline.config.annotations import MisfitError, as_annotated
from trunkline.config.options import read_options
from trunkline.config.problems import Problems
from trunkline.config.sections import DataConfig, Training
from trunkline.data import origins
from trunkline.errors import brief, suggest
from trunkline.report import CHECKS

_AS_WRITTEN = (
    "split", "na", "separator", "group", "on_bad_row", "encoding", "delimiter", "slices", "description", "licence",
)  # fmt: skip
_DRAWN_BY = ("group", "na", "encoding", "delimiter")  # what a share that is drawn depends on, too
_AT_LEAST_1 = (
    "steps", "batch_size", "devices", "threads", "accumulate", "affinity", "patience", "validations", "validation_rows",
    "shuffle", "nodes",
)  # fmt: skip
_POSITIVE = ("epochs", "lr", "clip", "minutes")
_NOT_NEGATIVE = ("weight_decay", "seed", "workers", "align")
_SHARES = ("warmup", "input_dropout", "ema")


@dataclass(frozen=True)
class _DataSection:
    """`data:` as it is written."""

    train: str | list[str] | None = None
    table: str | list[str] | None = None
    validation: float | str | None = None
    test: float | str | None = None
    split: str | None = None
    na: tuple[str | int | float, ...] = ()
    separator: str = "|"
    group: str | None = None
    on_bad_row: Literal["error", "skip"] = "error"
    encoding: str | None = None
    delimiter: str | None = None
    pictures: str | None = None
    slices: tuple[str, ...] = ()
    description: str | None = None
    licence: str | None = None


@dataclass(frozen=True)
class _TableSection(_DataSection):
    """One of `data.tables:`."""

    columns: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class _TablesSection:
    """`data:` of several tables."""

    tables: dict[str, Any] = field(default_factory=dict)
    sampling: Literal["proportional", "equal"] | float | dict[str, float] = "proportional"
    batches: Literal["mixed", "one_table"] = "mixed"
    separator: str = "|"
    on_bad_row: Literal["error", "skip"] = "error"
    slices: tuple[str, ...] = ()
    description: str | None = None
    licence: str | None = None


def read_data(raw: Any, folder: Path, problems: Problems, *, is_needed: bool) -> DataConfig | None:
    """`data:`, its paths relative to `folder`; `None` where it is absent or names no table."""
    if isinstance(raw, Mapping) and "tables" in raw:
        return _read_tables(raw, folder, problems)
    section = _read_section("data", raw, _DataSection, problems)
    if not (section.train or section.table) and not is_needed and raw is None:
        return None
    return _read_table("data", section, folder, problems)


def _read_tables(raw: Mapping[str, Any], folder: Path, problems: Problems) -> DataConfig | None:
    """`data:` of several tables."""
    section = _read_section("data", raw, _TablesSection, problems)
    tables = {}
    for name, given in section.tables.items():
        one = _read_section(f"data.tables.{name}", given, _TableSection, problems)
        if one.separator != "|" or one.on_bad_row != "error" or one.slices:
            problems.add(
                f"data.tables.{name}", "`separator`, `on_bad_row` and `slices` are said of all tables, in `data:`."
            )
        if (table := _read_table(f"data.tables.{name}", one, folder, problems)) is not None:
            tables[str(name)] = replace(table, columns=dict(one.columns))
    if len(section.tables) < 2:
        problems.add("data.tables", "names two tables or more; of one, write what is below it in `data:`.")
    _check_files(tables, problems)
    sampling, names = section.sampling, list(section.tables)
    if isinstance(sampling, Mapping) and (
        set(sampling) != set(names) or not all(0 < w < math.inf for w in sampling.values())
    ):
        problems.add("data.sampling", f"gives each of {', '.join(names)} a weight above 0, not {dict(sampling)}.")
    if isinstance(sampling, float) and not 1 <= sampling < math.inf:
        problems.add("data.sampling", f"is a temperature of 1 (proportional) or more, not {sampling:g}.")
    return DataConfig(
        separator=section.separator,
        on_bad_row=section.on_bad_row,
        tables=tables,
        sampling=sampling,
        batches=section.batches,
        slices=section.slices,
        description=section.description,
        licence=section.licence,
    )


def _check_files(tables: Mapping[str, DataConfig], problems: Problems) -> None:
    """What one table holds out, no other may train on: tables of the same files are to be divided alike."""
    files = {name: origins(one.trained) for name, one in tables.items()}
    for (first, one), (second, other) in itertools.combinations(tables.items(), 2):
        where, is_same = f"data.tables.{second}", files[first] == files[second]
        if is_same and (differ := _divided_by(one, other)):
            problems.add(
                where,
                f"reads what {first!r} reads, divided otherwise: rows that one holds out the other would train on. "
                f"Give both the same {' and '.join(differ)}.",
            )
        if not is_same and _meet(files[first], files[second]):
            problems.add(
                where,
                f"reads some of the files of {first!r}, so that they are not divided alike. Give both the same files, "
                "or each its own.",
            )
        for name, held in ((second, one), (first, other)):
            if _meet(files[name], origins(path for path in (held.validation, held.test) if isinstance(path, Path))):
                problems.add(f"data.tables.{name}", "trains on a file that another table holds out.")


def _meet(some: Collection[Path], others: Collection[Path]) -> bool:
    """Whether there is a file in both, or a folder in a folder of the other."""
    pairs = itertools.product(some, others)
    return any(a == b or (a in b.parents and b.is_dir()) or (b in a.parents and a.is_dir()) for a, b in pairs)


def _divided_by(one: DataConfig, other: DataConfig) -> list[str]:
    """What divides the rows of two tables of one file otherwise; a file that is held out divides none of theirs."""

    def of(table: DataConfig, name: str) -> Any:
        value = getattr(table, name)
        return "a file" if isinstance(value, Path) else value

    differ = [name for name in ("split", "validation", "test") if of(one, name) != of(other, name)]
    if isinstance(one.train, tuple) != isinstance(other.train, tuple):  # of a folder, names of files may tell splits
        differ.append("train")
    is_drawn = one.validation is None or isinstance(one.validation, float) or isinstance(one.test, float)
    return differ or [name for name in _DRAWN_BY if is_drawn and of(one, name) != of(other, name)]


def _read_table(where: str, section: _DataSection, folder: Path, problems: Problems) -> DataConfig | None:
    train = section.train or section.table
    if section.train and section.table:
        problems.add(where, "`train` and `table` are two names for one thing. Give one of them.")
    if not train:
        problems.add(where, f"names a table, as in `{where.rpartition('.')[2]}: {{train: train.csv}}`.")
        return None
    if section.split is not None and not (isinstance(section.validation, float | None) and section.test is None):
        problems.add(f"{where}.split", "divides the one table. Leave `validation` and `test` out, or `split`.")
    shares = [s for s in (section.validation, section.test) if isinstance(s, float)]
    if any(not 0 < share < 1 for share in shares) or sum(shares) >= 1:
        problems.add(where, f"shares lie between 0 and 1 and leave rows to train on, unlike {shares}.")
    held = [folder / h if isinstance(h, str) else h for h in (section.validation, section.test)]
    paths = folder / train if isinstance(train, str) else tuple(folder / path for path in train)
    rest = {name: getattr(section, name) for name in _AS_WRITTEN}
    pictures = None if section.pictures is None else folder / section.pictures
    return DataConfig(paths, held[0], held[1], **rest, pictures=pictures)


def read_training(raw: Any, problems: Problems) -> Training:
    """`training:`."""
    training = _read_section("training", raw, Training, problems)
    bounds: list[tuple[Sequence[str], Callable[[float], bool], str]] = [
        (_AT_LEAST_1, lambda value: value >= 1, "must be at least 1"),
        (_POSITIVE, lambda value: value > 0, "must be greater than 0"),
        (_NOT_NEGATIVE, lambda value: value >= 0, "must not be negative"),
        (_SHARES, lambda value: 0 <= value < 1, "must be at least 0 and less than 1"),
    ]
    for names, is_good, rule in bounds:
        for name in names:
            value = getattr(training, name)
            if isinstance(value, int | float) and not (is_good(value) and math.isfinite(value)):
                problems.add(f"training.{name}", f"{rule}{', and finite' * (value == math.inf)}, not {value}.")
    return training


def as_training(options: Mapping[str, Any]) -> Training:
    """Options given in Python, held to the same rules.

    Raises:
        ConfigError: everything that is wrong with them.
    """
    problems = Problems()
    training = read_training(options, problems)
    problems.raise_any()
    return training


def read_width(raw: Any, problems: Problems) -> int | None:
    """`width:`."""
    try:
        width = as_annotated(raw, int | None)
    except MisfitError as misfit:
        problems.add("width", str(misfit))
        return None
    if width is not None and width < 1:
        problems.add("width", f"must be at least 1, not {width}.")
    return width


def _read_section(where: str, raw: Any, cls: type[Any], problems: Problems) -> Any:
    if raw is not None and not isinstance(raw, Mapping):
        problems.add(where, f"is a mapping of options, not {brief(raw)}.")
        raw = None
    return cls(**read_options(where, raw or {}, cls, problems))


def read_mute(raw: Any, problems: Problems) -> tuple[str, ...]:
    """`mute:`: codes of the report's checks."""
    try:
        codes: tuple[str, ...] = as_annotated(() if raw is None else raw, tuple[str, ...])
    except MisfitError as misfit:
        problems.add("mute", str(misfit))
        return ()
    known = [check.code for check in CHECKS]
    for code in (code for code in codes if code not in known):
        problems.add("mute", f"{code!r} is no check.{suggest(code, known)}")
    return codes
