"""A room imports only from lower floors; rooms of one floor do not see each other; there is no cycle."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "trunkline"

# Floors from the ground up. Rooms that share a line do not see each other; a line sees all lines below it.
FLOORS = [
    ["errors", "contexts"],
    ["types", "cells", "files", "machine"],
    ["showing"],
    ["arrays"],
    ["gramian", "positions", "pooling", "layers", "sounds"],
    ["pretrained"],
    ["modalities", "fusion", "trunks", "tasks", "balancers", "data"],
    ["schema", "engine"],
    ["model"],
    ["predictor"],
    ["training", "export", "serving", "analysis", "report"],
    ["testing"],
    ["config"],
    ["defaults", "loading"],
    ["sources", "facts"],
    ["plan"],
    ["run"],
    ["demos"],
    ["listing"],
    ["tables", "terminal"],
    ["cli"],
    ["__main__"],
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def imported_rooms(code: str) -> set[str]:
    """Rooms of trunkline that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "trunkline":
            parts = (node.module or "").split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        if isinstance(node, ast.Import):
            found |= {p[1] for alias in node.names if (p := alias.name.split("."))[0] == "trunkline" and len(p) > 1}
    return found


def broken_rules(room: str, code: str) -> list[str]:
    """Imports of a file in `room` that are not of a lower floor."""
    others = imported_rooms(code) - {room}
    return [f"{room} imports {other}" for other in sorted(others) if FLOOR_OF[other] >= FLOOR_OF[room]]


def files() -> list[tuple[str, Path]]:
    """Every source file and its room."""
    paths = [path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py"]
    return [(path.relative_to(SOURCE).parts[0].removesuffix(".py"), path) for path in sorted(paths)]


def test_every_room_has_its_floor() -> None:
    assert {room for room, _ in files()} == set(FLOOR_OF)


def test_rooms_import_only_from_lower_floors() -> None:
    assert [rule for room, path in files() for rule in broken_rules(room, path.read_text())] == []


def test_no_file_imports_in_a_circle() -> None:
    modules = {".".join(("trunkline", *p.relative_to(SOURCE).with_suffix("").parts)): p for _, p in files()}
    graph = {name: _imported_modules(path, modules) for name, path in modules.items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"imports in a circle: {' → '.join((*path[path.index(name) :], name))}"
        if name not in done:
            for other in graph[name]:
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def _imported_modules(path: Path, modules: dict[str, Path]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {
                m for m in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)) if m in modules
            }
    return found


@pytest.mark.parametrize(
    ("room", "code"),
    [
        ("modalities", "from trunkline.model import Network"),  # upward
        ("tasks", "from trunkline.modalities import Text"),  # same floor
        ("trunks", "import trunkline.engine"),  # upward, plain import
        ("engine", "def f():\n    from trunkline import schema"),  # same floor, inside a function
    ],
)
def test_the_rule_catches(room: str, code: str) -> None:
    assert len(broken_rules(room, code)) == 1
