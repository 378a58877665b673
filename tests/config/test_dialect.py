import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.config.dialect import parse_yaml, write_yaml
from trunkline.config.overrides import override
from trunkline.config.problems import Problems
from trunkline.errors import ConfigError

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(plain)
def test_what_is_written_is_read_back(value):
    assert parse_yaml(write_yaml(value), "here") == value


@pytest.mark.parametrize(
    "word",
    ["no", "yes", "on", "off", "y", "n", "007", "1e3", "1_000", "12:30:00", "2024-01-01", "=", "<<", "~", "0x1F"],
)
def test_words_that_yaml_1_1_reads_otherwise_are_read_back(word):
    assert parse_yaml(write_yaml({word: [word]}), "here") == {word: [word]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1.0e-3", 1e-3),
        ("-2", -2),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("true", True),
        ("null", None),
        ("", None),
        ("no", "no"),
        ("007", "007"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("{2020: a, true: b, no: c}", {"2020": "a", "true": "b", "no": "c"}),
        ("a: &x {b: 1}\nc: {<<: *x, d: 2}", {"a": {"b": 1}, "c": {"b": 1, "d": 2}}),
    ],
)
def test_plain_values(text, value):
    assert parse_yaml(text, "here") == value


@pytest.mark.parametrize(
    ("config", "text", "changed"),
    [
        ({}, "training.lr=1e-3", {"training": {"lr": 1e-3}}),
        ({"training": None}, "training.lr=1", {"training": {"lr": 1}}),
        ({"trunk": "mmoe"}, "trunk.experts=8", {"trunk": {"type": "mmoe", "experts": 8}}),
        ({"trunk": "mmoe"}, "trunk=hard", {"trunk": "hard"}),
        ({"tasks": {"a": {}, "a.b": {"x": 1}}}, "tasks.a.b.x=2", {"tasks": {"a": {}, "a.b": {"x": 2}}}),
        ({"tasks": {"a": {}}}, "tasks.a.b=2", {"tasks": {"a": {"b": 2}}}),
        ({"tasks": {"a b": "x"}}, "tasks.a b=y", {"tasks": {"a b": "y"}}),
        ({"data": {}}, "data.na=['?', NA]", {"data": {"na": ["?", "NA"]}}),
        ({"x": {}}, "x.url=a=b", {"x": {"url": "a=b"}}),
        ({"tasks": {"a": "x", "b.c": None}}, "tasks.b.c=off", {"tasks": {"a": "x"}}),
        ({"inputs": ["a", "b"]}, "inputs.a=off", {"inputs": {"b": None}}),
        ({"inputs": [2019, 2020]}, "inputs.2019=off", {"inputs": {"2020": None}}),
        ({"inputs": ["a"]}, "inputs.a.lower=off", {"inputs": {"a": {"lower": "off"}}}),
        ({"tasks": {"a": {"x": 1}}}, "tasks.a.x=off", {"tasks": {"a": {"x": "off"}}}),
        ({"tasks": {"y*": "binary"}}, "tasks.y2=off", {"tasks": {"y*": "binary", "y2": "off"}}),
        (
            {"tasks": {"y*": {"x": 1}, "y2": "z"}},
            "tasks.y2.x=off",
            {"tasks": {"y*": {"x": 1}, "y2": {"type": "z", "x": "off"}}},
        ),
        (
            {"tasks": {"a": {"columns": "all_other"}}},
            "tasks.y=off",
            {"tasks": {"a": {"columns": "all_other"}, "y": "off"}},
        ),
        ({"training": {}}, "training.clip=off", {"training": {"clip": "off"}}),
    ],
)
def test_overrides(config, text, changed):
    problems = Problems()
    assert override(config, [text], problems) == changed
    assert problems.lines == []


def test_tables_of_overrides_are_looked_for_from_here_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = ["data.train=[a.csv, /b.csv]", "data.validation=0.1", "data.test=sub/c.csv"]
    assert override({"data": {"train": "x"}}, texts, Problems()) == {
        "data": {
            "train": [str(tmp_path / "a.csv"), "/b.csv"],
            "validation": 0.1,
            "test": str(tmp_path / "sub" / "c.csv"),
        }
    }


def test_overrides_leave_the_config_as_it_was():
    config = {"training": {"lr": 1}}
    override(config, ["training.lr=2"], Problems())
    assert config == {"training": {"lr": 1}}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("lr", "lr: an override is written `key=value`, as in `training.epochs=5`."),
        ("trunk=", "trunk: it is given no value; `null` stands for none."),
        ("width.x=1", "width.x: 'width' is 3, which has nothing below it."),
        ("a={", "a, line 1: "),
        ("tasks.kin=off", "tasks.kin: there is none to be left out. Did you mean 'kind'?"),
        ("inputs.x=off", "inputs.x: there is none to be left out."),
    ],
)
def test_overrides_that_fail(text, fault):
    problems = Problems()
    override({"width": 3, "tasks": {"kind": "category"}}, [text], problems)
    assert problems.lines[0].startswith(fault)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: &a [1]\nb: [*a, *a]", None),
        ("a: &a [*a]", "line 1: the alias *a stands inside of what it names"),
        ("a: &a {b: *a}", "line 1: the alias *a stands inside of what it names"),
        ("a: !!timestamp x", "could not determine a constructor for the tag"),
        ("a: !!python/object/apply:os.system [x]", "could not determine a constructor for the tag"),
        ("a: !!int x", "line 1: 'x' is no int"),
        ("a: !!bool maybe", "line 1: 'maybe' is no bool"),
        ("a: !!float [1]", "line 1: expected a scalar node"),
        ("a: " + "9" * 5000, "line 1: a number of 5000 digits is too long"),
        ("a:\n- " + "[" * 80, "line 2: nested more than 64 levels deep"),
        ('a: "\\ud800"', "line 1: half of a surrogate pair is no letter"),
        ('a: "\\UFFFFFFFF"', "line 1: a letter that there is not"),
        ("a: b\nc: \x01", "line 2: the character U+0001 may not stand in YAML"),
    ],
)
def test_what_is_more_than_plain_values_is_refused(text, problem):
    if problem is None:
        assert parse_yaml(text, "it") == {"a": [1], "b": [[1], [1]]}
        return
    with pytest.raises(ConfigError) as refused:
        parse_yaml(text, "it.yaml")
    assert str(refused.value).startswith("it.yaml") and problem in str(refused.value)
    assert "\n" not in str(refused.value)


def test_aliases_do_not_make_much_of_a_little():
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
    )
    with pytest.raises(ConfigError, match="line 5: aliases stand for more than 100000 values"):
        parse_yaml(laughs, "it")
