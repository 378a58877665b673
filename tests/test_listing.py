"""What `trunkline list` says is what signatures and docstrings say."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trunkline import ConfigError, tasks
from trunkline.cli import app
from trunkline.config import Training
from trunkline.demos import digits
from trunkline.listing import CATALOGS, SECTIONS, options_of, sections


def said(*asked: str) -> str:
    result = CliRunner().invoke(app, ["list", *asked], env={"COLUMNS": "110"})
    assert result.exit_code == 0, result.output
    return result.stdout


EVERY = [f"{section}.{kind}" for section, catalog in CATALOGS.items() for kind in catalog if section != "demos"]


@pytest.mark.parametrize("name", [*EVERY, *SECTIONS])
def test_every_option_of_every_type_is_explained(name: str) -> None:
    ((full, about, options),) = options_of(name)
    assert full == name and about
    assert [option.name for option in options if not option.about] == []


def test_options_are_those_of_the_signature() -> None:
    ((_, _, options),) = options_of("tasks.category")
    assert [option.name for option in options] == list(inspect.signature(tasks.Category).parameters)
    ((_, _, options),) = options_of("training")
    assert {option.name for option in options} == set(vars(Training()))


def test_defaults_are_as_a_config_has_them() -> None:
    ((_, _, options),) = options_of("image")
    told = {option.name: option.default for option in options}
    assert told["flip"] == "false" and told["encoder_lr"] == "0.1" and told["size"] == "null"


def test_words_that_an_option_may_be_are_told() -> None:
    """Once: not where its text has them already."""
    ((_, _, options),) = options_of("training")
    told = {option.name: option.about for option in options}
    assert told["precision"].endswith("In words: `32`, `bf16-mixed`, `16-mixed`.")
    assert "`cpu`" in told["accelerator"] and "`batch`" in told["normalise"] and "In words" not in told["lr"]
    ((_, _, options),) = options_of("image")
    assert ["In words" in option.about for option in options if option.name == "aspect"] == [False]


def test_a_name_of_two_sections_shows_both_and_a_full_one_its_own() -> None:
    assert [full for full, _, _ in options_of("text")] == ["inputs.text", "tasks.text"]
    assert [full for full, _, _ in options_of("modalities.text")] == ["inputs.text"], "as Python calls it"
    assert "inputs.text" in said("text") and "tasks.text" in said("text")
    assert "It has no options of its own." in said("equal")


def test_sections_by_either_name() -> None:
    assert {section for section, _ in sections(None)} == set(CATALOGS)
    assert list(sections("modalities")) == list(sections("inputs"))
    assert list(sections("image")) == []
    assert "A picture." in said("inputs") and "A picture." in said()


@pytest.mark.parametrize(
    ("name", "hint"),
    [("imge", "Did you mean 'image'?"), ("tasks.txt", "Did you mean 'tasks.text'?"), ("trainig", "'training'")],
)
def test_another_name_is_an_error_with_what_is_near(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=r"is neither a section nor a type") as error:
        list(options_of(name))
    assert hint in str(error.value)


def test_a_demo_can_be_made_and_not_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digits.cached, "__kwdefaults__", {**(digits.cached.__kwdefaults__ or {}), "rows": 30})
    result = CliRunner().invoke(app, ["demo", "--only-data", "--keep", str(tmp_path / "here")])
    assert result.exit_code == 0 and "".join(result.stdout.split()) == f"Config:{tmp_path}/here/config.yaml"
    assert (tmp_path / "here" / "rows.csv").is_file()
    assert [path.name[:7] for path in (tmp_path / "cache").iterdir()] == ["digits-"]


def test_data_alone_has_no_run_folder(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["demo", "--only-data", "--out", str(tmp_path / "run")])
    assert result.exit_code == 2 and "trains nothing" in result.output


def test_the_version() -> None:
    done = subprocess.run([sys.executable, "-m", "trunkline", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "trunkline" and done.stdout.split()[1][0].isdigit()
