"""The documentation as a site: nothing is missing, nothing leads nowhere, and no page loads anything from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from page_blocks import FENCE, PAGES, ROOT
from trunkline import modalities, tasks

DOCS = ROOT / "docs"
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
RECIPES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROOT / "recipes").glob("*.yaml"))}
LOADING = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "audio": "src",
    "video": "src",
    "object": "data",
}


def kinds_in(recipe: dict[str, Any], section: str) -> set[str]:
    """Types of a recipe's inputs or tasks; one that shares another's is of its type."""
    entries = {name: said if isinstance(said, dict) else {"type": said} for name, said in recipe[section].items()}
    return {said.get("type") or entries[said["share"]]["type"] for said in entries.values()}


KINDS = [
    *(("inputs", name, cls) for name, cls in modalities.CATALOG.items()),
    *(("tasks", name, cls) for name, cls in tasks.CATALOG.items()),
]


@pytest.mark.parametrize(("section", "name", "cls"), KINDS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_kind_has_its_options_and_recipes(section: str, name: str, cls: type) -> None:
    """A place for its options, and below it the recipes that use it, all of them and no others."""
    mark = f"<!-- options: trunkline.{'modalities' if section == 'inputs' else 'tasks'}.{cls.__name__} -->"
    (page,) = (path for path in (DOCS / section).glob("*.md") if mark in path.read_text())
    told = page.read_text().split(mark)[1].split("**Recipes**: ")[1].split("\n\n")[0]
    used = {stem for stem, recipe in RECIPES.items() if name in kinds_in(recipe, section)}
    assert set(re.findall(r"recipes/(\w+)\.yaml", told)) == used
    assert f"`{name}`" in page.read_text().splitlines()[0]


def test_every_page_is_in_the_navigation() -> None:
    nav = set(_files(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    there = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert there - nav == set()
    assert nav - there == {"recipes.md", "examples.md", "contributing.md", "changelog.md", "benchmarks.md"}  # made


def _files(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    for entry in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from _files(entry)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    text = FENCE.sub("", page.read_text())
    lost = [to for to in LINK.findall(text) if ":" not in to and not (page.parent / to.split("#")[0]).exists()]
    assert lost == []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="the site needs the extra `docs`")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Loads(HTMLParser):
    """What a browser asks for by itself when it opens a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        asks = tag == "link" and (said.get("rel") or "") not in ("canonical", "next", "prev", "alternate")
        for value in (said.get(LOADING.get(tag, "")), said.get("href") if asks else None, said.get("srcset")):
            if value:
                self.found.append(value)
        self.found += re.findall(r"url\(([^)]+)\)", said.get("style") or "")


def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 50
    for page in pages:
        loads = Loads()
        loads.feed(page.read_text())
        assert loads.found
        assert [url for url in loads.found if re.match(r"(https?:)?//", url)] == [], page
        missing = [u for u in loads.found if ":" not in u and not _file(site, page, u).exists()]
        assert missing == [], page
        assert 'class="mermaid"' not in page.read_text(), f"{page}: the theme fetches what draws it"
    for sheet in site.rglob("*.css"):
        found = re.findall(r"(?:url\(|@import)\s*[\"']?([^\"')]+)", sheet.read_text())
        assert [url for url in found if re.match(r"(https?:)?//", url)] == [], sheet


def _file(site: Path, page: Path, url: str) -> Path:
    path = url.split("#")[0].split("?")[0]
    return site / path.lstrip("/") if path.startswith("/") else page.parent / path


def test_options_come_from_signatures(site: Path) -> None:
    text = (site / "tasks" / "text.html").read_text()
    assert "length_penalty" in text
    assert "<!-- options" not in text


def test_a_load_from_elsewhere_is_seen() -> None:
    loads = Loads()
    loads.feed('<link rel="stylesheet" href="https://fonts.example/css"><script src="//cdn.example/x.js"></script>')
    assert [url for url in loads.found if re.match(r"(https?:)?//", url)] == loads.found
    assert len(loads.found) == 2
