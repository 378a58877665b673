"""Curves over steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from trunkline.report import words
from trunkline.report.figures import Line, line_figure
from trunkline.report.files import RunFiles, mean_loads

MANY = 12  # of more tasks than that, all curves share one figure
SMOOTH = 0.8  # of the smoothed training loss
Points = list[tuple[float, float]]


def training(run: RunFiles) -> dict[str, Any] | None:
    """Loss and validation scores of each task, the learning rate, weights and conflicts of a balancer."""
    if not run.log:
        return None
    tasks = list(run.tasks) or list(run.log[0].get("losses", {}))
    losses = {task: _over_steps(run.log, "losses", task) for task in tasks}
    validated = {task: _validated(run, task) for task in tasks}
    best = run.metrics["best_step"]
    mark = (best, "kept") if any(validated.values()) else None
    figures = {
        "together": _together(run, mark),
        "rate": line_figure(
            [Line("learning rate", _plain(run.log, "lr"))],
            label="Learning rate",
            x_label="step",
            y_label="learning rate",
        ),
    }
    if len(tasks) > MANY:
        figures |= {
            "losses": _crowd(losses, "training loss", None),
            "validated": _crowd(validated, "validation, primary metric", mark),
        }
    return {
        "figures": figures,
        "tasks": [] if len(tasks) > MANY else [_of_task(run, t, losses[t], validated[t], mark) for t in tasks],
        "balance": _balance(run.log, tasks),
        "experts": _experts(run.log, tasks),
        "kept": _kept(run),
    }


def _over_steps(log: Sequence[Mapping[str, Any]], what: str, task: str) -> Points:
    return [(line["step"], v) for line in log if (v := (line.get(what) or {}).get(task)) is not None]


def _plain(log: Sequence[Mapping[str, Any]], what: str) -> Points:
    return [(line["step"], line[what]) for line in log if line.get(what) is not None]


def _validated(run: RunFiles, task: str) -> Points:
    metric = run.tasks[task]["metric"] if task in run.tasks else None
    scores = (
        (line["step"], (line["validation"].get(task) or {}).get(metric)) for line in run.log if "validation" in line
    )
    return [(step, score) for step, score in scores if score is not None]


def _together(run: RunFiles, mark: tuple[float, str] | None) -> Any:
    points = _plain(run.log, "aggregate")
    if not points:
        return None
    return line_figure(
        [Line("all tasks", points)],
        label="All tasks on the validation rows",
        x_label="step",
        y_label="all tasks: way from guessing (0) to perfect (1)",
        mark=mark,
    )


def _of_task(run: RunFiles, task: str, loss: Points, validated: Points, mark: Any) -> dict[str, Any]:
    series = list(run.tasks).index(task)
    metric = run.tasks[task]["metric"] or ""
    guess = (run.majority.get(task) or {}).get(metric)
    return {
        "name": task,
        "series": series % 8,
        "loss": line_figure(
            [Line("each logged step", loss, series, faint=True), Line("smoothed", smoothed(loss), series)],
            label=f"Training loss of {task}",
            x_label="step",
            y_label=task,
            width=330,
            height=170,
        )
        if loss
        else None,
        "validated": line_figure(
            [Line(metric, validated, series)],
            label=f"{metric} of {task} on the validation rows",
            x_label="step",
            y_label=f"{task}: {metric}",
            mark=mark,
            level=None if guess is None else (guess, "guessing"),
            width=330,
            height=170,
        )
        if validated
        else None,
    }


def smoothed(points: Points) -> Points:
    """A running mean that forgets; without the pull of its start.

    Example:
        >>> smoothed([(1, 2.0), (2, 2.0)])
        [(1, 2.0), (2, 2.0)]
    """
    total = weight = 0.0
    found = []
    for step, value in points:
        total, weight = SMOOTH * total + value, SMOOTH * weight + 1
        found.append((step, total / weight))
    return found


def _crowd(curves: Mapping[str, Points], label: str, mark: tuple[float, str] | None) -> Any:
    """Many curves, each faint, and their median."""
    known = {task: points for task, points in curves.items() if points}
    if not known:
        return None
    steps = sorted({step for points in known.values() for step, _ in points})
    by_step: dict[float, list[float]] = {step: [] for step in steps}
    for points in known.values():
        for step, value in points:
            by_step[step].append(value)
    middle = [(step, median(values)) for step, values in by_step.items()]
    few = list(known.items())[:: max(1, len(known) // 40)]
    lines = [Line(task, points[:: max(1, len(points) // 40)], faint=True) for task, points in few]
    return line_figure(
        [*lines, Line("median", middle, 1)],
        label=label,
        x_label="step",
        y_label=f"{label}: tasks, their median",
        mark=mark,
    )


def _balance(log: Sequence[Mapping[str, Any]], tasks: Sequence[str]) -> dict[str, Any] | None:
    """What a balancer did: weights that move, the share of conflicts, mean cosines."""
    weights = {task: _over_steps(log, "weights", task) for task in tasks}
    moving = {t: p for t, p in weights.items() if p and max(v for _, v in p) > 1.001 * min(v for _, v in p) + 1e-9}
    conflicts = _plain(log, "conflicts")
    if not moving and not conflicts:
        return None
    lines = [Line(t, smoothed(moving[t]), number) for number, t in enumerate(tasks) if t in moving][:MANY]
    pulls = [Line("each logged step", conflicts, faint=True), Line("smoothed", smoothed(conflicts))]
    return {
        "weights": line_figure(lines, label="Weights of the tasks", x_label="step", y_label="weight of each task")
        if lines
        else None,
        "legend": [(line.name, line.series % 8) for line in lines],
        "conflicts": line_figure(
            pulls, label="Share of pairs in conflict", x_label="step", y_label="share of pairs in conflict"
        )
        if conflicts
        else None,
        "cosines": _cosines(log, tasks),
    }


def _cosines(log: Sequence[Mapping[str, Any]], tasks: Sequence[str]) -> dict[str, Any] | None:
    """Mean cosine of each pair's gradients over the logged steps; `None` where a pair was never compared."""
    lines = [line["cosines"] for line in log if line.get("cosines")]
    if not lines or len(tasks) > 2 * MANY:
        return None
    rows = []
    for one in tasks:
        known = [[c for line in lines if (c := line.get(one, {}).get(o)) is not None] for o in tasks]
        rows.append([sum(k) / len(k) if k else None for k in known])
    return {"tasks": list(tasks), "rows": rows}


def _experts(log: Sequence[Mapping[str, Any]], tasks: Sequence[str]) -> dict[str, Any] | None:
    """How much each task took of each expert, mean over the last third of the logged steps."""
    loads = mean_loads(log)
    if not loads:
        return None
    names = list(dict.fromkeys(name for task in tasks for name in loads.get(task, ())))
    return {"names": names, "rows": [(t, [loads[t].get(name) for name in names]) for t in tasks if t in loads]}


def _kept(run: RunFiles) -> str:
    """Which weights were kept, and why."""
    if not any("validation" in line for line in run.log):
        return "No rows were held out to choose weights by: the last weights were kept."
    kept = f"The weights of step {words.count(run.metrics['best_step'])} were kept"
    if not _plain(run.log, "aggregate"):
        return f"{kept}. No score of all tasks could be worked out on the validation rows, so none chose them."
    return f"{kept}: the best on the validation rows."
