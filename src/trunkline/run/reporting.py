"""The report of a run that has just finished, and of finished runs anew from their files."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from trunkline.errors import TrunklineError
from trunkline.report import findings, read_run, write_card, write_page
from trunkline.run.facts import Subject, write_facts

PAGE, METRICS = "report.html", "metrics.json"


def report(runs: str | Path | Sequence[str | Path], out: str | Path | None = None) -> Path:
    """One self-contained HTML page about one run, or about several side by side. Returns where it is.

    Of one run that is reported on in its own folder the model card (`MODEL_CARD.md`) is written anew, too.

    Args:
        runs: run folders.
        out: the page; by default `report.html` in the folder of the one run, or here for several.

    Raises:
        RunError: a folder is no finished run.
    """
    folders = [runs] if isinstance(runs, str | Path) else list(runs)
    if out is not None or len(folders) != 1:
        return write_page(folders, out or PAGE)
    folder = Path(folders[0])
    page = write_page([folder], folder / PAGE)
    if (folder / METRICS).is_file():  # else it is a comparison, whose runs have cards of their own
        write_card(folder)
    return page


def noticed(folder: Path) -> list[str]:
    """What the report's checks found: code and title of each."""
    return [f"{check.code} {check.title}" for check, _ in findings(read_run(folder))]


def report_on(subject: Subject) -> None:
    """Write `report/` and the page. The run is finished by now: what files and cells do from here on leaves it so."""
    try:
        write_facts(subject)
        report(subject.folder)
    # Weights and scores are written, and whoever called `fit` waits for them: a fault of ours in the page does not take
    # them away. Where tests run, the warning is an error (pyproject.toml), so that no fault passes by unseen.
    except Exception as error:
        told = error if isinstance(error, TrunklineError | OSError) else f"{type(error).__name__} {error}"
        warnings.warn(f"the run is finished, but its report could not be written: {told}", stacklevel=2)
