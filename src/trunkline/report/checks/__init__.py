"""What a reader of a run should look at: each check a code, what is so, and what would mend it.

A check is a function from a run's files to what it found, or `None`. To add one: a function in one of the files here,
and a line in `CHECKS` with the next free code. Codes are never used again: configs name them (`mute: [TL006]`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trunkline.report.checks import held_out, inputs, learning, scores
from trunkline.report.checks.finding import Finding
from trunkline.report.files import RunFiles

__all__ = ["CHECKS", "Check", "Finding", "findings"]


@dataclass(frozen=True)
class Check:
    """One thing that is looked for.

    Attributes:
        code: its name for ever.
        title: in a few words.
        look: a run's files → what was found; `None` where all is well, or nobody can know.
    """

    code: str
    title: str
    look: Callable[[RunFiles], Finding | None]


CHECKS = (
    Check("TL001", "no test rows", held_out.no_test_rows),
    Check("TL002", "few held-out rows", held_out.few_rows),
    Check("TL003", "one task dominates what is shared", learning.dominates),
    Check("TL004", "tasks pull against each other", learning.conflicts),
    Check("TL005", "learned by heart", learning.by_heart),
    Check("TL006", "not learned out", learning.unfinished),
    Check("TL007", "no better than guessing", scores.guesses),
    Check("TL008", "few training rows", held_out.few_training_rows),
    Check("TL009", "labels that training never saw", held_out.unseen),
    Check("TL010", "fitted on the rows that judge", held_out.fitted_on_judges),
    Check("TL011", "best and worst by luck", held_out.luck),
    Check("TL012", "better alone", scores.better_alone),
    Check("TL013", "an input that nothing needs", inputs.unused),
    Check("TL014", "one input knows more than all", inputs.drowned),
    Check("TL015", "confidence is off", scores.unsure_confidence),
    Check("TL016", "much padding", learning.padding),
    Check("TL017", "rows left out", inputs.left_out),
    Check("TL018", "classes that are never said", scores.never_said),
    Check("TL019", "experts that no task uses", learning.idle_experts),
    Check("TL020", "steps that were lost", learning.lost_steps),
)


def findings(run: RunFiles) -> list[tuple[Check, Finding]]:
    """What the checks found, in the order of their codes, but for those the config mutes."""
    looked = ((check, check.look(run)) for check in CHECKS if check.code not in run.muted)
    return [(check, found) for check, found in looked if found is not None]
