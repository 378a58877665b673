"""What MkDocs is told beside `mkdocs.yml`: pages made of other files, links to them, options out of docstrings.

In a page, `<!-- options: trunkline.tasks.Text -->` is where a class's options stand: their names, types, defaults and
meanings, as its docstring and its signature have them. Links out of `docs/` (`../recipes/fsdd.yaml`) work where the
files are read as they lie, and lead to the page that is made of the file here.
"""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "trunkline"
WHOLE = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "benchmarks/README.md": "benchmarks.md"}
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
OPTIONS = re.compile(r"^<!-- options: ([\w.]+) -->$", re.MULTILINE)
DECISION = re.compile(r"(?<=\n\n)\*([^*\n]+?)\.?\* ?(?=\S)")  # a paragraph that begins with what was decided
SHOWN = """\
::: {name}
    options: {{members: false, show_root_heading: false, show_root_toc_entry: false, show_signature: false,
               show_bases: false, docstring_section_style: list}}
"""


class Singular(griffe.Extension):
    """`Example:` in a docstring is a section of examples, as Google's style has it in the plural."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Before the docstring is read."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)


def on_config(config: Any) -> None:
    """A section of the navigation for the rooms."""
    pages = [{room: f"reference/{room.split('.')[-1]}.md"} for room in rooms()]
    config.nav.append({"Reference": pages})


def on_files(files: Any, config: Any) -> None:
    """Pages that no file in `docs/` holds."""
    made = {page: (ROOT / source).read_text() for source, page in WHOLE.items()}
    made["recipes.md"] = recipes_page()
    made["examples.md"] = examples_page()
    for room in rooms():
        made[f"reference/{room.split('.')[-1]}.md"] = f"# `{room}`\n\n::: {room}\n    options: {room_options(room)}\n"
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links out of `docs/` and marks for options."""
    uri = page.file.src_uri
    source = next((path for path, made in WHOLE.items() if made == uri), f"docs/{uri}")
    source = "recipes/README.md" if uri == "recipes.md" else source
    if uri == "architecture.md":
        markdown = DECISION.sub(r"### \1\n\n", markdown)
    markdown = OPTIONS.sub(lambda found: SHOWN.format(name=found[1]), markdown)
    return LINK.sub(lambda found: relinked(found, source, posixpath.dirname(uri)), markdown)


def relinked(found: re.Match[str], source: str, here: str) -> str:
    """A link of the file `source`, as a page in the folder `here` of the site has it.

    What is linked and has no page is named, and not linked.
    """
    label, target, anchor = found[1], found[2], found[3] or ""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if ":" in target or (path.startswith("docs/") and source.startswith("docs/")):
        return found[0]
    page = page_of(path)
    return label if page is None else f"[{label}]({posixpath.relpath(page, here or '.')}{anchor})"


def page_of(path: str) -> str | None:
    """The page of the site that is made of a file of the repository."""
    page = WHOLE.get(path)
    if path.startswith("recipes/"):
        page = "recipes.md" if path.endswith("README.md") else f"recipes.md#{Path(path).stem}"
    elif path.startswith("examples/"):
        page = f"examples.md#{Path(path).stem}"
    elif path == "README.md":
        page = "index.md"
    elif path.startswith("docs/") and path.endswith(".md"):
        page = path.removeprefix("docs/")
    elif found := re.match(r"src/trunkline/(\w+)", path):
        page = f"reference/{found[1]}.md"
    return page


def rooms() -> list[str]:
    """`trunkline` and its rooms that say what is public, in order."""
    found = [path.parent for path in sorted(PACKAGE.glob("*/__init__.py")) if public_names(path)]
    single = ["errors", "loading", "predictor", "types"]
    return ["trunkline", *sorted(f"trunkline.{name}" for name in [*(path.name for path in found), *single])]


def public_names(path: Path) -> list[str]:
    """`__all__` of a file, without importing it."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def room_options(room: str) -> str:
    """What of a room is shown: the names that it exports; of a file that is a room, all that is public."""
    path = PACKAGE.joinpath(*room.split(".")[1:])
    names = public_names(path / "__init__.py") if path.is_dir() else []
    if room == "trunkline":  # rooms have pages of their own
        names = [name for name in names if not (PACKAGE / name / "__init__.py").exists()]
    members = f", members: {names}" if names else ""
    return f"{{show_root_heading: false, show_root_toc_entry: false{members}}}"


def recipes_page() -> str:
    """`recipes/README.md`, and every recipe as it stands."""
    parts = [(ROOT / "recipes" / "README.md").read_text().rstrip()]
    for path in sorted((ROOT / "recipes").glob("*.yaml")):
        parts.append(f"## {path.stem} {{ #{path.stem} }}\n\n```yaml\n{path.read_text().rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def examples_page() -> str:
    """Every example as it stands."""
    parts = ["# Examples\n\nScripts of `examples/`, which the tests run as they stand."]
    for path in sorted((ROOT / "examples").glob("*.py")):
        parts.append(f"## {path.stem} {{ #{path.stem} }}\n\n```python\n{path.read_text().rstrip()}\n```")
    return "\n\n".join(parts) + "\n"
