import re
import sys
from pathlib import Path

import pytest

from trunkline.config import Catalogs, Training, as_plain, load_config, to_yaml
from trunkline.config.annotations import as_annotated
from trunkline.config.options import signature_of
from trunkline.config.problems import Problems
from trunkline.config.starting import FILES, joined
from trunkline.data import read_table
from trunkline.errors import ConfigError, DataError

COLUMNS = ("photo", "note", "kind", "cells", "a.b", "SR-1", "SR-2", "what?", "split")
GOOD = {"inputs": {"photo": "image", "note": "text"}, "tasks": {"kind": "category"}}
DATA = {"train": "t.csv", "split": "split"}


@pytest.fixture
def load(catalogs):
    def load(config=None, *overrides, columns=COLUMNS, **sections):
        return load_config(
            {**GOOD, **sections} if config is None else config, columns=columns, overrides=overrides, catalogs=catalogs
        )

    return load


def faults_of(load, **sections) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(**sections)
    return str(caught.value).split("\n")


# --- what a config becomes


def test_short_and_long_form_are_the_same(load):
    assert load(inputs={"note": "text"}) == load(inputs={"note": {"type": "text"}})


def test_components_are_made_from_their_options(load):
    config = load(
        inputs={"photo": {"type": "image", "size": [64, 32]}}, trunk={"type": "mmoe", "experts": 4, "decay": 1}
    )
    assert config.inputs["photo"].make().size == (64, 32)
    trunk = config.trunk.make()
    assert (trunk.experts, trunk.mode, trunk.decay) == (4, "soft", 1.0)
    assert isinstance(trunk.decay, float)


def test_what_is_left_out_is_chosen_later(load):
    config = load()
    assert config.data is config.fusion is config.trunk is config.balancer is config.width is None
    assert config.training == Training()


def test_columns_weights_and_bindings(load):
    config = load(tasks={"k": {"type": "category", "column": "kind", "weight": 2}, "cells": "mask"})
    assert (config.tasks["k"].column, config.tasks["k"].weight, config.tasks["k"].of) == ("kind", 2.0, None)
    assert (config.tasks["cells"].column, config.tasks["cells"].weight, config.tasks["cells"].of) == (
        "cells",
        1.0,
        "photo",
    )


def test_names_may_be_any_text(load):
    config = load(inputs={"type": {"type": "text", "column": "note"}, "what?": "text", "a.b": "image"})
    assert [i.column for i in config.inputs.values()] == ["note", "what?", "a.b"]


def test_separator_reaches_what_reads_lists(load):
    data = {"train": "t.csv", "separator": ";"}
    tasks = {"kind": "labels", "cells": {"type": "labels", "separator": ","}, "a.b": "category"}
    config = load(data=data, tasks=tasks, inputs={"note": {"type": "vector", "size": 2}})
    assert [t.make().separator for t in list(config.tasks.values())[:2]] == [";", ","]
    assert config.inputs["note"].make().separator == ";"


# --- files


def test_a_file_with_its_table(tmp_path, catalogs):
    (tmp_path / "t.csv").write_text("note,kind\na,b\n")
    (tmp_path / "c.yaml").write_text(
        "data: {train: t.csv, validation: 0.1, test: sub/test.csv}\ninputs: {note: text}\ntasks: {kind: category}\n"
    )
    config = load_config(tmp_path / "c.yaml", columns=lambda data: read_table(data.train).columns, catalogs=catalogs)
    assert config.data.train == tmp_path / "t.csv"
    assert config.data.validation == 0.1
    assert config.data.test == tmp_path / "sub" / "test.csv"


def test_one_table_of_all_splits(load):
    data = load(data={"table": "/all.csv", "split": "split"}).data
    assert (data.train, data.split) == (Path("/all.csv"), "split")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inputs: {a: text}\ntasks: {\n", r"c\.yaml, line 3"),
        ("inputs:\n  a: text\n  a: image\n", r"c\.yaml, line 3: 'a' is given twice"),
        ("just words", r"is no config"),
        ("", r"is no config"),
        ("? [a, b]\n: c\n", r"line 1: a key must be plain text"),
    ],
)
def test_files_that_are_no_config(tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "c.yaml", columns=None)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="there is no such file"):
        load_config(tmp_path / "c.yaml", columns=None)


