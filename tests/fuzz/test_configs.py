"""Whatever stands in a config or on a command line, it loads, or a `ConfigError` says where it is wrong."""

from __future__ import annotations

import json
import re
import resource
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzzing import ODD_TEXTS, WORDS, anything, damaged, examples, mutated, tally, texts
from trunkline.config import Config, load_config
from trunkline.config.dialect import parse_yaml
from trunkline.config.starting import FILES
from trunkline.errors import ConfigError, one_line

COLUMNS = ["photo", "note", "size", "shop", "parts", "kind", "hit", "price", "marks", "area", "slots", "german", "who"]
GOOD = (
    """\
data: {train: rows.csv, validation: 0.2, na: ["?", NA], separator: "|", group: who}
inputs:
  photo: {type: image, size: 32, flip: false}
  note: {type: text, max_length: 40}
  size: number
  shop: {type: category, max_values: 20}
  parts: {type: vector, length: 4}
tasks:
  kind: {type: category, weight: 2.0}
  hit: binary
  price: {type: number, of: null}
  marks: labels
  area: {type: mask, of: photo}
  slots: {type: tags, of: note}
  german: {type: text, of: note, max_length: 8}
fusion: attention
trunk: {type: mmoe, experts: 4}
balancer: {type: upgrad, level: auto, every: 2}
width: 32
training: {epochs: 2.5, batch_size: 8, lr: 1e-3, precision: bf16-mixed, devices: auto, seed: 3, minutes: off}
mute: []
""",
    """\
data:
  tables:
    one: {train: a.csv, test: 0.1, columns: {kind: color}}
    two: {table: [b.csv, c.jsonl], split: fold, encoding: latin-1, delimiter: ";"}
  sampling: {one: 1, two: 2.5}
  batches: one_table
inputs: {all: {type: number, columns: all_other}, "s*": number}
tasks: {kind: category, hit: {type: binary, positive: yes}}
trunk: {type: mtan}
""",
    """\
inputs: {size: &base {type: number}, price: {<<: *base, decimal: ","}}
tasks: {kind: category}
""",
)
TREES = [parse_yaml(text, "good") for text in GOOD]
PIECES = (
    *WORDS,
    ": ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "\n",
    "\n  ",
    "\t",
    "#",
    "|",
    ">",
    "'",
    '"',
    "&a ",
    "*a",
    "<<: *a",
    "<<: [*a, *a]",
    "? ",
    "!!binary ",
    "!!int ",
    "!!float ",
    "!!bool ",
    "!!null ",
    "!!timestamp ",
    "!!set ",
    "!!omap ",
    "!!pairs ",
    "!!str ",
    "!!map ",
    "!!seq ",
    "!!python/object/apply:os.system [exit]",
    "!own ",
    "! ",
    "%YAML 1.1\n",
    "---\n",
    "...\n",
    "\\",
    '"\\ud800"',
    '"\\UFFFFFFFF"',
    "\x00",
    "\x85",
    "\ufeff",
    ".inf",
    ".nan",
    "1e999",
    "9" * 5000,
    "[" * 3000,
    "&a [*a]",
    "&b {c: *b}",
    "=",
    "0o7",
    "2001-01-01",
    "y",
    "os:system",
)
SECTIONS = ("start", "data", "inputs", "tasks", "fusion", "trunk", "balancer", "width", "training", "mute")


RUN = {
    "inputs": {"note": {"type": "text", "column": "note"}, "size": {"type": "number", "column": "size"}},
    "tasks": {"kind": {"type": "category", "column": "kind", "added": 1}, "marks": {"type": "labels"}},
    "fusion": {"type": "attention"},
    "trunk": {"type": "hard"},
    "width": 16,
}
ADDING: dict[str, Any] = {
    "start": "run",
    "data": {"train": "rows.csv"},
    "inputs": {"note": "text", "s*": {"type": "number"}},
    "tasks": {"hit": "binary", "kind": {"weight": 1.0}},
    "balancer": "equal",
    "trunk": {"type": "hard"},
}


def is_told(error: str, places: tuple[str, ...]) -> None:
    """Every line names a place, and all of them can be read."""
    lines = error.split("\n")
    assert len(error) < 100_000, "an error that nobody can read"
    assert all(line.startswith((*SECTIONS, *map(one_line, places))) for line in lines), lines


def outcome(target: str, source: Any, overrides: tuple[str, ...] = (), places: tuple[str, ...] = ()) -> Config | None:
    """Load; what is loaded can be written, and is the same when it is read again."""
    try:
        config = load_config(source, columns=COLUMNS, overrides=overrides)
    except ConfigError as error:
        is_told(str(error), places)
        tally(target, "refused")
        return None
    for component in (*config.inputs.values(), *config.tasks.values(), config.fusion, config.trunk, config.balancer):
        if component is not None and component.component is not None:
            component.make()
    tally(target, "loaded")
    return config


