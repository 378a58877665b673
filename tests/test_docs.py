"""What README and pages show works as it stands there; new pages and blocks are found by themselves."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

from page_blocks import (
    LANGUAGES,
    PAGES,
    ROOT,
    Block,
    blocks_of,
    columns_of,
    commands_of,
    given_to,
    inline_commands,
    is_whole,
    whole_config,
)
from page_tables import write_table
from trunkline.cli import app
from trunkline.config import load_config
from trunkline.errors import ConfigError
from trunkline.run import check

README = (ROOT / "README.md").read_text()
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
KINDS = ("inputs", "tasks")  # folders of docs/ whose configs are put to work on made tables
MARKS = 5  # blocks that cannot be run, at most


def of(*languages: str) -> list[Any]:
    return [pytest.param(b, id=str(b)) for b in BLOCKS if b.language in languages and b.mark is None]


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`runs/packages`, trained for a moment and exported, and what its graph reads of four rows."""
    import numpy as np

    from trunkline import MultiTaskModel, fit, modalities, tasks
    from trunkline.data import read_table
    from trunkline.export import example_batch, export_onnx
    from trunkline.export.dense import dense_values, flatten
    from trunkline.schema import RowBatches

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("packages")
    rows = [{"text": t, "section": t[0], "german": t[::-1]} for t in ("red cat", "big dog", "so red", "big cat") * 8]
    model = MultiTaskModel(
        {"text": modalities.Text(layers=0)},
        {"section": tasks.Category(), "german": tasks.Text(max_length=4, vocabulary=259, layers=1)},
        width=16,
    )
    run = fit(model, rows, steps=2, out=folder / "runs" / "packages")
    table = read_table(rows[:4])
    export_onnx(run.predictor, table, run.folder / "model.onnx")
    batch = example_batch(RowBatches(run.predictor.preprocessing, table, with_targets=False), range(4), 4)
    parts = {"present": batch.present.values, **flatten(dense_values(batch))}
    np.savez(folder / "inputs.npz", **{name: part.numpy() for name, part in parts.items()})
    return folder


PYTHON_PAGES = [page for page in PAGES if any(b.language in ("python", "py") for b in blocks_of(page))]


