"""Checks of how it learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from trunkline.report import words
from trunkline.report.checks.finding import Finding
from trunkline.report.files import RunFiles, mean_loads

LOOKS = 3  # at the validation rows, under which their order says nothing
STILL = 0.02  # of the way from guessing to perfect, in the last third of the looks
MOST_OF = 0.8  # of the shared gradient
OFTEN = 0.5  # of the pairs of tasks, in conflict
IDLE = 0.1  # of an even share, for every task
PADDED = 0.5  # of a batch's tokens


def dominates(run: RunFiles) -> Finding | None:
    """TL003: the share of one task in `Σ wₜ |gₜ|`, mean over the steps that were compared."""
    shares: dict[str, list[float]] = {}
    for line in run.log:
        for name, share in _shares(line.get("norms"), line.get("weights")).items():
            shares.setdefault(name, []).append(share)
    means = {name: fmean(found) for name, found in shares.items()}
    if len(means) < 2 or means[task := max(means, key=means.__getitem__)] <= MOST_OF:
        return None
    return Finding(
        f"{task} sends {words.percent(means[task])} of the gradient into what the tasks share: the others hardly shape "
        "it.",
        f"`tasks.{task}.weight: 0.3`, or a balancer that does not go by the size of a loss: `balancer: uw_so`, "
        "`imtl_g`, `nash_mtl`.",
    )


def _shares(norms: Mapping[str, float] | None, weights: Mapping[str, float | None] | None) -> dict[str, float]:
    """Of each task in the sum of weighted lengths; none where nothing was compared."""
    if not norms:
        return {}
    sizes = {task: norm * abs((weights or {}).get(task) or 0.0) for task, norm in norms.items()}
    total = sum(sizes.values())
    return {task: size / total for task, size in sizes.items()} if total > 0 else {}


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
    """TL005: the best weights came early; later ones were worse."""
    steps = _looks(run)
    best = run.metrics["best_step"]
    if len(steps) <= LOOKS or not _was_chosen(run) or best > steps[len(steps) // 3]:
        return None
    return Finding(
        f"The weights of step {words.count(best)} of {words.count(steps[-1])} are best on the validation rows: later "
        "ones were no better, as when the training rows are learned by heart.",
        "Fewer steps, or more that hinders: `trunk.dropout: 0.3`, `training.weight_decay: 0.1`, changes to pictures, "
        "sounds and words (`word_dropout`); a smaller `width`; more rows.",
    )


def unfinished(run: RunFiles) -> Finding | None:
    """TL006: the last look at the validation rows was the best, and well above those of the first two thirds."""
    scores = {line["step"]: line["aggregate"] for line in run.log if line.get("aggregate") is not None}
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


def _looks(run: RunFiles) -> list[int]:
    """Steps at which the validation rows were looked at."""
    return [line["step"] for line in run.log if "validation" in line]


def _was_chosen(run: RunFiles) -> bool:
    """Whether a score of all tasks chose the weights."""
    return any(line.get("aggregate") is not None for line in run.log)


def idle_experts(run: RunFiles) -> Finding | None:
    """TL019: experts that no task takes anything of."""
    loads = mean_loads(run.log)
    experts = dict.fromkeys(name for one in loads.values() for name in one)
    idle = [name for name in experts if all(one.get(name, 0.0) < IDLE / len(one) for one in loads.values())]
    if not idle:
        return None
    return Finding(
        f"No task takes anything of {words.listed(idle)} of {words.plural(len(experts), 'expert')}.",
        "Fewer (`trunk.experts`) give the same network, and a faster one.",
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
    return Finding(
        f"Much of what is worked out is padding: {told}.",
        "`training.by_length: true` brings rows of about one length together; a smaller `max_length` cuts the few that "
        "are very long.",
    )
