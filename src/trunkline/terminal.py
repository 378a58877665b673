"""What is said on a terminal, and how."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import typer
from rich.console import Console

if TYPE_CHECKING:
    from trunkline.training import Validation

# Names of columns may hold brackets, which are no markup. Of processes that train together, the first speaks.
out = Console(markup=False, quiet=os.environ.get("LOCAL_RANK", "0") != "0")


def say_validation(seen: Validation) -> None:
    """Where there is no terminal for a bar."""
    score = "" if seen.aggregate is None else f", score {seen.aggregate:.3f} (0 guessing, 1 perfect)"
    print(f"step {seen.step} of {seen.steps}{score}", file=sys.stderr, flush=True)


def say(text: str) -> None:
    """A line, as it is."""
    out.print(text, highlight=False)


def say_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Trunkline's own in plain words; where another package's come from is what one wants to know of them."""
    is_own = issubclass(category, UserWarning) and Path(filename).is_relative_to(Path(__file__).parent)
    text = str(message) if is_own else warnings.formatwarning(message, category, filename, lineno, line).rstrip()
    Console(stderr=True).print("Warning", style="bold yellow")
    print(text, file=sys.stderr)


@contextmanager
def interruptible(folder: Path | None, resume: bool) -> Iterator[None]:
    """A run in here may be stopped, and says how to go on."""
    if resume and folder is None:
        raise typer.BadParameter("--resume goes with --out, the folder of the run to go on with")
    if resume and folder is not None and not folder.exists() and not out.quiet:
        print(f"{folder}: there is no run to go on with; it begins.", file=sys.stderr)
    try:
        yield
    except KeyboardInterrupt as stop:
        if stop.args and not out.quiet:
            print(f"Training {stop}", file=sys.stderr)
        raise typer.Exit(130) from None
