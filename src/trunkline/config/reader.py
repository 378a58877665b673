"""A section of a config → its component, or what is wrong with it."""

from __future__ import annotations

import importlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trunkline.balancers import GramianBalancer, LossBalancer
from trunkline.config.annotations import MisfitError, as_annotated
from trunkline.config.components import AUTO, BalancerConfig, Catalogs, ComponentConfig, InputConfig, Level, TaskConfig
from trunkline.config.options import read_options
from trunkline.config.problems import Problems
from trunkline.errors import brief, suggest
from trunkline.fusion import Fusion
from trunkline.modalities import Modality
from trunkline.tasks import Task
from trunkline.trunks import Trunk

ALL_OTHER = "all_other"
OFF = "off"

_COLUMNS = {"column": str, "columns": list[str] | Literal["all_other"]}
_BALANCER_KEYS = {"level": Level | None, "every": int}
_INPUT_KEYS = {**_COLUMNS, "share": str | None}
_TASK_KEYS = {**_COLUMNS, "of": str | None, "weight": float, "share": str | None, "added": int}


@dataclass(frozen=True)
class Kind:
    """What may stand in one place of a config: how it is called, what it must be, and the names it has."""

    noun: str
    base: tuple[type, ...]
    catalog: Mapping[str, type[Any]]


@dataclass(frozen=True)
class Entry:
    """One key under `inputs:` or `tasks:`, before it is spread over columns.

    Attributes:
        config: an `InputConfig` or `TaskConfig`: what every column of the entry gets.
        names_column: `column:` is given; else the config's column is the key.
        columns: those listed, or `all_other`; `None` where the key is a name or a pattern.
        is_off: the column is in no pattern and no group, and is nothing itself.
    """

    config: Any
    names_column: bool
    columns: list[str] | str | None
    is_off: bool = False


