"""From the tasks' gradients at the boundary to their weights. Shape legend: `T` tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trunkline.engine.distributed import sum_counts
from trunkline.engine.levels import Comparison, Gradients, Level
from trunkline.engine.refusals import explained
from trunkline.engine.report import Record
from trunkline.engine.reuse import Reuse


class Verdict(NamedTuple):
    """What a step makes of the tasks' gradients.

    Attributes:
        weights: by task.
        combined: the weighted sums at the comparison's leaves, where they are known already: nothing goes through the
            taps then.
    """

    weights: Mapping[str, float]
    combined: Gradients | None = None


def judged(
    comparison: Comparison,
    gradients: Mapping[str, Gradients],
    kept: Sequence[Tensor],
    factor: Tensor | None,
    *,
    blank: Tensor,
    record: Record,
    reuse: Reuse | None,
    balance: Callable[[Tensor, Tensor, tuple[str, ...]], Sequence[float]],
    level: Level,
) -> Verdict:
    """Compare the gradients, or reuse the weights of the last comparison; written down in the record.

    Args:
        comparison: of this forward pass.
        gradients: by task, at the boundary.
        kept: what the comparison wanted kept.
        factor: what the total was multiplied by on its way to the losses; `None`: nothing.
        blank: a zero, on the device and in the precision wanted.
        record: of this step.
        reuse: weights that serve several steps.
        balance: `(gramian [T, T], losses [T], tasks) -> weights`, on the host.
        level: for errors.
    """
    reads = sum_counts([any(g is not None for g in own) for own in gradients.values()])
    index = [k for k, ranks in enumerate(reads) if ranks > 0]
    tasks = tuple(list(gradients)[k] for k in index)
    if not tasks:
        return Verdict(dict.fromkeys(gradients, 1.0))
    if reuse is not None and reuse.serves(record.taking_part(tasks)):
        record.weights, record.compared, record.gramian = reuse.last()
        return Verdict({task: reuse.weights.get(task, 0.0) for task in gradients})
    with torch.autocast(blank.device.type, enabled=False), explained(level):
        zeros = blank.new_zeros(len(tasks), len(tasks))
        gramian = comparison.gramian([gradients[task] for task in tasks], index, kept, zeros)
        if factor is not None:  # no gradient is longer for it
            share = factor.to(gramian) / record.parts
            gramian = gramian / share / share  # one after the other: the square may be too large a number
    together = torch.cat([gramian, record.told(tasks, gramian)], 1)
    together = together.to("cpu", torch.float64)  # the one wait for the device
    gramian, losses, weighs = together[:, :-2], together[:, -2], together[:, -1]
    compared = tasks
    if not weighs.all():
        weighing = weighs.nonzero().flatten()
        gramian, losses = gramian[weighing][:, weighing], losses[weighing]
        compared = tuple(tasks[k] for k in weighing.tolist())
    weights = dict(zip(compared, balance(gramian.to(blank.dtype), losses, compared))) if compared else {}
    record.weights, record.compared, record.gramian = weights, compared, gramian
    if reuse is not None and gramian.diagonal().isfinite().all():
        reuse.keep(weights, gramian)
    combined = comparison.combined([weights.get(task, 0.0) for task in tasks])
    return Verdict({task: weights.get(task, 0.0) for task in gradients}, combined)
