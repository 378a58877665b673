"""`Config` → YAML that reads back to the same config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from trunkline.config.components import BalancerConfig, ComponentConfig, InputConfig, TaskConfig
from trunkline.config.dialect import write_yaml
from trunkline.config.sections import Config, DataConfig

OF_TABLES = ("sampling", "batches")  # are said where there are several tables
OF_ALL = ("separator", "on_bad_row", "slices")  # and these for all of them together
OF_BOTH = ("description", "licence")  # of each of them, and of all


def to_yaml(config: Config, *, reasons: Mapping[str, str] | None = None) -> str:
    """The config as a file.

    Args:
        config: what to write.
        reasons: why a value was chosen, by its dotted path (`training.lr`), as comments above its section.
    """
    parts = []
    for section, value in as_plain(config).items():
        told = {path: why for path, why in (reasons or {}).items() if path.partition(".")[0] == section}
        comments = [f"# {path}: {' '.join(why.split())}\n" for path, why in told.items()]
        parts.append("".join(comments) + write_yaml({section: value}))
    return "".join(parts)


def as_plain(config: Config) -> dict[str, Any]:
    """The config as `load_config` takes it, without what is left to be chosen."""
    plain: dict[str, Any] = {
        "start": None if config.start is None else str(config.start),
        "data": None if config.data is None else _data(config.data),
        "inputs": {name: _component(value, name) for name, value in config.inputs.items()},
        "tasks": {name: _component(value, name) for name, value in config.tasks.items()},
        "fusion": None if config.fusion is None else _component(config.fusion),
        "trunk": None if config.trunk is None else _component(config.trunk),
        "balancer": None if config.balancer is None else _component(config.balancer),
        "width": config.width,
        "training": _given(config.training),
        "mute": list(config.mute) or None,
    }
    return {section: value for section, value in plain.items() if value is not None}


def _component(config: ComponentConfig, name: str | None = None) -> Any:
    plain: dict[str, Any] = {"type": config.type}
    if isinstance(config, InputConfig | TaskConfig) and config.column != name:
        plain["column"] = config.column
    if isinstance(config, InputConfig | TaskConfig) and config.share is not None:
        plain["share"] = config.share
    if isinstance(config, TaskConfig):
        plain |= {
            key: value for key, value in (("of", config.of), ("weight", config.weight)) if value not in (None, 1.0)
        }
        plain |= {"added": config.added} if config.added else {}
    if isinstance(config, BalancerConfig):
        plain |= {
            key: value for key, value in (("level", config.level), ("every", config.every)) if value not in (None, 1)
        }
    plain |= config.options
    return plain["type"] if len(plain) == 1 else plain


def _data(data: DataConfig) -> dict[str, Any]:
    """Of several tables what is said of each, and what is said of all."""
    if not data.tables:
        return {name: value for name, value in _given(data).items() if name not in OF_TABLES}
    wanted = (*OF_TABLES, *OF_ALL, *OF_BOTH)
    of_all = {name: value for name, value in _given(replace(data, tables={})).items() if name in wanted}
    tables = {name: {k: v for k, v in _data(one).items() if k not in OF_ALL} for name, one in data.tables.items()}
    return {"tables": tables, **of_all}


def _given(section: Any) -> dict[str, Any]:
    values = {field.name: getattr(section, field.name) for field in fields(section)}
    return {name: _plain_value(v) for name, v in values.items() if v is not None and v not in ((), {})}


def _plain_value(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain_value(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _plain_value(one) for name, one in value.items()}
    return str(value) if isinstance(value, Path) else value


def setting(config: Config, path: str) -> Any:
    """What stands at a dotted path (names of inputs and tasks may have dots); of a component its type or an option."""
    section, _, rest = path.partition(".")
    value: Any = getattr(config, section)
    if isinstance(value, Mapping):
        name, _, rest = rest.rpartition(".")
        value = value[name]
    if isinstance(value, ComponentConfig):
        return value.type if rest in ("", "type") else getattr(value, rest, value.options.get(rest))
    return getattr(value, rest) if rest else value