def test_a_table_that_cannot_be_read(tmp_path, load):
    def columns(data):
        return read_table(data.train).columns

    data = {"train": str(tmp_path / "t.csv")}
    with pytest.raises(DataError, match="no such file"):
        load(data=data, columns=columns)
    assert len(faults_of(load, data=data, columns=columns, trunk="mmo")) == 2


# --- faults


def test_all_faults_at_once(load):
    assert faults_of(
        load,
        trainin={},
        inputs={"photo": {"type": "image", "size": "big", "augment": 1}, "note": "txt", "vec": {"type": "vector"}},
        tasks={"kind": "categroy", "cells": {"type": "mask", "of": "foto", "weight": 0, "clases": 3}},
        fusion={"type": "concat", "x": 1},
        trunk={"type": "mmoe", "experts": 2.5, "mode": "sft"},
        balancer={"type": "equal", "level": "features!"},
        training={"lr": "fast", "epochs": 0, "devices": "all", "seed": -1, "precision": 31},
        width=0,
    ) == [
        "trainin: there is no such section. Did you mean 'training'?",
        "inputs.photo.size: 'big' is not a whole number or a list of 2 whole numbers.",
        "inputs.photo.augment: 1 is not true or false.",
        "inputs.note.type: 'txt' is not an input type. Did you mean 'text'?",
        "inputs.vec.size: is missing: a whole number.",
        "tasks.kind.type: 'categroy' is not a task type. Did you mean 'category'?",
        "tasks.cells.clases: there is no such option. Did you mean 'classes'?",
        "tasks.cells.weight: must be greater than 0. Leave a task out to do without it.",
        "fusion.x: there is no such option.",
        "trunk.experts: 2.5 is not a whole number.",
        "trunk.mode: 'sft' is not known here. Did you mean 'soft'?",
        "balancer.level: 'features!' is not known here. Did you mean 'features'?",
        "width: must be at least 1, not 0.",
        "training.lr: 'fast' is not a number.",
        "training.devices: 'all' is not a whole number or 'auto'.",
        "training.precision: 31 is not known here. Known: 16-mixed, 32, bf16-mixed.",
        "training.epochs: must be greater than 0, not 0.0.",
        "training.seed: must not be negative, not -1.",
        "inputs.vec: the table has no column 'vec'. Known: SR-1, SR-2, a.b, cells, kind, note, photo, split, what?. "
        "`column:` says which one is meant.",
        "tasks.cells.of: 'foto' is not an input. Did you mean 'photo'?",
    ]


def test_an_option_of_training_that_is_not_there(load):
    first, *others = faults_of(load, training={"fairness": 4, "precision": "64", "accelerator": "cpus"})
    assert first.startswith("training.fairness: there is no such option. Known: accelerator, accumulate,")
    assert others == [
        "training.precision: '64' is not known here. Known: 16-mixed, 32, bf16-mixed.",
        "training.accelerator: 'cpus' is not known here. Did you mean 'cpu'?",
    ]


