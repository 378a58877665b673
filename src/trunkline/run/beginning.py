"""A table → a config that can be trained as it is."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trunkline.config import load_config
from trunkline.config.dialect import parse_yaml, write_yaml
from trunkline.config.options import signature_of
from trunkline.errors import ConfigError, counted
from trunkline.files import replacing
from trunkline.modalities import CATALOG as MODALITIES
from trunkline.run.looking import Look, as_plain, look_at
from trunkline.schema import Fault, InputColumn, Schema, TaskColumn, can_read, find_faults
from trunkline.tasks import CATALOG as TASKS

WIDE = 110  # where a comment ends
ENOUGH, TEST_SHARE = 500, 0.15  # rows from which on so many are spared for a test


@dataclass(frozen=True)
class Beginning:
    """A config that was written.

    Attributes:
        path: of the config.
        look: what was found.
        faults: cells that cannot be read, and rows without an input.
    """

    path: Path
    look: Look
    faults: Sequence[Fault]


def init(source: str | Path, *, targets: Sequence[str] = (), out: str | Path = "config.yaml") -> Beginning:
    """Look at a table (or a folder of pictures or sounds) and write a config that `fit` takes as it is.

    Args:
        source: its path.
        targets: columns to learn; guessed where none is named.
        out: the file to write; it must not be there.

    Raises:
        DataError: the table cannot be read.
        ConfigError: `out` is there already, a target cannot be learned, or nothing is left to learn from.
    """
    path = Path(out)
    look = look_at(source, targets)
    if path.exists():  # told last: what is wrong with the table would be met all the same
        raise ConfigError(f"{path} is there already, and is not written over: remove it, or name another with --out")
    raw = _raw(look, path)
    bound = load_config({k: v for k, v in raw.items() if k != "data"}, columns=look.table)
    schema = Schema(
        {name: InputColumn(c.make(), c.column) for name, c in bound.inputs.items()},
        {name: TaskColumn(c.make(), c.column, c.of, share=c.share) for name, c in bound.tasks.items()},
    )
    for name, task in bound.tasks.items():
        if task.of is not None:
            raw["tasks"][name] = {**_long(raw["tasks"][name]), "of": task.of}
    faults = find_faults(schema, look.table)
    text = _text(look, raw, faults)
    assert parse_yaml(text, str(path))["inputs"] == raw["inputs"], "what is written is what was meant"
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
    return Beginning(path, look, faults)


def _raw(look: Look, path: Path) -> dict[str, Any]:
    """The config without its comments; tasks that read tokens take the first input that fits."""
    table = Path(os.path.relpath(look.source.absolute(), path.absolute().parent)).as_posix()
    inputs = {name: as_plain(k, signature_of(MODALITIES[str(k.type)])) for name, k in look.inputs.items()}
    tasks = {name: as_plain(k, signature_of(TASKS[str(k.type)])) for name, k in look.tasks.items()}
    for name, kind in look.tasks.items():
        reads = TASKS[str(kind.type)].reads
        fits = [
            n
            for n, k in look.inputs.items()
            if can_read("words" if reads == "tokens" else reads, MODALITIES[str(k.type)])
        ]
        if reads != "row" and fits:
            tasks[name] = {**_long(tasks[name]), "of": fits[0]}
    return {"data": {"train": table}, "inputs": inputs, "tasks": tasks}


def _long(kind: Any) -> dict[str, Any]:
    return kind if isinstance(kind, dict) else {"type": kind}


def _text(look: Look, raw: Mapping[str, Any], faults: Sequence[Fault]) -> str:
    rows, columns = len(look.table), len(look.columns)
    how = "guessed from names and places: name them with --target" if look.is_guessed else "named with --target"
    lines = [
        f"# What `trunkline init {look.source}` saw: {rows} rows, {columns} columns. Everything may be changed.",
        "# `trunkline check` shows what will be trained; what is not said here is chosen from the data.",
        "",
        "data:",
        *_entries(_data(look, raw, faults)),
        "",
        "inputs:",
        *_entries({name: (value, _note(look, name)) for name, value in raw["inputs"].items()}),
        "",
        f"tasks:  # {how}",
        *_entries({name: (value, _note(look, name)) for name, value in raw["tasks"].items()}),
    ]
    if look.left_out:
        lines += ["", "# Left out:", *(f"#   {_key(name)}: {why}" for name, why in look.left_out.items())]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _data(look: Look, raw: Mapping[str, Any], faults: Sequence[Fault]) -> dict[str, tuple[Any, str]]:
    """Entries of `data:` with their comments; a key that begins with `#` is only proposed."""
    data: dict[str, tuple[Any, str]] = {"train": (raw["data"]["train"], "")}
    if look.split is not None:
        data["split"] = look.split, f"says which rows train: {', '.join(look.columns[look.split].common)}"
    elif len(look.table) >= ENOUGH:
        data["test"] = TEST_SHARE, "of the rows: the report judges by rows that chose nothing"
    else:
        why = f"fewer than {ENOUGH} rows: none are held out but for validation, which chooses the weights as well"
        data["# test"] = TEST_SHARE, why
    if look.encoding is not None:
        data["encoding"] = look.encoding, "the file is not UTF-8"
    if look.na:
        data["na"] = list(look.na), "seem to mean that a cell is absent"
    if faults:
        bad = len({fault.row for fault in faults})
        data["on_bad_row"] = "skip", f"{counted(bad, 'row')} cannot be used, such as {faults[0].tell()}"
    for name in look.groups:
        found = look.columns[name]
        each = found.present / max(found.distinct or 1, 1)
        data["# group"] = (
            name,
            f"{found.distinct} values, each on {each:.1f} rows: should those stay on one side of a split?",
        )
    return data


def _note(look: Look, name: str) -> str:
    found = look.columns[name]
    kind = look.inputs.get(name) or look.tasks[name]
    absent = [f"{found.absent:.0%} absent"] if found.absent > 0.005 else []
    return "; ".join([kind.reason, *absent, *found.mess])


def _entries(entries: Mapping[str, tuple[Any, str]]) -> list[str]:
    """One line a key, with its comment; the comments stand below each other."""
    written = [
        (f"  {key if key.startswith('# ') else _key(key)}: {_value(value)}", note)
        for key, (value, note) in entries.items()
    ]
    column = min(max((len(text) for text, _ in written), default=0), 48)
    return [f"{text:<{column}}  # {_one_line(note)}" if note else text for text, note in written]


def _one_line(note: str) -> str:
    words = " ".join(note.split())
    return words if len(words) <= WIDE else f"{words[: WIDE - 2]} …"


def _key(name: str) -> str:
    return write_yaml({name: None}).rpartition(": null")[0]


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)}: {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return _quoted(value) if isinstance(value, str) else str(value)


def _quoted(text: str) -> str:
    """Text in one line; in quotes where it would mean something else, also inside of brackets."""
    plain = write_yaml({"x": [text]}).partition("- ")[2].strip()
    is_safe = plain == text and not set(text) & set(",[]{}#:&*!|>'\"%@`")
    return text if is_safe else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
