"""What a run's report shows, worked out while the network is at hand, and written as files.

In the run folder's `report/`: `data.json`, `model.json`, `quality.json`, `absence.json`, `affinity.json`,
`gallery.json` with its pictures and sounds, `choices.json`, `system.json`. Each file says `"version": 1`; the docstring
of the function that makes it says what else.
"""

from __future__ import annotations

from trunkline.files import plain_json, write_json
from trunkline.run.facts.absence import absence_facts
from trunkline.run.facts.affinity import affinity_facts
from trunkline.run.facts.data import data_facts
from trunkline.run.facts.gallery import gallery_facts
from trunkline.run.facts.model import model_facts
from trunkline.run.facts.quality import quality_facts
from trunkline.run.facts.subject import Subject
from trunkline.run.facts.system import choices_facts, system_facts

__all__ = ["Subject", "write_facts"]


def write_facts(subject: Subject) -> None:
    """All files, in the folder `report` of the run."""
    folder = subject.folder / "report"
    makers = {
        "data": data_facts,
        "model": model_facts,
        "choices": choices_facts,
        "system": system_facts,
        "quality": quality_facts,
        "absence": absence_facts,
        "affinity": affinity_facts,
        "gallery": gallery_facts,
    }
    for name, make in makers.items():
        write_json(folder / f"{name}.json", plain_json({"version": 1, **make(subject)}))