@pytest.mark.parametrize("page", PYTHON_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """The blocks of a page, one after the other, as a reader would type them."""
    for name in given_to(page):
        shutil.copytree(request.getfixturevalue(name), tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    torch.set_num_threads(1)
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks_of(page):
        if block.language in ("python", "py") and block.mark is None:
            if written := re.match(r"# (\w+\.py)\n", block.text):
                (tmp_path / written[1]).write_text(block.text)
            exec(compile("\n" * block.line + block.text, str(page), "exec"), names)


@pytest.mark.parametrize("block", of("yaml"))
def test_configs_are_good(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = whole_config(block.text, str(block))
    found = load_config(config, columns=columns_of(config))
    assert found.inputs and found.tasks


@pytest.mark.parametrize("block", [b for b in of("yaml") if b.values[0].page.parent.name in KINDS])
def test_configs_of_kinds_work(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network is built and takes steps, on a table made for the config."""
    config = whole_config(block.text, str(block))
    if not is_whole(config) or "transformers:" in block.text:
        pytest.skip("shows a part, or wants a pretrained network")
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    write_table(config, tmp_path)
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    report = check("config.yaml", overrides=["width=16", "training.steps=2", "training.batch_size=8"])
    assert report.shared > 0
    assert report.rows["train"] > 0


@pytest.mark.parametrize("block", of("json"))
def test_json_is_json(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", of("bash", ""))
def test_commands_exist(block: Block) -> None:
    for words in commands_of(block):
        check_command(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_the_text_exist(page: Path) -> None:
    for words in inline_commands(page):
        check_command(words, is_whole=False)


def check_command(words: list[str], *, is_whole: bool = True) -> None:
    """A verb and options that there are; targets, scripts, modules and extras that there are.

    Args:
        words: of a command line.
        is_whole: arguments that the verb needs must be there, too.
    """
    line = " ".join(words)
    match words:
        case ["trunkline", verb, *rest]:
            commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
            assert verb in commands, f"{line}: there is no such verb"
            context = commands[verb].make_context(verb, list(rest), resilient_parsing=not is_whole)
            check_overrides([word for word in context.params.get("overrides") or [] if is_whole], line)
        case ["make", *targets]:
            known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
            assert {word for word in targets if "=" not in word} <= known, f"{line}: there is no such target"
        case ["python", "-m", module, *_] if module not in ("venv", "pip"):
            assert importlib.util.find_spec(module), f"{line}: there is no such module"
        case ["python", script, *_] if not script.startswith("-"):
            assert (ROOT / script).exists(), f"{line}: there is no such script"
        case ["pip", "install", *what]:
            extras = {name for names in re.findall(r"\[([\w,-]+)\]", " ".join(what)) for name in names.split(",")}
            project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
            assert extras <= set(project["optional-dependencies"]), f"{line}: there is no such extra"


def check_overrides(words: list[str], line: str) -> None:
    """`key=value` of sections that every config may have; inputs and tasks are those of a config of the reader's."""
    known = [word for word in words if not word.startswith(("inputs.", "tasks.", "data."))]
    config = whole_config("{}", line)
    load_config(config, columns=columns_of(config), overrides=known)


def test_languages_are_known() -> None:
    assert {str(b): b.language for b in BLOCKS if b.language not in LANGUAGES} == {}


def test_few_blocks_are_marked() -> None:
    marked = {str(b): b.mark for b in BLOCKS if b.mark is not None}
    assert len(marked) <= MARKS, marked
    assert all(len(reason or "") > 10 for reason in marked.values()), marked


class TestItCatches:
    """A check that lets a fault through is worth nothing."""

    @pytest.mark.parametrize(
        "line",
        [
            "trunkline fitt config.yaml",
            "trunkline fit config.yaml --outt runs/a",
            "trunkline fit",
            "trunkline fit config.yaml training.stepz=3",
            "trunkline fit config.yaml trunk=mmmoe",
            "make demos",
            "python -m benchmarks.nothing",
            "python recipes/nothing.py",
            "pip install 'trunkline[nothing]'",
        ],
    )
    def test_commands(self, line: str) -> None:
        block = Block(ROOT / "README.md", 1, "bash", line, None)
        with pytest.raises((AssertionError, ConfigError, Exception), match=r"no such|No such|Missing|stepz|mmmoe"):
            check_command(next(iter(commands_of(block))))

    def test_configs(self) -> None:
        config = whole_config("tasks: {kind: categroy}", "a page")
        with pytest.raises(ConfigError, match="categroy"):
            load_config(config, columns=columns_of(config))
        with pytest.raises(AssertionError, match="trainig"):
            whole_config("trainig: {steps: 3}", "a page")

    def test_marks_and_fences(self, tmp_path: Path) -> None:
        page = tmp_path / "page.md"
        marked = "a\n\n<!-- not run: a reason -->\n```python\n1 / 0\n```\n\n"
        page.write_text(marked + "- b\n\n    ```yaml\n    width: 3\n    ```\n")
        first, second = blocks_of(page)
        assert (first.mark, first.line, first.text) == ("a reason", 4, "1 / 0\n")
        assert (second.mark, second.language, second.text) == (None, "yaml", "width: 3\n")


def test_first_screen() -> None:
    """What it is, the two commands, and what the demo prints."""
    top = "\n".join(README.splitlines()[:45])
    assert "make demo" in top
    assert "make test" in top
    assert "together" in top
    assert "guessing" in top
    assert "DEMO" not in README


def test_the_demo_is_shown_as_in_the_readme() -> None:
    shown = [block.text for block in blocks_of(ROOT / "docs" / "start.md") if "together − alone" in block.text]
    assert len(shown) == 1
    assert shown[0] in README


def test_what_trunks_cost_is_what_is_counted() -> None:
    from benchmarks.sharing import table

    page = (ROOT / "docs" / "sharing.md").read_text().splitlines()
    assert [line for line in table() if line not in page] == []


def test_every_room_is_in_the_tree() -> None:
    rooms = {
        p.name for p in (ROOT / "src" / "trunkline").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()
    }
    told = README.split("src/trunkline/\n")[1].split("```")[0]
    for room in rooms - {"__init__.py", "__main__.py"}:
        assert room in told, room