@examples(60)
@given(st.sampled_from(TREES).flatmap(mutated))
def test_values_and_keys(tree: Any) -> None:
    if not isinstance(tree, dict):
        return
    outcome("config: values and keys", tree, places=tuple(str(key) for key in tree))


@st.composite
def spoilt_texts(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(GOOD))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        end = at + draw(st.sampled_from((0, 0, 1, 5, 40)))
        text = text[:at] + draw(st.sampled_from(PIECES) | st.text(max_size=5)) + text[end:]
    return text


@examples(80)
@given(spoilt_texts())
def test_texts(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "config.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    outcome("config: text", path, places=_keys_of(path))


def _keys_of(path: Path) -> tuple[str, ...]:
    """What a fault may name: the file, or a section that there is not."""
    try:
        tree = parse_yaml(path.read_text(encoding="utf-8"), "it")
    except (ConfigError, UnicodeDecodeError):
        tree = {}
    return (str(path), *(str(key) for key in tree)) if isinstance(tree, dict) else (str(path),)


@examples(40)
@given(st.binary(max_size=60) | st.sampled_from(GOOD).map(lambda text: text.encode("utf-16")))
def test_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "config.yaml"
    path.write_bytes(content)
    outcome("config: bytes", path, places=_keys_of(path))


@examples(50)
@given(st.data())
def test_a_run_to_start_from(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever stands in its config, and in the one that adds tasks to it."""
    run = tmp_path_factory.getbasetemp() / "run"
    run.mkdir(exist_ok=True)
    for name in FILES:
        (run / name).touch()
    trained = data.draw(st.just(RUN) | mutated(RUN) | anything)
    (run / "config.yaml").write_bytes(data.draw(damaged(b"inputs: {note: text}")) if trained is None else
                                      json.dumps(trained).encode())  # fmt: skip
    tree = data.draw(st.just(ADDING) | mutated(ADDING))
    if isinstance(tree, dict):
        tree = {**tree, "start": str(run)} if tree.get("start") == "run" else tree
        outcome("config: a run to start from", tree, places=tuple(str(key) for key in tree))


KEYS = (
    "training.steps",
    "training.lr",
    "width",
    "trunk",
    "trunk.experts",
    "tasks.kind",
    "tasks.kind.weight",
    "inputs.size",
    "fusion.x",
    "data",
    "data.train",
    "data.tables.one.train",
    "data.validation",
    "balancer.level",
    "inputs.photo.size",
    "tasks",
    "inputs",
    "mute",
    "training",
)


@examples(60)
@given(
    st.sampled_from(TREES),
    st.lists(
        st.tuples(st.sampled_from(KEYS) | texts, st.sampled_from((*PIECES, "off", "[a.csv, 3]", "{a: 1}")) | texts).map(
            "=".join
        )
        | st.sampled_from(KEYS)
        | texts,
        min_size=1,
        max_size=3,
    ),
)
def test_overrides(tree: Any, overrides: list[str]) -> None:
    keys = tuple(text.partition("=")[0] for text in overrides)
    roots = tuple(text.partition("=")[0].partition(".")[0] for text in overrides)
    outcome("config: overrides", tree, tuple(overrides), places=(*keys, *roots, *(str(key) for key in tree)))


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_odd_names(text: str) -> None:
    """Of sections, inputs, tasks, types, options and values."""
    for tree in (
        {text: 1},
        {"inputs": {text: "number"}, "tasks": {"kind": "category"}},
        {"inputs": {"size": text}, "tasks": {"kind": text}},
        {"inputs": {"size": {text: text}}, "tasks": {"kind": {"type": "category", "of": text, "share": text}}},
        {"inputs": {"size": {"type": "number", "column": text}}, "tasks": {"kind": "category"}, "width": text},
        {"inputs": "size", "tasks": text, "data": {"train": text, "encoding": text}, "training": {"precision": text}},
    ):
        outcome("config: odd names", tree, places=(text,))


def test_nothing_grows_without_bound(tmp_path: Path) -> None:
    """Aliases that name aliases, one that holds itself, a nest without end, digits without end: refused, at once."""
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
    )
    merged = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for text in (
        laughs + "inputs: *a11\ntasks: *a11\n",
        merged,
        "fusion: &a [*a]\n",
        "inputs: &a {x: *a}\ntasks: *a\n",
        "<<: &a {<<: *a}\n",
        "fusion: " + "[" * 100_000,
        "fusion: " + "{a: " * 100_000,
        "width: " + "9" * 100_000,
        "width: 1e" + "9" * 10_000,
    ):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        with pytest.raises(ConfigError) as refused:
            load_config(path, columns=COLUMNS)
        assert len(str(refused.value)) < 10_000 and re.search(r"config\.yaml|width", str(refused.value))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB
