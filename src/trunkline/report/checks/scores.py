"""Checks of what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trunkline.report import words
from trunkline.report.checks.finding import Finding
from trunkline.report.files import RunFiles
from trunkline.report.verdicts import FEW, Verdict, verdicts

OFF = 0.1  # expected calibration error, after a temperature was fitted
ROWS = 10  # labelled with a class, from which on it should be said once


def guesses(run: RunFiles) -> Finding | None:
    """TL007: tasks that learned nothing, as far as can be told."""
    bad = [v.task for v in verdicts(run) if v.tone in ("bad", "unsure") and not v.is_ahead]
    if not bad:
        return None
    them = "it" if len(bad) == 1 else "them"
    others = f"Train {them} without the others (`tasks.NAME=off`): what can be learned so wants more `weight`. "
    return Finding(
        f"No better than guessing: {words.listed(bad)}. Do not rely on {them}.",
        f"{others if len(run.tasks) > 1 else ''}What cannot be learned alone lacks labels, or inputs that know of it.",
    )


def better_alone(run: RunFiles) -> Finding | None:
    """TL012: the twin is outside the interval of the score, on the better side."""
    worse = [v.task for v in verdicts(run) if _is_worse(v)]
    if not worse:
        return None
    return Finding(
        f"The same network does better when it learns nothing else: {words.listed(worse)} (one seed).",
        "`trunkline compare` says whether that is chance, `trunkline affinity` which tasks are in the way. More "
        "`weight`, `trunk: mmoe` or `ple`, or a network of its own.",
    )


def _is_worse(verdict: Verdict) -> bool:
    if verdict.over_twin is None or verdict.over_twin >= 0 or verdict.twin is None or verdict.score is None:
        return False
    if verdict.low is None or verdict.high is None:
        return False
    return not verdict.low <= verdict.twin <= verdict.high


def unsure_confidence(run: RunFiles) -> Finding | None:
    """TL015: probabilities that are not shares of right answers, on rows enough to say so."""
    told = run.facts["calibration"].get("tasks") or {}
    off = [
        task
        for task, one in told.items()
        if (one.get("ece_after") or 0.0) > OFF and sum(b["count"] for b in one.get("bins") or ()) >= FEW
    ]
    if not off:
        return None
    return Finding(
        f"Probabilities are off by more than {words.percent(OFF)} on average: {words.listed(off)}.",
        "Do not read them as chances. More validation rows to fit temperatures on, or `label_smoothing: 0.1`.",
    )


def never_said(run: RunFiles) -> Finding | None:
    """TL018: classes of which there are rows, and no answer."""
    silent = {
        task: [
            c["name"]
            for c in one.get("classes") or ()
            if c["precision"] is None and c["rows"] >= ROWS and not _is_foreign(one, c["name"])
        ]
        for task, one in run.tasks.items()
        if one.get("type") in ("category", "labels")
    }
    silent = {task: names for task, names in silent.items() if names}
    if not silent:
        return None
    told = "; ".join(f"{task}: {words.listed(names)}" for task, names in silent.items())
    return Finding(
        f"Some classes are never answered, although {ROWS} held-out rows or more are of them: {told}.",
        f"`tasks.{next(iter(silent))}.class_weights: balanced` where rare ones matter as much as frequent ones; else "
        "more rows of them.",
    )


def _is_foreign(told: Mapping[str, Any], name: str) -> bool:
    """Whether training never saw it, or it is the name of all that training never saw."""
    return name == told.get("unknown") or name in dict((told.get("unseen") or {"names": ()})["names"])
