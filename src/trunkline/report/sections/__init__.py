"""The page's sections: each a function from a run's files to what its template shows, or `None` without such files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trunkline.report.files import RunFiles
from trunkline.report.sections.absence import absence
from trunkline.report.sections.affinity import affinity
from trunkline.report.sections.answers import answers, calibration
from trunkline.report.sections.checks import checks
from trunkline.report.sections.data import data
from trunkline.report.sections.gallery import gallery
from trunkline.report.sections.slices import slices
from trunkline.report.sections.summary import scores, summary
from trunkline.report.sections.training import training
from trunkline.report.sections.whole import again, choices, model

__all__ = ["SECTIONS", "Section"]


@dataclass(frozen=True)
class Section:
    """One part of the page.

    Attributes:
        name: of its template and its anchor.
        title: its heading.
        look: a run's files → what the template shows; `None`: left out.
    """

    name: str
    title: str
    look: Callable[[RunFiles], Mapping[str, Any] | None]


SECTIONS = (
    Section("summary", "At a glance", summary),
    Section("checks", "What to look at", checks),
    Section("data", "The data", data),
    Section("model", "The network", model),
    Section("training", "How it learned", training),
    Section("affinity", "Which task helps which", affinity),
    Section("scores", "All scores", scores),
    Section("slices", "Some rows and others", slices),
    Section("answers", "Right and wrong", answers),
    Section("calibration", "How sure it is", calibration),
    Section("gallery", "Rows to look at", gallery),
    Section("absence", "When inputs are missing", absence),
    Section("choices", "What was chosen, and why", choices),
    Section("again", "The same run again", again),
)