class Reader:
    """Reads sections; faults go to `problems`.

    Args:
        problems: where faults are noted.
        catalogs: which names there are.
        trust_code: whether `type: my_package.my_module:MyClass` may be imported.
    """

    def __init__(self, problems: Problems, catalogs: Catalogs, *, trust_code: bool) -> None:
        self.problems, self.trust_code = problems, trust_code
        self.modality = Kind("an input type", (Modality,), catalogs.modalities)
        self.task = Kind("a task type", (Task,), catalogs.tasks)
        self.fusion = Kind("a fusion", (Fusion,), catalogs.fusion)
        self.trunk = Kind("a trunk", (Trunk,), catalogs.trunks)
        self.balancer = Kind("a balancer", (LossBalancer, GramianBalancer), catalogs.balancers)

    def read_inputs(self, raw: Any) -> dict[str, Entry]:
        """`inputs:`."""
        return self._read_entries("inputs", raw, self.modality, _INPUT_KEYS, InputConfig)

    def read_tasks(self, raw: Any) -> dict[str, Entry]:
        """`tasks:`."""
        entries = self._read_entries("tasks", raw, self.task, _TASK_KEYS, TaskConfig)
        for name, entry in entries.items():
            if not 0 < entry.config.weight < math.inf:
                rule = "must be finite." if entry.config.weight > 0 else "must be greater than 0."
                self.problems.add(f"tasks.{name}.weight", f"{rule} Leave a task out to do without it.")
        return entries

    def read_fusion(self, raw: Any) -> ComponentConfig | None:
        """`fusion:`."""
        return self._read_one("fusion", raw, self.fusion, {}, ComponentConfig)

    def read_trunk(self, raw: Any) -> ComponentConfig | None:
        """`trunk:`."""
        return self._read_one("trunk", raw, self.trunk, {}, ComponentConfig)

    def read_balancer(self, raw: Any) -> BalancerConfig | None:
        """`balancer:`."""
        return self._read_one("balancer", raw, self.balancer, _BALANCER_KEYS, BalancerConfig)

    def _read_one(self, where: str, raw: Any, kind: Kind, own: Mapping[str, Any], cls: type[Any]) -> Any:
        if raw is None:
            return None
        return cls(**self._read_component(where, raw, kind, own))

    def _read_entries(
        self, where: str, raw: Any, kind: Kind, own: Mapping[str, Any], cls: type[Any]
    ) -> dict[str, Entry]:
        if isinstance(raw, list) and all(isinstance(name, str) for name in raw):
            for name in (name for name, count in Counter(raw).items() if count > 1):
                self.problems.add(where, f"{name!r} is given twice.")
            raw = dict.fromkeys(raw)
        if not isinstance(raw, Mapping) or not raw:
            self.problems.add(where, f"names at least one, as in `{where}: {{name: {next(iter(kind.catalog))}}}`.")
            return {}
        entries = {}
        for name, section in raw.items():
            if not name:
                self.problems.add(where, "a name must not be empty.")
            if section == OFF:
                entries[name] = Entry(cls(type=AUTO, component=None, column=name), False, None, is_off=True)
                continue
            read = self._read_entry(f"{where}.{name}", section, kind, own)
            columns, names_column = read.pop("columns", None), "column" in read
            if names_column and columns is not None:
                self.problems.add(
                    f"{where}.{name}", "`column` is for one column, `columns` for several. Give one of them."
                )
            entries[name] = Entry(cls(**{"column": name, **read}), names_column, columns)
        if all(entry.is_off for entry in entries.values()):
            self.problems.add(where, "all that it names is off, and one is needed at least.")
        return entries

    def _read_entry(self, where: str, raw: Any, kind: Kind, own: Mapping[str, Any]) -> dict[str, Any]:
        """A component, or one whose type is left open: its options are then checked when the type is known."""
        if not (raw is None or raw == AUTO or (isinstance(raw, Mapping) and raw.get("type", AUTO) in (None, AUTO))):
            return self._read_component(where, raw, kind, own)
        section = raw if isinstance(raw, Mapping) else {}
        options = {key: value for key, value in section.items() if key not in own and key != "type"}
        return {"type": AUTO, "component": None, "options": options, **self._read_own(where, section, own)}

    def _read_component(self, where: str, raw: Any, kind: Kind, own: Mapping[str, Any]) -> dict[str, Any]:
        """`type`, `options`, `component` (`None` where the type is not known) and the values of `own` keys."""
        section = {"type": raw} if isinstance(raw, str) else raw
        if not isinstance(section, Mapping) or not isinstance(section.get("type"), str):
            known = f"`{where}: {next(iter(kind.catalog))}`"
            self.problems.add(where, f"names {kind.noun}, as in {known} or `{{type: …, option: …}}`, not {brief(raw)}.")
            return {"type": "", "component": None}
        read = {"type": section["type"], **self._read_own(where, section, own)}
        component = self._find(f"{where}.type", section["type"], kind)
        if component is None:
            return {**read, "component": None}
        rest = {key: value for key, value in section.items() if key not in own and key != "type"}
        options = read_options(where, rest, component, self.problems, beside=own)
        return {**read, "component": component, "options": options}

    def _read_own(self, where: str, section: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
        read: dict[str, Any] = {}
        for key in (key for key in own if key in section):
            try:
                read[key] = as_annotated(section[key], own[key])
            except MisfitError as misfit:
                self.problems.add(f"{where}.{key}", str(misfit))
        return read

    def _find(self, where: str, name: str, kind: Kind) -> type[Any] | None:
        if name in kind.catalog:
            return kind.catalog[name]
        if ":" not in name:
            self.problems.add(where, f"{brief(name)} is not {kind.noun}.{suggest(name, kind.catalog)}")
            return None
        if not self.trust_code:
            self.problems.add(
                where,
                f"{brief(name)} would run code of that module, which is done only with `--trust-code` "
                "(in Python trust_code=True).",
            )
            return None
        return self._import(where, name, kind)

    def _import(self, where: str, name: str, kind: Kind) -> type[Any] | None:
        module, _, attribute = name.partition(":")
        try:
            component = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            self.problems.add(where, f"{name!r} cannot be imported: {error}.")
            return None
        if not (isinstance(component, type) and issubclass(component, kind.base)):
            bases = " or ".join(base.__name__ for base in kind.base)
            self.problems.add(where, f"{name!r} is not {kind.noun}: it must be a subclass of {bases}.")
            return None
        return component
