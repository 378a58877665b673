"""What came of it: the headline, and all scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trunkline.report import words
from trunkline.report.figures import histogram_figure, interval_figure
from trunkline.report.files import RunFiles
from trunkline.report.verdicts import MANY, Verdict, verdicts

EACH_END = 10  # of many tasks, so many of the best and of the worst are listed


def summary(run: RunFiles) -> dict[str, Any]:
    """The headline: one line a task."""
    told = verdicts(run)
    ranked = sorted((v for v in told if v.gain is not None), key=lambda v: -(v.gain or 0))
    is_wide = len(told) > MANY
    shown = told if not is_wide else [*ranked[:EACH_END], *ranked[-EACH_END:]]
    return {
        "lead": _lead(run, told),
        "rows": [(verdict, _figure(verdict)) for verdict in shown],
        "is_wide": is_wide,
        "split_at": EACH_END if is_wide and len(ranked) > EACH_END else None,
        "ahead": sum(v.is_ahead for v in ranked),
        "behind": sum(not v.is_ahead for v in ranked),
        "unknown": len(told) - len(ranked),
        "spread": _spread(told) if is_wide else None,
        "has_twins": any(v.twin is not None for v in told),
        "twins": _twins(told),
    }


def scores(run: RunFiles) -> dict[str, Any] | None:
    """Every metric of every task, beside guessing and the twin."""
    if not run.scores:
        return None
    rows = []
    for task, found in run.scores.items():
        for number, (metric, value) in enumerate((found or {"": None}).items()):
            rows.append(
                {
                    "task": "" if number else task,
                    "metric": metric or "no labelled row",
                    "is_primary": metric == run.tasks[task]["metric"],
                    "score": value,
                    "majority": (run.majority.get(task) or {}).get(metric),
                    "twin": (run.twins.get(task) or {}).get(metric),
                    "validation": ((run.metrics.get("validation") or {}).get(task) or {}).get(metric)
                    if run.judged == "test"
                    else None,
                }
            )
    return {
        "rows": rows,
        "has_twins": any(row["twin"] is not None for row in rows),
        "has_validation": any(row["validation"] is not None for row in rows),
        "is_long": len(rows) > 60,
        "split": run.judged,
        "all_right": _all_right(run.metrics.get("all_right")),
    }


def _all_right(whole: Mapping[str, Any] | None) -> str:
    """In how many rows every answer is right, in a sentence for each set of tasks."""
    return "" if whole is None else " ".join(map(_all_right_of, [whole, *whole.get("others", ())]))


def _all_right_of(whole: Mapping[str, Any]) -> str:
    rows, tasks = words.plural(whole["rows"], "row"), whole["tasks"]
    named = words.listed(tasks) if len(tasks) <= MANY else f"all {len(tasks)} tasks of this kind"
    return f"In {whole['share']:.1%} of {rows} that are labelled for {named}, all answers are exactly right at once."


def _figure(verdict: Verdict) -> Any:
    if verdict.score is None:
        return ""
    return interval_figure(
        verdict.score,
        majority=verdict.majority,
        best=verdict.best,
        low=verdict.low,
        high=verdict.high,
        twin=verdict.twin,
        tone="unsure" if verdict.tone == "none" else verdict.tone,
    )


def _lead(run: RunFiles, told: list[Verdict]) -> str:
    """Two sentences: what was trained, and what it can do."""
    splits, inputs = run.facts["data"].get("splits", {}), run.facts["data"].get("inputs", [])
    parameters, steps = run.metrics["parameters"], run.metrics["steps"]
    on = f" on {words.plural(splits['train'], 'row')}" if splits else ""
    read = f" from {words.plural(len(inputs), 'input')}" if inputs else ""
    made = f"in {words.plural(steps, 'step')} ({words.seconds(run.metrics['training_seconds'])})"
    network = f"One network of {words.count(parameters)} parameters"
    first = f"{network} learned {words.plural(len(told), 'task')}{read}{on}, {made}."
    judged = [v for v in told if v.tone != "none"]
    rows = f" {words.count(splits[run.judged])}" if splits and run.judged else ""
    if run.judged is None:
        return f"{first} No rows were held out, so nothing is known of how good it is."
    if not judged:
        return f"{first} No task could be judged."
    if len(told) > MANY:
        ahead = sum(v.is_ahead for v in judged)
        return f"{first} On{rows} {run.judged} rows it scores above guessing at {ahead} of {len(judged)}."
    good = sum(v.tone == "good" for v in judged)
    everything = "both" if len(judged) == 2 else f"all {len(judged)}"
    how_many = everything if good == len(judged) else f"{good or 'none'} of {len(judged)}"
    if len(judged) == 1:
        return f"{first} On{rows} {run.judged} rows it is {judged[0].words}."
    return f"{first} On{rows} {run.judged} rows it is better than guessing at {how_many}."


def _twins(told: list[Verdict]) -> str:
    """Whether learning together helped, in a sentence."""
    gained = {v.task: v.over_twin for v in told if v.over_twin is not None}
    if not gained:
        return ""
    better = [task for task, gain in gained.items() if gain > 0]
    worse = [task for task in gained if task not in better]
    ahead = f"Better together: {words.listed(better)}. " if better else ""
    behind = f"No better than alone: {words.listed(worse)}. " if worse else ""
    return f"{ahead}{behind}One seed each: small differences may be chance."


def _spread(told: list[Verdict]) -> Any:
    """Of many tasks, how far each came from guessing to perfect."""
    gains = [v.gain for v in told if v.gain is not None]
    if len(gains) < 2:
        return None
    low, high = min(0.0, *gains), max(0.0, *gains)
    width = (high - low) / 30 or 1.0
    counts = [0] * 30
    for gain in gains:
        counts[min(29, int((gain - low) / width))] += 1
    edges = [low + width * number for number in range(31)]
    return histogram_figure(
        edges,
        counts,
        label="Tasks by gain over guessing",
        unit="from guessing (0) to perfect (1)",
        width=520,
        height=120,
    )
