"""Checks of what goes in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trunkline.report import words
from trunkline.report.alone import sign_of
from trunkline.report.checks.finding import Finding
from trunkline.report.files import RunFiles
from trunkline.report.verdicts import gain_of

NOTHING = 0.005  # of the way from guessing to perfect
MORE = 0.02
ROWS = 200  # held out, under which so little is chance
Gains = dict[str, float | None]


def unused(run: RunFiles) -> Finding | None:
    """TL013: without it no task is worse."""
    found = _by_inputs(run)
    whole = found.get(frozenset(_groups(run)))
    if whole is None:
        return None
    idle = [
        group
        for group in _groups(run)
        if (left := found.get(frozenset(_groups(run)) - {group})) is not None and _costs_nothing(whole, left)
    ]
    if not idle:
        return None
    return Finding(
        f"No task is worse without {idle[0] if len(idle) == 1 else f'any one of {words.listed(idle)}'}.",
        "What nothing needs can be left out (`inputs.NAME=off`). If it should matter, look at its rows: "
        "`training.input_dropout: 0.3` makes the network do with each input alone.",
    )


def _costs_nothing(whole: Gains, left: Gains) -> bool:
    """Of every task that has learned something; an input that one of them cannot do without is needed."""
    learned = {task: gain for task, gain in whole.items() if gain is not None and gain > MORE}
    without = [(gain, left[task]) for task, gain in learned.items()]
    return bool(without) and all(b is not None and b > a - NOTHING for a, b in without)


def drowned(run: RunFiles) -> Finding | None:
    """TL014: some input alone is better than all together on the rows that have it, beyond chance."""
    told = [
        f"{task} by {one['input']}"
        for one in run.facts["absence"].get("alone", ())
        for task, found in one["tasks"].items()
        if sign_of(found, is_error=run.tasks[task]["lower_is_better"]) < 0
    ]
    if not told or run.facts["absence"]["split"] == "train":
        return None
    return Finding(
        f"One input alone answers better than all of them together: {words.listed(told)}.",
        "`fusion: late`, or `training.input_dropout: 0.3`: so an input that misleads is not leaned on. See "
        "`docs/fusion.md`.",
    )


def _groups(run: RunFiles) -> list[str]:
    return [group["name"] for group in run.facts["absence"].get("groups", [])]


def _by_inputs(run: RunFiles) -> dict[frozenset[str], Gains]:
    """By which inputs are there, how far each task comes from guessing to perfect; empty where too little is known."""
    facts: Mapping[str, Any] = run.facts["absence"]
    if not facts or len(facts["groups"]) < 2 or facts["rows"] < ROWS or facts["split"] == "train":
        return {}
    return {
        frozenset(subset["kept"]): {
            task: gain_of(subset["scores"][task], subset["majority"][task], run.tasks[task]["best"])
            for task in facts["metric"]
            if (run.tasks[task]["rows"] or 0) >= ROWS
        }
        for subset in facts["subsets"]
        if subset["rows"] == facts["rows"]  # else other rows are judged
    }


def left_out(run: RunFiles) -> Finding | None:
    """TL017: rows that could not be used."""
    if not run.skipped:
        return None
    return Finding(
        f"In no split and in no score, since they could not be used: {words.plural(len(run.skipped), 'row')}.",
        "`skipped.jsonl` in the run folder says which, and why.",
    )