@pytest.mark.parametrize(
    ("sections", "fault"),
    [
        ({"inputs": {}}, "inputs: names at least one, as in `inputs: {name: image}`."),
        ({"tasks": None}, "tasks: names at least one, as in `tasks: {name: category}`."),
        (
            {"inputs": {"note": 3}},
            "inputs.note: names an input type, as in `inputs.note: image` or `{type: …, option: …}`, not 3.",
        ),
        (
            {"tasks": {"kind": {"type": "category", "column": "kin"}}},
            "tasks.kind: the table has no column 'kin'. Did you mean 'kind'?",
        ),
        (
            {"tasks": {"x": {"type": "category", "column": "note"}}},
            "tasks.x: its target column 'note' is read by inputs.note, too. Leave one of them out.",
        ),
        (
            {"tasks": {"kind": {"type": "category", "of": "note"}}},
            "tasks.kind.of: a category task reads the whole row. Leave `of` out.",
        ),
        (
            {"tasks": {"cells": {"type": "mask", "of": "note"}}},
            "tasks.cells.of: this task reads grid, and 'note' has words. Possible: photo.",
        ),
        (
            {"inputs": {"note": "text"}, "tasks": {"cells": "mask"}},
            "tasks.cells.of: names the input whose grid this task reads. No input has them.",
        ),
        (
            {"inputs": {"photo": "image", "again": {"type": "image", "column": "photo"}}, "tasks": {"cells": "mask"}},
            "tasks.cells.of: names the input whose grid this task reads. Possible: photo, again.",
        ),
        (
            {"inputs": {"n": {"type": "text", "column": "note", "columns": ["note"]}}},
            "inputs.n: `column` is for one column, `columns` for several. Give one of them.",
        ),
        ({"data": {"validation": 0.1}}, "data: names a table, as in `data: {train: train.csv}`."),
        ({"data": "t.csv"}, "data: is a mapping of options, not 't.csv'."),
        (
            {"data": {"train": "t.csv", "table": "t.csv"}},
            "data: `train` and `table` are two names for one thing. Give one of them.",
        ),
        (
            {"data": {"train": "t.csv", "validation": 0.6, "test": 0.5}},
            "data: shares lie between 0 and 1 and leave rows to train on, unlike [0.6, 0.5].",
        ),
        (
            {"data": {"train": "t.csv", "split": "split", "test": "x.csv"}},
            "data.split: divides the one table. Leave `validation` and `test` out, or `split`.",
        ),
        (
            {"data": {"train": "t.csv", "split": "splt"}},
            "data.split: the table has no column 'splt'. Did you mean 'split'?",
        ),
        ({"inputs": {"note": {"type": "text", "column": 3}}}, "inputs.note.column: 3 is not text. Put it in quotes."),
    ],
)
def test_one_fault(load, sections, fault):
    assert fault in faults_of(load, **sections)


# --- patterns and groups


def test_patterns_are_written_out_in_order(load):
    config = load(tasks={"kind": "category", "SR-*": {"type": "category", "weight": 2}, "cells": "mask"})
    assert list(config.tasks) == ["kind", "SR-1", "SR-2", "cells"]
    assert config.tasks["SR-2"].column == "SR-2"
    assert config.tasks["SR-2"].weight == 2.0


def test_a_named_column_is_not_for_patterns(load):
    config = load(inputs={"*": "text"}, tasks={"kind": "category", "SR-1": "labels", "SR-2": "category"}, data=DATA)
    assert list(config.inputs) == ["photo", "note", "cells", "a.b", "what?"]
    config = load(tasks={"SR-[12]": "category", "SR-1": "labels"})
    assert {name: task.type for name, task in config.tasks.items()} == {"SR-2": "category", "SR-1": "labels"}


def test_groups(load):
    config = load(
        data=DATA,
        inputs={
            "words": {"type": "text", "columns": ["note", "a.b"]},
            "rest": {"type": "text", "columns": "all_other"},
        },
        tasks={"kind": "category", "SR-*": "labels"},
    )
    assert list(config.inputs) == ["note", "a.b", "photo", "cells", "what?"]
    assert list(config.tasks) == ["kind", "SR-1", "SR-2"]


def test_a_column_that_is_off_is_in_no_pattern_and_no_group(load):
    """Neither is the answer of a task that was left out an input by that."""
    assert list(load(tasks={"kind": "category", "SR-*": "labels", "SR-1": "off"}).tasks) == ["kind", "SR-2"]
    config = load(inputs={"*": "text"}, tasks={"kind": "category", "SR-2": "labels", "SR-1": "off"}, data=DATA)
    assert list(config.tasks) == ["kind", "SR-2"]
    assert list(config.inputs) == ["photo", "note", "cells", "a.b", "what?"]
    listed = {"type": "labels", "columns": ["SR-1", "SR-2"]}
    assert list(load(tasks={"kind": "category", "listed": listed, "SR-2": "off"}).tasks) == ["kind", "SR-1"]
    others = load(inputs={"note": "text"}, tasks={"kind": "category", "all": {"type": "labels", "columns": "all_other"},
                                                  "SR-2": "off"}, data=DATA)  # fmt: skip
    assert "SR-1" in others.tasks and "SR-2" not in others.tasks
    assert list(load(tasks={"kind": "category", "SR-1": "off"}, columns=None).tasks) == ["kind"]


def test_a_column_of_a_pattern_is_left_out_of_what_is_added_to_a_run(tmp_path):
    for name in FILES:
        (tmp_path / name).write_text("{inputs: {note: text}, tasks: {kind: category}}")
    problems = Problems()
    whole = joined({"tasks": {"SR-*": "labels", "SR-1": "off"}}, tmp_path, problems)
    assert problems.lines == []
    assert whole["tasks"] == {"kind": "category", "SR-*": {"type": "labels", "added": 1}, "SR-1": "off"}
    joined({"tasks": {"SR-1": "off"}}, tmp_path, problems)
    assert "names none that is new" in problems.lines[0]


@pytest.mark.parametrize(
    ("data", "before", "after"),
    [
        ({"train": "b.csv"}, "{train: a.csv, na: ['?', -1]}", {"train": "b.csv", "na": ["?", -1]}),
        ({"train": "b.csv", "na": ["x"]}, "{train: a.csv, na: ['?']}", {"train": "b.csv", "na": ["x"]}),
        ({"train": "b.csv"}, "{train: a.csv}", {"train": "b.csv"}),
        ({"tables": {"b": {"train": "b.csv"}, "c": {"train": "c.csv", "na": []}}}, "{train: a.csv, na: ['?']}",
         {"tables": {"b": {"train": "b.csv", "na": ["?"]}, "c": {"train": "c.csv", "na": []}}}),
        ({"train": "b.csv"}, "{tables: {p: {train: p.csv, na: ['?']}, q: {train: q.csv, na: ['?']}}}",
         {"train": "b.csv", "na": ["?"]}),
        ({"train": "b.csv"}, "{tables: {p: {train: p.csv, na: ['?']}, q: {train: q.csv}}}", {"train": "b.csv"}),
        ({"train": "b.csv"}, "{tables: {p: p.csv, q: {train: q.csv, na: ['?']}}}", {"train": "b.csv"}),
        (None, "{train: a.csv, na: ['?']}", None),
        ({"train": "b.csv"}, "7", {"train": "b.csv"}),
    ],
)  # fmt: skip
def test_what_meant_absent_for_a_run_means_it_for_what_is_added(tmp_path, data, before, after):
    for name in FILES:
        (tmp_path / name).write_text(f"{{data: {before}, inputs: {{note: text}}, tasks: {{kind: category}}}}")
    problems = Problems()
    assert joined({"data": data, "tasks": {"new": "binary"}}, tmp_path, problems)["data"] == after
    assert problems.lines == []


def test_what_a_run_has_written_of_what_is_absent_is_all_there_is(tmp_path):
    """`na: []` is not written, and stays what was asked for when the run's own config is read again."""
    for name in FILES:
        (tmp_path / name).write_text("{data: {train: a.csv, na: ['?']}, inputs: {x: number}, tasks: {kind: category}}")
    settled = {"data": {"train": "b.csv"}, "tasks": {"new": {"type": "binary", "added": 1}}}
    assert joined(settled, tmp_path, Problems())["data"] == {"train": "b.csv"}


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ("{}", "which has `inputs` by name; here they are left out. Give another run"),
        ("inputs: 3\ntasks: 4\n", "which has `inputs` by name; here they are 3"),
        ("inputs: {note: text}\n", "which has `tasks` by name; here they are left out"),
        ("inputs: {note: text}\ntasks: [kind]\n", r"which has `tasks` by name; here they are \['kind'\]"),
        ("inputs: [note]\ntasks: [kind]\n", "which has `inputs` by name"),
        ("[]", r"is no config of a finished run, but \[\]"),
        ("inputs: {", "config.yaml"),
        (b"\xff", "cannot be read"),
    ],
)
def test_a_stranger_in_the_place_of_the_run_to_start_from(load, tmp_path, config, fault):
    for name in FILES:
        (tmp_path / name).write_bytes(config if isinstance(config, bytes) else config.encode())
    with pytest.raises(ConfigError, match=f"start: .*{fault}"):
        load(start=str(tmp_path), tasks={"t": "category"})


@pytest.mark.parametrize(
    ("tasks", "fault"),
    [
        ({"SR-*": "category", "SR-7": "off"}, "tasks.SR-7: there is no column to be left out. Did you mean"),
        ({"SR-1": "off"}, "tasks: all that it names is off, and one is needed at least."),
        ({"SR-*": "category", "SR-1": "off", "SR-2": "off"}, "tasks.SR-*: no column is left that this stands for."),
        ({"XY-*": "category"}, "tasks.XY-*: no column is left that this stands for."),
        (
            {"g": {"type": "category", "columns": ["kin"]}},
            "tasks.kin: the table has no column 'kin'. Did you mean 'kind'?",
        ),
        ({"SR-*": "category", "*-1": "labels"}, "tasks.*-1: 'SR-1' is in tasks.SR-*, too."),
        (
            {"a": {"type": "category", "columns": "all_other"}, "b": {"type": "labels", "columns": "all_other"}},
            "tasks.b.columns: only one group can take all_other, and tasks.a does.",
        ),
    ],
)
def test_patterns_and_groups_that_fail(load, tasks, fault):
    assert any(line.startswith(fault) for line in faults_of(load, tasks=tasks))


def test_a_pattern_may_not_leak(load):
    faults = faults_of(load, inputs={"SR-*": "text"}, tasks={"*-1": "category"})
    assert faults == ["tasks.SR-1: its target column 'SR-1' is read by inputs.SR-1, too. Leave one of them out."]


def test_without_a_table_names_are_literal(load):
    config = load(tasks={"SR-*": "category"}, columns=None)
    assert config.tasks["SR-*"].column == "SR-*"
    faults = faults_of(load, tasks={"a": {"type": "category", "columns": "all_other"}}, columns=None)
    assert faults == ["tasks.a.columns: can only be written out with a table at hand."]


def test_six_hundred_columns(load):
    columns = ["note", *(f"t{i}" for i in range(600))]
    config = load(inputs={"note": "text"}, tasks={"t*": "category"}, columns=columns)
    assert len(config.tasks) == 600


# --- code of one's own


def test_code_is_not_imported_unless_trusted(load):
    sys.modules.pop("antigravity_of_trunkline", None)
    faults = faults_of(load, inputs={"note": "antigravity_of_trunkline:Thing"})
    assert faults == [
        "inputs.note.type: 'antigravity_of_trunkline:Thing' would run code of that module, which is done only with "
        "`--trust-code` (in Python trust_code=True)."
    ]


def test_trusted_code_is_checked_like_any_other(tmp_path, monkeypatch):
    source = Path(__file__).with_name("conftest.py").read_text()
    (tmp_path / "own_code.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)

    def load_own(note):
        return load_config(
            {"inputs": {"note": note}, "tasks": {"kind": "category"}}, columns=["note", "kind"], trust_code=True
        )

    assert load_own({"type": "own_code:OwnModality", "size": 3}).inputs["note"].make().size == 3
    for note, message in [
        ({"type": "own_code:OwnModality", "siz": 3}, "Did you mean 'size'?"),
        ("own_code:Equal", "is not an input type: it must be a subclass of Modality."),
        ("own_code:Nothing", "cannot be imported"),
        ("no_such_module:Nothing", "cannot be imported"),
    ]:
        with pytest.raises(ConfigError, match=re.escape(message)):
            load_own(note)


# --- there and back


def test_a_resolved_config_reads_back_the_same(tmp_path, load, catalogs):
    config = load(
        None,
        "training.lr=1e-3",
        data={"train": "t.csv", "validation": 0.1, "na": ["?", -999, "null"], "separator": ";"},
        inputs={
            "photo": {"type": "image", "size": [64, 32]},
            "note": {"type": "text", "vocabulary": ["no", "1e3", "ä"]},
        },
        tasks={
            "SR-*": {"type": "labels", "weight": 0.5},
            "cells": "mask",
            "no": {"type": "category", "column": "kind"},
        },
        fusion={"type": "anything", "options": {"a": 1}, "more": [1, None]},
        trunk={"type": "mmoe", "mode": "hard"},
        balancer={"type": "equal", "level": "last"},
        width=64,
        training={"precision": 32, "devices": "auto", "accelerator": "cpu", "workers": 2},
    )
    (tmp_path / "config.yaml").write_text(to_yaml(config, reasons={"training.lr": "it was\nasked for"}))
    for columns in (COLUMNS, None):
        assert load_config(tmp_path / "config.yaml", columns=columns, catalogs=catalogs) == config
    assert load_config(as_plain(config), columns=COLUMNS, catalogs=catalogs) == config
    assert "# training.lr: it was asked for\ntraining:" in (tmp_path / "config.yaml").read_text()


ENTRIES = [(section, name, cls) for section, names in vars(Catalogs()).items() for name, cls in names.items()]


@pytest.mark.parametrize(("section", "name", "cls"), ENTRIES)
def test_every_default_of_the_catalogs_fits_its_own_annotation(section, name, cls):
    for parameter in signature_of(cls).values():
        if parameter.default is not parameter.empty:
            assert as_annotated(parameter.default, parameter.annotation) == parameter.default


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"width": 10**400}, "width: 1000"),
        ({"width": 1e300}, "width: 1e+300 is not a whole number."),
        ({"training": {"lr": 10**400}}, "training.lr: 1000"),
        ({"training": {"lr": float("inf")}}, "training.lr: must be greater than 0, and finite, not inf."),
        ({"training": {"lr": float("nan")}}, "training.lr: must be greater than 0, not nan."),
        ({"tasks": {"hit": {"type": "binary", "weight": float("nan")}}}, "tasks.hit.weight: must be greater than 0."),
        ({"tasks": {"hit": {"type": "binary", "weight": float("inf")}}}, "tasks.hit.weight: must be finite."),
        ({"data": {"tables": {"a": {"train": "a.csv"}, "b": {"train": "b.csv"}}, "sampling": float("nan")}},
         "data.sampling: is a temperature of 1 (proportional) or more, not nan."),
        ({"data": {"tables": {k: {"train": "a.csv"} for k in "ab"}, "sampling": {"a": 1, "b": float("nan")}}},
         "data.sampling: gives each of a, b a weight above 0"),
        ({"a\nb\x1b[31m": 1}, "a\\nb\\x1b[31m: there is no such section."),
        ({"fusion": "x" * 10_000}, "fusion.type: 'xxx"),
        ({"trunk": ["x" * 10_000]}, "trunk: names a trunk"),
    ],
)  # fmt: skip
def test_odd_numbers_and_names_are_told_in_one_short_line(config, told):
    whole = {"inputs": {"x": "number"}, "tasks": {"hit": "binary"}, **config}
    with pytest.raises(ConfigError) as refused:
        load_config(whole, columns=["x", "hit"])
    (line,) = str(refused.value).split("\n")
    assert line.startswith(told) and len(line) < 800


def test_what_is_no_file_of_a_config(tmp_path):
    for path in (tmp_path, tmp_path / "a\0b", tmp_path / ("n" * 300)):
        with pytest.raises(ConfigError, match="cannot be read"):
            load_config(path, columns=None)
    with pytest.raises(ConfigError, match=r"data\.train"):
        load_config({"inputs": {"x": "number"}, "tasks": {"y": "binary"}}, columns=["x", "y"],
                    overrides=["data.train=~nobody-of-that-name/x.csv"])  # fmt: skip
