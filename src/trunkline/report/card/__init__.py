"""A model card of a run, in Hugging Face's form: what is known, from the run's files; what is not known is left out."""

from __future__ import annotations

import warnings
from pathlib import Path

from trunkline.errors import RunError
from trunkline.files import replacing
from trunkline.report import words
from trunkline.report.card import parts, scores
from trunkline.report.card.front import front_matter
from trunkline.report.card.markdown import inert, name, prose
from trunkline.report.files import RunFiles, read_run, telling_damage
from trunkline.report.sections.summary import summary

CARD = "MODEL_CARD.md"
OWN = "<!-- What stands below this line is yours (such as what it is for): it stays when the card is written anew. -->"


def write_card(folder: str | Path) -> Path:
    """Write a run's card into its folder; what somebody has added below the last line of an earlier one stays.

    Raises:
        RunError: it is no finished run, a file of it was damaged, or a folder stands where the card would.
    """
    path = Path(folder) / CARD
    if path.is_dir():
        raise RunError(f"{path} is a folder, where the card of the run would stand; move it away")
    added = ""
    if path.is_file():
        before = path.read_text(encoding="utf-8", errors="surrogateescape")
        if OWN not in before:
            warnings.warn(f"{path} is not written anew: it lacks the line that begins with {OWN[:30]!r}", stacklevel=2)
            return path
        added = before.partition(OWN)[2]
    with telling_damage([Path(folder)]):
        text = make_card(read_run(Path(folder)))
    with replacing(path) as unfinished:
        unfinished.write_text(text + (added or "\n"), encoding="utf-8", errors="surrogateescape")
    return path


def make_card(run: RunFiles) -> str:
    """The card of a run; it ends with the line below which others may write."""
    sections = {
        "Model details": parts.details(run),
        "How to get started": parts.start(run),
        "Training data": parts.training_data(run),
        "Training procedure": parts.procedure(run),
        "Evaluation": scores.evaluation(run),
        "Limitations": scores.limits(run),
        "Environmental impact": parts.impact(run),
        "Technical specifications": parts.versions(run),
    }
    told = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items() if text)
    return f"{front_matter(run)}\n# {inert(run.name)}\n\n{_intro(run)}\n\n{told}\n\n{OWN}"


def _intro(run: RunFiles) -> str:
    inputs = len(run.facts["data"].get("inputs", []))
    what = f", from {words.plural(inputs, 'input')}" if inputs else ""
    tasks = ", ".join(name(task) for task in list(run.tasks)[:8])
    more = f" and {len(run.tasks) - 8} more" if len(run.tasks) > 8 else ""
    made = (
        f"A network for {tasks}{more}{what}, trained with trunkline." if tasks else "A network trained with trunkline."
    )
    return f"{made} {prose(summary(run)['lead'])}"
