"""`start: RUN`: a trained run whose network a config adds tasks to. What the config leaves out is the run's: inputs,
tasks, fusion, trunk and width, and what means absent in a cell (`data.na`).

Of the run its resolved config is read, which names every input and task with all options. The result is a config that
names them, too, so nothing above this room need know which half came from where.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from trunkline.config.dialect import parse_yaml
from trunkline.config.problems import Problems
from trunkline.config.reader import OFF
from trunkline.errors import ConfigError, brief, one_line
from trunkline.files import is_plain_file

WHOLE = ("fusion", "trunk", "width")  # sections that are one thing
FILES = ("config.yaml", "preprocessing.json", "model.safetensors", "metrics.json")


def read_start(raw: Any, folder: Path, problems: Problems) -> Path | None:
    """`start:`, a path relative to `folder`; `None` where it is absent."""
    if raw is None:
        return None
    if not isinstance(raw, str) or not raw:
        problems.add("start", f"is the folder of a finished run, not {raw!r}.")
        return None
    return folder / raw


def joined(raw: Mapping[str, Any], run: Path, problems: Problems) -> dict[str, Any]:
    """The config with all that the run has, and what is new marked as added (`tasks.*.added`).

    Args:
        raw: as it is written; of inputs and tasks that the run has it may say what the run's config says.
        run: its folder.
        problems: where faults are noted: no finished run, nothing new, or anything that the run has otherwise.
    """
    try:
        trained = _trained(run)
    except ConfigError as error:
        problems.add("start", str(error))
        return dict(raw)
    inputs, tasks = _entries(raw.get("inputs")), _entries(raw.get("tasks"))
    for name in inputs:
        if not any(fnmatchcase(old, name) or old == name for old in trained["inputs"]):
            has = _listed(trained["inputs"])
            problems.add(f"inputs.{name}", f"is no input of {run}, whose network stays as it is. It has {has}.")
    for section, given in (("inputs", inputs), ("tasks", tasks)):
        for name in given:
            for old in trained[section]:
                if old == name or (section == "inputs" and fnmatchcase(old, name)):
                    _check_same(f"{section}.{name}", given[name], trained[section][old], old, problems)
    new = {name: one for name, one in tasks.items() if name not in trained["tasks"]}
    if all(one == OFF for one in new.values()):
        also = " All that it names are there already." if tasks else ""
        problems.add("tasks", f"names none that is new: {run} has {_listed(trained['tasks'])}.{also}")
    for key in WHOLE:
        if raw.get(key) is not None:
            _check_same(key, raw[key], trained.get(key), None, problems)
    _check_rest(raw, problems)
    is_settled = any(_long(one).get("added") for one in new.values())  # a run wrote it, and left nothing open
    before = [_long(one).get("added") for one in trained["tasks"].values()]
    added = 1 + max((times for times in before if isinstance(times, int)), default=0)
    return {
        **raw,
        **{key: trained[key] for key in WHOLE if key in trained},
        "data": raw.get("data") if is_settled else _absent_alike(raw.get("data"), trained.get("data")),
        "balancer": "equal",
        "inputs": trained["inputs"],
        "tasks": {
            **trained["tasks"],
            **{n: one if one == OFF else {**_long(one), "added": added} for n, one in new.items()},
        },
    }


def _trained(run: Path) -> dict[str, Any]:
    """The resolved config of a run, with its inputs and tasks by name.

    Raises:
        ConfigError: it is no finished run, or this is no config that one writes.
    """
    if lacking := [name for name in FILES if not is_plain_file(run / name)]:
        what = f"has no {', '.join(lacking)}" if os.path.exists(run) else "is not there"
        raise ConfigError(f"{one_line(str(run))} is no finished run: it {what}.")
    path = run / "config.yaml"
    try:
        trained = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if not isinstance(trained, dict):
        raise ConfigError(f"{path} is no config of a finished run, but {brief(trained)}. Give another run.")
    for section in ("inputs", "tasks"):
        if not isinstance(trained.get(section), dict):
            given = brief(trained[section]) if section in trained else "left out"
            raise ConfigError(
                f"{path} is no config of a finished run, which has `{section}` by name; here they are {given}. "
                "Give another run, or put its config back as it was."
            )
    return trained


def _absent_alike(data: Any, trained: Any) -> Any:
    """`data:` with what meant absent in the run's tables, if it was the same in all, where a table does not say it."""
    if not isinstance(data, Mapping) or not isinstance(trained, Mapping):
        return data
    if isinstance(data.get("tables"), Mapping):
        return {**data, "tables": {name: _absent_alike(one, trained) for name, one in data["tables"].items()}}
    tables = (_entries(trained.get("tables")) or {"": trained}).values()
    before = [one.get("na") if isinstance(one, Mapping) else None for one in tables]
    return {"na": before[0], **data} if before[0] and all(na == before[0] for na in before) else data


def _check_rest(raw: Mapping[str, Any], problems: Problems) -> None:
    """What has nothing to do where all that tasks share stays as it is."""
    balancer = raw.get("balancer")
    if balancer is not None and _long(balancer).get("type") != "equal":
        problems.add("balancer", "has nothing to balance: with `start` no task learns what others share. Leave it out.")
    training = raw.get("training")
    for key in ("align", "affinity"):
        if isinstance(training, Mapping) and training.get(key):
            problems.add(f"training.{key}", "is about what tasks share, and with `start` that is still. Leave it out.")


def _check_same(where: str, given: Any, trained: Any, name: str | None, problems: Problems) -> None:
    """Does a config say of a part of the run what the run's says? What it leaves out says nothing."""
    ours, theirs = _long(given), {"column": name, "weight": 1.0, **_long(trained)}
    for key in (key for key, value in ours.items() if value is not None and value != theirs.get(key)):
        at = where if key == "type" else f"{where}.{key}"
        was = repr(theirs[key]) if key in theirs else "left at its default"
        problems.add(at, f"the run has it already, {was}, and it stays as it is. Leave it out, or give another name.")


def _entries(given: Any) -> dict[str, Any]:
    """`inputs:` or `tasks:` by name; what is neither a list nor a mapping names nothing."""
    if isinstance(given, Mapping):
        return dict(given)
    return dict.fromkeys(str(name) for name in given) if isinstance(given, list) else {}


def _long(given: Any) -> dict[str, Any]:
    if isinstance(given, Mapping):
        return dict(given)
    return {} if given is None else {"type": given}


def _listed(names: Mapping[str, Any]) -> str:
    shown = ", ".join(map(one_line, list(names)[:8]))
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown
