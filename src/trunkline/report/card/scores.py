"""How good it is, and what is known of its limits: the report's figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trunkline.report import words
from trunkline.report.card.markdown import name, names, prose, table
from trunkline.report.checks import findings
from trunkline.report.files import RunFiles
from trunkline.report.sections.absence import absence
from trunkline.report.sections.slices import slices
from trunkline.report.sections.summary import scores, summary
from trunkline.report.verdicts import verdicts

RARE = 20  # training rows of a class, under which it is named
NAMED = 10
LINES = 30  # of a table of parts


def evaluation(run: RunFiles) -> str:
    """Scores beside guessing, all metrics, parts of the rows, calibration, inputs left out."""
    if not run.scores:
        return "No rows were held out, so nothing is known of how good it is."
    parts = [_verdicts(run), _all(run), _calibration(run), _slices(run), _absence(run)]
    return "\n\n".join(part for part in parts if part)


def _verdicts(run: RunFiles) -> str:
    told = summary(run)
    twins = ["alone"] if told["has_twins"] else []
    heading = ["task", "metric", "guessing", *twins, "model", "95 % interval", "rows", "verdict"]
    lines = []
    for one, _ in told["rows"]:
        between = f"{words.score(one.low, one.metric)} – {words.score(one.high, one.metric)}" if one.has_spread else "–"
        alone = [words.score(one.twin, one.metric)] if twins else []
        figures = [words.score(one.majority, one.metric), *alone, f"**{words.score(one.score, one.metric)}**", between]
        lines.append([name(one.task), one.metric, *figures, words.count(one.rows), one.words])
    on = f"On {words.count(rows)} {run.judged} rows" if (rows := _rows(run)) else f"On the {run.judged} rows"
    said = [
        f"{on}, by each task's first metric; guessing knows the training labels and no input"
        + ("; alone is the same network, trained for that task only" if twins else "")
        + ". Intervals are over resampled rows: another seed may differ by more.",
        table(heading, lines, right=range(2, len(heading) - 1)),
    ]
    if len(told["rows"]) < len(run.tasks):
        said.append(f"Of {len(run.tasks)} tasks those are shown that gain most and least; `metrics.json` has all.")
    return "\n\n".join(said)


def _rows(run: RunFiles) -> int | None:
    return (run.facts["data"].get("splits") or {}).get(run.judged)


def _all(run: RunFiles) -> str:
    told = scores(run)
    if told is None or told["is_long"]:
        return ""
    whose, lines = "", []
    for row in told["rows"]:
        whose = row["task"] or whose
        figures = [words.score(row[key], row["metric"]) for key in ("majority", "score")]
        lines.append([name(whose), row["metric"], *figures])
    table_of_all = table(["task", "metric", "guessing", "model"], lines, right=(2, 3))
    also = f"\n\n{prose(told['all_right'])}" if told["all_right"] else ""
    return f"### All metrics\n\n{table_of_all}{also}"


def _calibration(run: RunFiles) -> str:
    told = run.facts["calibration"].get("tasks") or {}
    lines = [
        [name(task), _figure(one["ece_before"]), _figure(one["ece_after"]), _figure(one["temperature"])]
        for task, one in list(told.items())[:LINES]
    ]
    if not lines:
        return ""
    heading = ["task", "error before", "error after", "temperature"]
    return (
        "### How far probabilities can be believed\n\nExpected calibration error, before and after the temperature "
        f"that was fitted on validation rows.\n\n{table(heading, lines, right=(1, 2, 3))}"
    )


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _slices(run: RunFiles) -> str:
    told = slices(run)
    parts = []
    for column in () if told is None else told["columns"]:
        metrics = [column["metrics"][task] for task in column["tasks"]]
        heading = ["part", "rows", *(f"{name(task)} {metric}" for task, metric in zip(column["tasks"], metrics))]
        lines = [
            [name(row["name"]) if row["rows"] is not None else "all", words.count(row["rows"]),
             *(words.score(cell["score"], metric) for cell, metric in zip(row["cells"], metrics))]
            for row in [column["whole"], *column["rows"][:LINES]]
        ]  # fmt: skip
        parts.append(f"### By {name(column['name'])}\n\n{table(heading, lines, right=range(1, len(heading)))}")
    return "\n\n".join(parts)


def _absence(run: RunFiles) -> str:
    told = absence(run)
    if told is None or not told["tasks"]:
        return ""
    metrics = [run.tasks[task]["metric"] for task in told["tasks"]]
    one_gone = [row for row in told["rows"] if row["size"] == len(told["groups"]) - 1]
    lines = [["nothing", *map(words.score, told["whole"]["scores"], metrics)]]
    for row in one_gone:
        gone = next(group for group, kept in zip(told["groups"], row["kept"]) if not kept)
        lines.append([name(gone), *map(words.score, row["scores"], metrics)])
    lines += [[name(column["name"]), *map(words.score, column["scores"], metrics)] for column in told["columns"]]
    if len(lines) < 2:
        return ""
    heading = ["absent", *(f"{name(task)} {metric}" for task, metric in zip(told["tasks"], metrics))]
    judged = words.plural(told["facts"]["rows"], "row")
    said = f"Scores on {judged} of the same split as if they lacked it; rows that have nothing else are left out."
    shown = table(heading, lines[:LINES], right=range(1, len(heading)))
    return f"### When an input is missing\n\n{said}\n\n{shown}"


def limits(run: RunFiles) -> str:
    """What the run's own figures say against it."""
    lines = [*_never_absent(run), *_rare(run), *_unseen(run), *_guesses(run)]
    lines += [f"{check.code}, {check.title}: {prose(found.says)}" for check, found in findings(run)]
    return "\n".join(f"- {line}" for line in lines)


