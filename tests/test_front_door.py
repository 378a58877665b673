"""The front page: about 20 names, quick to open, and nothing happens on import."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import trunkline

ROOMS = ("analysis", "balancers", "config", "data", "engine", "export", "fusion", "modalities", "model", "report",
         "run", "schema", "serving", "tasks", "training", "trunks")  # fmt: skip


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_loads_nothing() -> None:
    assert run_python("import sys, trunkline; print('torch' in sys.modules)") == "False"


def test_help_does_not_load_torch() -> None:
    code = (
        "import sys; sys.argv = ['trunkline', '--help']\n"
        "from trunkline.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules)"
    )
    assert run_python(code).endswith("False")


def test_every_name_is_there() -> None:
    assert len(trunkline.__all__) <= 24
    assert [name for name in trunkline.__all__ if getattr(trunkline, name, None) is None] == []
    assert callable(trunkline.load)
    with pytest.raises(AttributeError, match="fitt"):
        _ = trunkline.fitt


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_are_what_a_room_exports(room: str) -> None:
    module = importlib.import_module(f"trunkline.{room}")
    files = {info.name for info in pkgutil.iter_modules(module.__path__)}
    loaded = {name: getattr(module, name) for name in module.__all__}  # some rooms load a name when it is asked for
    helpers = {"annotations", "Any", "TYPE_CHECKING", "import_module"}
    public = {name for name in {**vars(module), **loaded} if not name.startswith("_")} - files - helpers
    assert set(module.__all__) == public
    assert module.__doc__


def test_the_command_line_stays_small() -> None:
    """Verbs and their options; a new one is a decision."""
    from typer.main import get_command

    from trunkline.cli import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    options = {
        name: sorted(o for p in command.params for o in p.opts if o.startswith("--") and o != "--help")
        for name, command in commands.items()
    }
    assert options == {
        "fit": ["--out", "--resume", "--trust-code"],
        "init": ["--out", "--target"],
        "check": ["--preview", "--trust-code"],
        "affinity": ["--out", "--resume", "--trust-code"],
        "compare": ["--balancers", "--out", "--same-labels", "--seeds", "--trunks", "--trust-code", "--tune"],
        "evaluate": ["--json", "--trust-code"],
        "predict": ["--out", "--trust-code"],
        "report": ["--out"],
        "export": ["--out", "--precision", "--rows", "--tasks", "--trust-code"],
        "serve": ["--allow-host", "--host", "--port", "--trust-code"],
        "list": [],
        "demo": ["--keep", "--only-data", "--out"],
    }


def test_warnings_are_said_in_plain_words(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Trunkline's own without the line of code, others with it."""
    import warnings

    from trunkline import cli

    def app() -> None:
        warnings.warn_explicit("44 rows are left out", UserWarning, str(Path(cli.__file__).parent / "plan.py"), 84)
        warnings.warn_explicit("old", DeprecationWarning, "elsewhere.py", 3)

    monkeypatch.setattr(cli, "app", app)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        cli.main()
    said = capsys.readouterr().err
    assert "Warning\n44 rows are left out\n" in said
    assert "elsewhere.py:3: DeprecationWarning: old" in said
