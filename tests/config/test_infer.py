"""Types that a config leaves out."""

from __future__ import annotations

import pytest

from trunkline.config import load_config, to_yaml
from trunkline.data import read_table
from trunkline.errors import ConfigError

ROWS = [
    {
        "age": 20.5 + i % 40,
        "town": "ab"[i % 2] + "x",
        "note": f"some words about row {i} and more",
        "rating": 1 + i % 5,
        "label": i % 4,
        "bought": "yes" if i % 3 else "no",
        "price": f"{i},50 €",
        "tags": ["u"] if i % 2 else ["u", "v"],
        "none": None,
        "same": 7,
        "row_id": i,
        "day": f"2024-05-{1 + i % 28:02d}",
        "x.1": i % 7 + 0.5,
        "x.2": "pq"[i % 2] * 2,
    }
    for i in range(60)
]


def load(inputs, tasks, **more):
    return load_config({"inputs": inputs, "tasks": tasks}, columns=read_table(ROWS), **more)


@pytest.mark.parametrize("inputs", [["age", "town", "note"], {"age": None, "town": "auto", "note": {"type": "auto"}}])
def test_left_out_auto_and_listed_are_the_same(inputs):
    config = load(inputs, ["bought"])
    assert {n: c.type for n, c in config.inputs.items()} == {"age": "number", "town": "category", "note": "text"}
    assert config.tasks["bought"].type == "binary"
    assert config.inputs["age"].reason == "numbers from 20.5 to 59.5, 40 of them different"


def test_inputs_of_every_kind():
    config = load(["rating", "bought", "same", "row_id", "day", "price"], ["age"])
    assert [c.type for c in config.inputs.values()] == ["number", "category", "number", "number", "text", "number"]
    assert "identifier teaches nothing" in config.inputs["row_id"].reason
    assert "read as words" in config.inputs["day"].reason
    assert config.inputs["price"].make().read("1.200,50 €") == 1200.5


def test_tasks_of_every_kind():
    config = load(["day"], ["age", "town", "note", "label", "bought", "price", "tags"])
    assert [c.type for c in config.tasks.values()] == [
        "number",
        "category",
        "text",
        "category",
        "binary",
        "number",
        "labels",
    ]
    assert config.tasks["note"].of is None or config.tasks["note"].of == "day"
    assert config.tasks["price"].options == {"decimal": ","}


def test_options_weights_and_columns_stand_beside_a_type_left_out():
    config = load({"a": {"column": "note", "max_length": 9}}, {"b": {"column": "bought", "weight": 2}})
    assert (config.inputs["a"].type, config.inputs["a"].make().max_length) == ("text", 9)
    assert (config.tasks["b"].type, config.tasks["b"].weight) == ("binary", 2.0)
    assert load(["note"], ["bought"], overrides=["inputs.note.max_length=5"]).inputs["note"].make().max_length == 5


def test_a_pattern_gives_each_column_its_own_type():
    config = load({"x.*": None}, ["age"])
    assert {n: c.type for n, c in config.inputs.items()} == {"x.1": "number", "x.2": "category"}


def test_what_is_written_reads_back_without_a_table(tmp_path):
    config = load(["age", "note", "price"], ["bought", "tags"])
    (tmp_path / "c.yaml").write_text(to_yaml(config, reasons={"inputs.age.type": config.inputs["age"].reason}))
    assert load_config(tmp_path / "c.yaml", columns=None) == config
    assert "# inputs.age.type: numbers from 20.5" in (tmp_path / "c.yaml").read_text()


def test_faults_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        load({"none": None, "agee": None, "note": {"max_lenght": 3}}, {"same": None, "day": None, "town": "categroy"})
    assert str(caught.value).split("\n") == [
        "tasks.town.type: 'categroy' is not a task type. Did you mean 'category'?",
        "inputs.agee: the table has no column 'agee'. Did you mean 'age'? `column:` says which one is meant.",
        "inputs.none: no type can be chosen for column 'none': every cell is absent: leave it out.",
        "inputs.note.max_lenght: there is no such option. Did you mean 'max_length'?",
        "tasks.same: no type can be chosen for column 'same': every cell is 7: there is nothing to learn.",
        "tasks.day: no type can be chosen for column 'day': dates from 2024-05-01 to 2024-05-28: no kind of task "
        "learns dates; give the number you want, such as a year.",
    ]


def test_without_a_table_every_type_is_named():
    for columns in (None, ["age", "bought"]):
        with pytest.raises(ConfigError, match=r"inputs.age: a type can only be left out with a table at hand"):
            load_config({"inputs": ["age"], "tasks": ["bought"]}, columns=columns)


def test_a_list_that_names_one_twice():
    with pytest.raises(ConfigError, match="inputs: 'age' is given twice"):
        load(["age", "age"], ["bought"])
