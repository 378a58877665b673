"""Run folders → one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from trunkline.errors import RunError
from trunkline.files import replacing
from trunkline.report import words
from trunkline.report.comparison import comparison, runs_in
from trunkline.report.files import RunFiles, read_run, telling_damage
from trunkline.report.sections import SECTIONS
from trunkline.report.side_by_side import side_by_side

TEMPLATES = Path(__file__).parent / "templates"


def write_page(folders: Sequence[str | Path], out: str | Path) -> Path:
    """Make the page of these runs and write it.

    Raises:
        RunError: a folder is no finished run.
    """
    page = make_page(folders)
    with replacing(Path(out)) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    return Path(out)


def make_page(folders: Sequence[str | Path]) -> str:
    """One self-contained page: styles, figures, pictures and sounds are inline, and it asks no network for anything.

    Raises:
        RunError: a folder is no finished run, a file of it was damaged, or there is none.
    """
    if not folders:
        raise RunError("a report needs at least one run folder")
    paths = [Path(folder) for folder in folders]
    with telling_damage(paths):
        return _page(paths)


def _page(paths: Sequence[Path]) -> str:
    made = environment()
    runs = [read_run(run) for path in paths for run in runs_in(path)]
    compared = [
        _compared(made, found, number) for number, path in enumerate(paths) if (found := comparison(path)) is not None
    ]
    told = [_run(made, run, number) for number, run in enumerate(runs)]
    return made.get_template("page.html").render(
        title=" · ".join(path.absolute().name for path in paths),
        compared=compared,
        runs=told,
        together=side_by_side(runs) if len(runs) > 1 else None,
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        script=Markup((TEMPLATES / "script.js").read_text(encoding="utf-8")),
    )


def _compared(environment: jinja2.Environment, found: dict[str, Any], number: int) -> dict[str, Any]:
    body = environment.get_template("comparison.html").render(**found)
    return {"name": found["name"], "anchor": f"c{number}", "body": Markup(body)}


def _run(environment: jinja2.Environment, run: RunFiles, number: int) -> dict[str, Any]:
    """The sections of one run that have something to show."""
    sections = []
    for section in SECTIONS:
        shown = section.look(run)
        if shown is not None:
            anchor = f"r{number}-{section.name}"
            body = environment.get_template(f"{section.name}.html").render(anchor=anchor, run=run, **shown)
            sections.append({"title": section.title, "anchor": anchor, "body": Markup(body)})
    return {"name": run.name, "folder": str(run.folder), "anchor": f"r{number}", "sections": sections}


def environment() -> jinja2.Environment:
    """Everything is escaped but what the figures have escaped themselves."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "score": words.score,
        "signed": words.signed,
        "percent_change": words.percent_change,
        "rank": words.rank,
        "count": words.count,
        "figure": words.figure,
        "percent": words.percent,
        "seconds": words.seconds,
        "code": words.code,
        "plural": lambda number, noun: words.plural(number, noun),
    }
    return made
