"""Settings of the engine that follow from the labels of the training split. `T` tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from trunkline.engine.levels import Level

ENOUGH = 0.5  # of the rarer task's rows
NAMED = 5  # pairs in a warning


def unseen_pairs(label_overlap: Tensor, counts: Tensor, *, enough: float = ENOUGH) -> list[tuple[int, int]]:
    """Pairs of tasks that share too few rows to be compared at level `features`.

    Args:
        label_overlap: `[T, T]`, rows that carry both labels.
        counts: `[T]`, rows that carry each label.
        enough: share of the rarer task's rows that must carry the other's label too.
    """
    overlap, rows = label_overlap.tolist(), counts.tolist()
    pairs = ((i, j) for i in range(len(rows)) for j in range(i + 1, len(rows)))
    return [(i, j) for i, j in pairs if overlap[i][j] < max(1.0, enough * min(rows[i], rows[j]))]


def choose_level(
    label_overlap: Tensor, counts: Tensor, tasks: Sequence[str] | None = None, *, own: Level | None = None
) -> tuple[Level, str]:
    """The cheapest level that can compare all tasks, and why: what `level: auto` means for a Gramian balancer.

    Gradients at the features meet only on rows that carry both labels; at the last shared layer's weights they meet
    always.

    Args:
        label_overlap: `[T, T]`, rows of the training split that carry both labels.
        counts: `[T]`, rows that carry each label.
        tasks: names for the reason.
        own: where the balancer's paper compares gradients, if it says so.
    """
    if own is not None:
        return own, "where the paper of this balancer compares gradients"
    unseen = unseen_pairs(label_overlap, counts)
    if not unseen:
        return "features", "every pair of tasks shares enough labelled rows"
    i, j = min(unseen, key=lambda pair: float(label_overlap[pair]))
    first, second = (tasks[i], tasks[j]) if tasks else (i, j)
    shared, rarer = int(label_overlap[i, j]), int(min(counts[i], counts[j]))
    return "last", (
        f"{len(unseen)} of {len(counts) * (len(counts) - 1) // 2} pairs of tasks share too few labelled rows to be "
        f"compared at the features; {first!r} and {second!r} share {shared} of {rarer}"
    )


def warn_unseen(level: Level, label_overlap: Tensor, counts: Tensor, tasks: Sequence[str]) -> str | None:
    """What to tell somebody who chose `features` for tasks that it cannot compare; `None` where nothing is wrong.

    Args:
        level: as chosen.
        label_overlap: `[T, T]`, rows of the training split that carry both labels.
        counts: `[T]`, rows that carry each label.
        tasks: names.
    """
    unseen = unseen_pairs(label_overlap, counts) if level == "features" else []
    if not unseen:
        return None
    named = [
        f"{tasks[i]!r} and {tasks[j]!r} ({int(label_overlap[i, j])} of {int(min(counts[i], counts[j]))})"
        for i, j in unseen[:NAMED]
    ]
    more = f" and {len(unseen) - NAMED} more pairs" if len(unseen) > NAMED else ""
    return (
        f"balancer.level: 'features' compares tasks only on rows that carry both labels, and these share too few of "
        f"the rarer task's: {', '.join(named)}{more}. Their conflicts go unseen; level 'last' sees them"
    )


def expected_rates(labelled: Mapping[str, int], rows: int) -> dict[str, float]:
    """The tasks with labels on under half of the rows, and on which share: `rates` of the `Engine`.

    A mean over the one labelled row of a batch makes a rare task huge and noisy; these are divided by the label
    weight a batch is expected to have instead.
    """
    return {task: count / rows for task, count in labelled.items() if 0 < count < rows / 2}
