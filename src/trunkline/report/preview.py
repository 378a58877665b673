"""Rows as training sees them → one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from trunkline.files import replacing
from trunkline.report.page import TEMPLATES, environment
from trunkline.report.sections.gallery import inline
from trunkline.showing import Shown


@dataclass(frozen=True)
class View:
    """What one draw makes of a row.

    Attributes:
        title: which.
        pictures: by the input they are of, or the task that is drawn on it.
        absent: inputs.
        unlabelled: tasks.
        notes: what else was done.
    """

    title: str
    pictures: Mapping[str, Shown]
    absent: Sequence[str]
    unlabelled: Sequence[str]
    notes: Sequence[str]


@dataclass(frozen=True)
class SeenRow:
    """A row.

    Attributes:
        number: in its table, from 1.
        inputs: that no draw shows, as they lie in their cells.
        labels: likewise.
        views: the plain one first.
    """

    number: int
    inputs: Mapping[str, Shown]
    labels: Mapping[str, Shown]
    views: Sequence[View]


def write_preview(title: str, rows: Sequence[SeenRow], out: str | Path) -> Path:
    """One self-contained page: styles, pictures and sounds are inline, and it asks no network for anything."""
    page = (
        environment()
        .get_template("preview.html")
        .render(
            title=title,
            rows=[_row(row) for row in rows],
            style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        )
    )
    with replacing(Path(out)) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    return Path(out)


def _row(row: SeenRow) -> dict[str, Any]:
    return {
        "number": row.number,
        "inputs": {name: _inline(shown) for name, shown in row.inputs.items()},
        "labels": {name: _inline(shown) for name, shown in row.labels.items()},
        "views": [_view(view, first=row.views[0]) for view in row.views],
    }


def _view(view: View, first: View) -> dict[str, Any]:
    """With what this draw alone has taken away."""
    lost = [name for name in (*view.absent, *view.unlabelled) if name not in (*first.absent, *first.unlabelled)]
    return {
        "title": view.title,
        "pictures": {name: _inline(shown) for name, shown in view.pictures.items()},
        "lost": lost,
        "notes": view.notes,
    }


def _inline(shown: Shown) -> dict[str, Any]:
    uri = inline(shown.data, shown.suffix) if shown.data else None
    drawn = inline(shown.drawing, ".png") if shown.drawing else None
    return {"kind": shown.kind, "text": shown.text, "tags": shown.tags, "uri": uri, "drawn": drawn}