def _never_absent(run: RunFiles) -> list[str]:
    """Inputs that all training rows have: a network that never misses one learns nothing of its absence."""
    facts, training = run.facts["data"], run.settings.get("training") or {}
    rows = (facts.get("splits") or {}).get("train")
    full = [one["name"] for one in facts.get("inputs", []) if one["present"]["train"] == rows]
    if not rows or not full:
        return []
    hidden = training.get("input_dropout")
    one_group = len(run.facts["absence"].get("groups") or ()) == 1
    practised = f", but for being hidden at random (in {hidden:.0%} of the draws)" if hidden and not one_group else ""
    are = "was" if len(full) == 1 else "were"
    return [f"{names(full)} {are} never absent in training{practised}."]


def _rare(run: RunFiles) -> list[str]:
    """Classes with few training rows."""
    lines = []
    for one in run.facts["data"].get("tasks", []):
        values: Mapping[str, Any] = one.get("values") or {}
        if values.get("kind") == "classes" and one["type"] != "binary":
            few = [(label, count) for label, count in values["classes"] if count < RARE]
            told = [f"{name(label)} ({count})" for label, count in few[:NAMED]]
            more, rest = len(few) - len(told) + values["more"], values["rest"] + sum(c for _, c in few[NAMED:])
            if told:
                also = (
                    f" and {words.plural(more, 'further class', 'further classes')} ({rest} together)" if more else ""
                )
                lines.append(f"{name(one['name'])}: few training rows of {', '.join(told)}{also}.")
            elif more:
                classes = words.plural(more, "class", "classes")
                lines.append(f"{name(one['name'])}: {classes} beside the most frequent have {rest} rows together.")
    return lines


def _unseen(run: RunFiles) -> list[str]:
    return [
        f"{name(task)}: held-out rows name {names([label for label, _ in told['unseen']['names']], NAMED)}, which "
        "training never saw; it cannot answer so."
        for task, told in run.tasks.items()
        if told.get("unseen") and "TL009" not in [check.code for check, _ in findings(run)]
    ]


def _guesses(run: RunFiles) -> list[str]:
    """Said by a check, too, unless it is muted: a card is read by others than those who muted it."""
    if any(check.code == "TL007" for check, _ in findings(run)):
        return []
    bad = [one.task for one in verdicts(run) if one.tone == "bad"]
    return [f"No better than guessing: {names(bad)}."] if bad else []
