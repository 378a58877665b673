"""What the README shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trunkline.config import load_config

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})


def test_the_config_is_good() -> None:
    first, several, many = blocks("yaml")
    config = load_config_text(first, ["split", "picture", "sound", "written", "spoken", "sum"])
    assert list(config.tasks) == ["written", "spoken", "sum"]
    config = load_config_text(several, ["text", "intent", "slots", "section", "synopsis_en", "table"])
    assert config.data is not None and list(config.data.tables) == ["flights", "packages"]
    config = load_config_text(many, ["x1", "x2", "a", "b", "c"])
    assert list(config.inputs) == ["x1", "x2"]
    assert list(config.tasks) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("page", "columns"),
    [
        ("vision", ["photo", "kinds", "things", "ground", "depth", "normals"]),
        ("language", ["text", "intent", "slots", "section", "summary", "german"]),
        ("speech", ["sound", "line", "voice", "speaker", "words", "german", "reading"]),
        ("sharing", ["photo", "note", "kind", "price"]),
    ],
)
def test_configs_of_the_pages_are_good(page: str, columns: list[str]) -> None:
    first = blocks("yaml", (ROOT / "docs" / f"{page}.md").read_text())[0]
    config = load_config_text(first if "data:" in first else f"data: {{train: rows.csv}}\n{first}", columns)
    assert [*config.inputs, *config.tasks] == columns


def load_config_text(text: str, columns: list[str]):  # type: ignore[no-untyped-def]
    from trunkline.config.dialect import parse_yaml

    return load_config(parse_yaml(text, "README.md"), columns=columns)


def test_first_screen() -> None:
    """What it is, the two commands, and what the demo prints."""
    top = "\n".join(README.splitlines()[:45])
    assert "make demo" in top
    assert "make test" in top
    assert "together" in top
    assert "majority" in top
    assert "DEMO" not in README


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
