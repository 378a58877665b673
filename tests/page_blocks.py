"""The code blocks of the pages, found by themselves: a page that is new is looked at without a word about it here.

A block is checked by its language. One that cannot be is marked in the page, on the line above it, with the reason:
`<!-- not run: needs a GPU -->`. A page whose blocks need a trained run says so anywhere: `<!-- given: packages -->`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trunkline.config.dialect import parse_yaml

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "recipes/README.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
LANGUAGES = ("python", "py", "yaml", "json", "bash", "", "text")  # of `text` nothing is asked: what is printed
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\S*)[^\n]*\n(?P<text>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- not run: (.*?) -->\n+ *\Z")
GIVEN = re.compile(r"^<!-- given: (\w+) -->$", re.MULTILINE)
INLINE = re.compile(r"`((?:trunkline|make) [^`\n]+)`")
SECTIONS = ("data", "inputs", "tasks", "fusion", "trunk", "balancer", "width", "training", "mute")


@dataclass(frozen=True)
class Block:
    """Of a page.

    Attributes:
        page: where it stands.
        line: of its fence.
        language: after the fence; empty where there is none.
        text: without indentation.
        mark: why it cannot be run, where the page says so.
    """

    page: Path
    line: int
    language: str
    text: str
    mark: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """All of a page, in order."""
    text = page.read_text()
    found = []
    for fence in FENCE.finditer(text):
        mark = MARK.search(text[: fence.start()])
        code = re.sub(rf"^{fence['indent']}", "", fence["text"], flags=re.MULTILINE)
        line = text.count("\n", 0, fence.start()) + 1
        found.append(Block(page, line, fence["language"], code, mark[1] if mark else None))
    return found


def given_to(page: Path) -> list[str]:
    """What a page's blocks find in their folder."""
    return GIVEN.findall(page.read_text())


def commands_of(block: Block) -> Iterator[list[str]]:
    """Command lines of a block, as words; comments and what is printed are left out."""
    for line in block.text.replace("\\\n", " ").splitlines():
        line = line.strip().removeprefix("$ ")
        if line.startswith(("trunkline ", "make ", "python ", "pip ")):
            yield shlex.split(line, comments=True)


def inline_commands(page: Path) -> list[list[str]]:
    """Command lines in the running text, where they name a verb of the command line."""
    text = FENCE.sub("", page.read_text())
    return [line.split() for line in INLINE.findall(text) if re.match(r"(trunkline [a-z]+|make [a-z-]+)( |$)", line)]


def is_whole(raw: Mapping[str, Any]) -> bool:
    """Whether a config can be trained as it stands, given its table."""
    return "inputs" in raw and "tasks" in raw


def whole_config(text: str, where: str) -> dict[str, Any]:
    """A config, of which a block may show only some sections."""
    raw = parse_yaml(text, where)
    assert isinstance(raw, dict) and set(raw) <= set(SECTIONS), f"{where}: no section of a config: {list(raw)}"
    inputs = raw.get("inputs", {"some_number": "number"})
    tasks = raw.get("tasks", {"some_target": "number"})
    return {"data": {"train": "rows.csv"}, **raw, "inputs": inputs, "tasks": tasks}


def columns_of(config: Mapping[str, Any]) -> list[str]:
    """Columns that a table must have for a config to be good."""
    data = config["data"]
    names = [data[key] for key in ("group", "split") if key in data]
    names += data.get("slices", []) + (["table"] if "tables" in data else [])
    for name, entry in [*config["inputs"].items(), *config["tasks"].items()]:
        said = entry if isinstance(entry, dict) else {}
        if "columns" in said:
            names += ["other_1", "other_2"] if said["columns"] == "all_other" else said["columns"]
        else:
            column = said.get("column", name)
            names += [column.replace("*", sign) for sign in "12"] if "*" in column else [column]
    return list(dict.fromkeys(names))
