"""Checks of how it learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from trunkline.report import words
from trunkline.report.checks.finding import Finding
from trunkline.report.files import RunFiles, mean_loads

LOOKS = 3  # at the validation rows, under which their order says nothing
STILL = 0.02  # of the way from guessing to perfect: less is chance
MOST_OF = 0.8  # of the shared gradient
OFTEN = 0.5  # of the pairs of tasks, in conflict
IDLE = 0.1  # of an even share, for every task
PADDED = 0.5  # of a batch's tokens


def dominates(run: RunFiles) -> Finding | None:
    """TL003: the share of one task in `Σ wₜ |gₜ|`, with the mean of each over the steps in which it was compared."""
    lengths: dict[str, list[float]] = {}
    for line in run.log:
        weights = line.get("weights") or {}
        for task, norm in (line.get("norms") or {}).items():
            if (weight := weights.get(task)) is not None:
                lengths.setdefault(task, []).append(norm * abs(weight))
    means = {task: fmean(found) for task, found in lengths.items()}
    total = sum(means.values())
    if len(means) < 2 or total == 0 or means[task := max(means, key=means.__getitem__)] <= MOST_OF * total:
        return None
    return Finding(
        f"{task} sends {words.percent(means[task] / total)} of the gradient into what the tasks share: the others "
        "hardly shape it.",
        f"Less `tasks.{task}.weight`, or a balancer that does not go by the size of a loss, such as `imtl_g` or "
        "`nash_mtl`.",
    )


def conflicts(run: RunFiles) -> Finding | None:
    """TL004: pairs of tasks whose gradients point away from each other."""
    found = [line["conflicts"] for line in run.log if line.get("conflicts") is not None]
    if not found or (share := fmean(found)) <= OFTEN:
        return None
    return Finding(
        f"{words.percent(share)} of the pairs of tasks pull against each other, over the steps that were compared.",
        "`trunkline affinity` says which tasks help which. `trunk: mmoe` or `ple` lets tasks differ; `balancer: "
        "upgrad` takes no step that harms one of them.",
    )


def by_heart(run: RunFiles) -> Finding | None:
    """TL005: the best weights came in the first third, and later ones were worse."""
    scores = _aggregates(run)
    steps, best = list(scores), run.metrics["best_step"]
    if len(steps) <= LOOKS or best not in steps[: len(steps) // 3] or scores[best] - scores[steps[-1]] < STILL:
        return None
    return Finding(
        f"The weights of step {words.count(best)} of {words.count(steps[-1])} are best on the validation rows, and "
        "later ones are worse, as when the training rows are learned by heart.",
        "Fewer steps, or more that hinders: `trunk.dropout: 0.3`, `training.weight_decay: 0.1`, changes to pictures, "
        "sounds and words (`word_dropout`); a smaller `width`; more rows.",
    )


def unfinished(run: RunFiles) -> Finding | None:
    """TL006: the last look at the validation rows was the best, and well above those of the first two thirds."""
    scores = _aggregates(run)
    steps = list(scores)
    if len(steps) < LOOKS or run.metrics["best_step"] != steps[-1]:
        return None
    gained = scores[steps[-1]] - max(scores[step] for step in steps[: -(len(steps) // 3)])
    if gained < STILL:
        return None
    return Finding(
        f"It was still learning: over the last third of the looks at the validation rows it came "
        f"{words.percent(gained)} of the way from guessing to perfect, and the last look was the best.",
        f"`training.steps: {2 * steps[-1]}`, or more `training.minutes`.",
    )


def _aggregates(run: RunFiles) -> dict[int, float]:
    """By step, what all tasks scored together on the validation rows."""
    return {line["step"]: line["aggregate"] for line in run.log if line.get("aggregate") is not None}


def idle_experts(run: RunFiles) -> Finding | None:
    """TL019: experts of which each task that has them takes next to nothing."""
    loads = mean_loads(run.log)
    experts = dict.fromkeys(name for one in loads.values() for name in one)
    idle = [name for name in experts if all(one.get(name, 0.0) < IDLE / len(one) for one in loads.values())]
    if not idle:
        return None
    return Finding(
        f"Every task takes next to nothing of {words.listed(idle)}, of {words.plural(len(experts), 'expert')}.",
        "A trunk with fewer (`trunk.experts`, of `ple` also `trunk.task_experts`) is faster and may do as well.",
    )


def lost_steps(run: RunFiles) -> Finding | None:
    """TL020: steps in which a task, or everything, was no number."""
    dropped: Mapping[str, int] = next((line["dropped"] for line in reversed(run.log) if "dropped" in line), {})
    skipped = next((line["skipped"] for line in reversed(run.log) if "skipped" in line), 0)
    if not (dropped or skipped):
        return None
    told = [f"{task} took no part in {words.plural(count, 'step')}" for task, count in dropped.items()]
    told += [f"{words.plural(skipped, 'step')} {'was' if skipped == 1 else 'were'} not taken at all"] if skipped else []
    return Finding(
        f"Losses or gradients were infinite or undefined: {words.listed(told)}.",
        "Look for extreme labels of these tasks (a number may be learned by its logarithm, or with another `loss`); "
        "else a lower `training.lr`.",
    )


def padding(run: RunFiles) -> Finding | None:
    """TL016: batches that are mostly filling."""
    lines: Sequence[Mapping[str, Any]] = [line["padding"] for line in run.log if line.get("padding")]
    names = {name for line in lines for name in line}
    means = {name: fmean(line[name] for line in lines if name in line) for name in sorted(names)}
    much = [name for name, share in means.items() if share > PADDED]
    if not much:
        return None
    told = ", ".join(f"{words.percent(means[name])} of {name}" for name in much)
    cure = "A smaller `max_length` of a text cuts the few that are very long"
    data, training = (run.settings.get(section) or {} for section in ("data", "training"))
    is_drawn_whole = data.get("sampling") in (None, "proportional", 1.0) and data.get("batches") in (None, "mixed")
    if is_drawn_whole and not training.get("by_length"):
        cure += "; rows of about one length come together with `training.by_length: true`"
    return Finding(f"Much of what batches hold is padding: {told}.", f"{cure}.")
