"""What each input is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trunkline.report import words
from trunkline.report.alone import best_alone
from trunkline.report.files import RunFiles
from trunkline.report.verdicts import gain_of

TASKS = 12  # that have a column of their own; of more, the mean
FEW = 4  # groups of inputs up to which every subset is there, and dots show which


def absence(run: RunFiles) -> dict[str, Any] | None:
    """Scores with each subset of inputs, in the colours of how far they lie above guessing."""
    facts = run.facts["absence"]
    if not facts or (len(facts["groups"]) < 2 and not facts["columns"]):
        return None
    tasks = list(facts["metric"])
    best = {task: run.tasks[task]["best"] for task in tasks}
    whole = facts["subsets"][0]
    groups = [group["name"] for group in facts["groups"]]
    rows = [_row(subset, groups, tasks, best) for subset in facts["subsets"]] if len(groups) > 1 else []
    if len(groups) > FEW:
        rows.sort(key=lambda row: (row["size"], row["mean"] or 0.0), reverse=True)
    columns = [{"name": c["name"], **_cells(c["scores"], whole["majority"], tasks, best)} for c in facts["columns"]]
    return {
        "facts": facts,
        "groups": groups,
        "has_dots": len(groups) <= FEW,
        "tasks": tasks if len(tasks) <= TASKS else [],
        "num_tasks": len(tasks),
        "rows": rows,
        "whole": {"name": "with everything", **_cells(whole["scores"], whole["majority"], tasks, best)},
        "columns": columns,
        "needs": _needs(facts["subsets"], groups, tasks, best) if len(groups) > 1 else [],
        "alone": best_alone(run),
        "blocks": [g for g in facts["groups"] if len(g["inputs"]) > 1 or g["more"]],
    }


def _row(
    subset: Mapping[str, Any], groups: Sequence[str], tasks: Sequence[str], best: Mapping[str, float]
) -> dict[str, Any]:
    kept = subset["kept"]
    return {
        "kept": [group in kept for group in groups],
        "size": len(kept),
        "words": _words(kept, groups),
        "is_whole": len(kept) == len(groups),
        "rows": subset["rows"],
        **_cells(subset["scores"], subset["majority"], tasks, best),
    }


def _words(kept: Sequence[str], groups: Sequence[str]) -> str:
    """What is there, in words: for many groups a row of dots is hard to read."""
    if len(kept) == len(groups):
        return "with everything"
    gone = [group for group in groups if group not in kept]
    return f"without {gone[0]}" if len(gone) == 1 else f"only {words.listed(kept)}"


def _cells(
    scores: Mapping[str, Any], majority: Mapping[str, Any], tasks: Sequence[str], best: Mapping[str, float]
) -> dict[str, Any]:
    gains = [gain_of(scores[task], majority[task], best[task]) for task in tasks]
    known = [g for g in gains if g is not None]
    return {
        "scores": [scores[task] for task in tasks],
        "gains": gains,
        "mean": sum(known) / len(known) if known else None,
        "above": sum(g > 0 for g in known),
        "known": len(known),
    }


def _needs(
    subsets: Sequence[Mapping[str, Any]], groups: Sequence[str], tasks: Sequence[str], best: Mapping[str, float]
) -> list[dict[str, Any]]:
    """For each task the one input whose absence costs most."""
    whole = subsets[0]
    without = {
        next(group for group in groups if group not in subset["kept"]): subset
        for subset in subsets
        if len(subset["kept"]) == len(groups) - 1
    }
    found = []
    for task in tasks:
        full = gain_of(whole["scores"][task], whole["majority"][task], best[task])
        left = {
            group: gain_of(subset["scores"][task], subset["majority"][task], best[task])
            for group, subset in without.items()
        }
        if full is None:
            continue
        impossible = [group for group, gain in left.items() if gain is None]
        group = impossible[0] if impossible else min(left, key=lambda g: left[g] or 0.0)
        found.append(
            {
                "task": task,
                "group": group,
                "score": whole["scores"][task],
                "without": without[group]["scores"][task],
                "cost": None if left[group] is None else full - (left[group] or 0.0),
                "is_impossible": bool(impossible),
            }
        )
    return found[:TASKS]
