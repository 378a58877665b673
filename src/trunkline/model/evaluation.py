"""Metrics of every task, updated with labelled rows only."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, cast

import torch
import torchmetrics
from torch import Tensor, nn

from trunkline.fusion import LateModule
from trunkline.model.late import at_rows, losses_apart
from trunkline.model.lots import Shared
from trunkline.model.network import Network
from trunkline.schema import Preprocessing
from trunkline.tasks.contract import Scores
from trunkline.types import Batch

TaskScores = dict[str, Scores | None]  # by task name; None where a task has no labelled row


class Evaluation(nn.Module):
    """One metric a head. `update` with batches, then `compute`; `reset` starts anew.

    Args:
        preprocessing: fitted states.
        gather: `(tensor, group) -> every rank's tensor`, for processes that count a part of the rows each and are all
            to `compute` the scores of the whole; by default a process computes what it has counted itself.
    """

    def __init__(
        self, preprocessing: Preprocessing, gather: Callable[[Tensor, Any], list[Tensor]] | None = None
    ) -> None:
        super().__init__()
        self.preprocessing = preprocessing
        self.metrics = nn.ModuleList(
            preprocessing.schema.tasks[unit.name].task.metric(preprocessing.task_states(unit))
            for unit in preprocessing.heads
        )
        for metric in self._each():
            meeting_others(metric, gather)

    def update(self, network: Network, shared: Shared, batch: Batch) -> None:
        """Predict the labelled rows of a batch and count them."""
        self.count(outputs_of(network, shared, batch), batch)

    def count(self, outputs: Mapping[str, Any], batch: Batch, rows: Tensor | None = None) -> None:
        """Count what was predicted of the labelled rows of a batch, by head; of these rows alone, `[B]` bool."""
        for unit, metric in zip(self.preprocessing.heads, self._each()):
            if unit.name not in outputs:
                continue
            output, part = outputs[unit.name], batch.targets[unit.name]
            if rows is None:
                metric.update(output, part.values)
            elif len(index := (rows if part.rows is None else rows[part.rows]).nonzero().squeeze(1)):
                metric.update(rows_of(output, index), rows_of(part.values, index))

    def update_baseline(self, batch: Batch) -> None:
        """Count what one would say knowing the training labels and no input."""
        for unit, metric in zip(self.preprocessing.heads, self._each()):
            if (part := batch.targets.get(unit.name)) is not None:
                task = self.preprocessing.schema.tasks[unit.name].task
                metric.update(task.baseline(self.preprocessing.task_states(unit), part.values), part.values)

    def compute(self) -> TaskScores:
        """Scores of every task, in the schema's order, that which counts first; `None` where nothing was labelled."""
        found: TaskScores = {}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*before the ``update``.*")  # no data: it says None
            for unit, metric in zip(self.preprocessing.heads, self._each()):
                found.update(zip(unit.tasks, metric.compute()))
        tasks = self.preprocessing.schema.tasks
        return {task: _first(column.task.primary, found[task]) for task, column in tasks.items()}

    def reset(self) -> None:
        """Forget all updates."""
        for metric in self._each():
            metric.reset()

    def _each(self) -> Iterable[torchmetrics.Metric]:
        return cast(Iterable[torchmetrics.Metric], self.metrics)


def _first(name: str, scores: dict[str, float | None] | None) -> dict[str, float | None] | None:
    return scores and {name: scores[name], **scores}


def outputs_of(network: Network, shared: Shared, batch: Batch) -> dict[str, Any]:
    """What each head says of its labelled rows of a batch; heads without any are left out."""
    outputs = {}
    for unit, head in network.units():
        if (part := batch.targets.get(unit.name)) is None:
            network.pass_by(head)
        else:
            outputs[unit.name] = network.output(unit, head, shared, part, batch.present, batch.sources)
    return outputs


def losses_of_experts(network: Network, batch: Batch) -> tuple[Tensor, Tensor]:
    """`(sum [T, E + 1], weight [T, E + 1])` of what late fusion says of each task together and expert by expert.

    Raises:
        TypeError: the fusion is another.
    """
    fusion = network.fusion
    if not isinstance(fusion, LateModule):
        raise TypeError(f"{type(fusion).__name__} has no experts; late fusion has")
    shared, present = network.share(batch), network.speaking(fusion, batch.present)
    found = [torch.zeros(len(network.preprocessing.tasks), fusion.experts + 1, device=present.device) for _ in "sw"]
    for unit, head in network.units():
        if (part := batch.targets.get(unit.name)) is None:
            network.pass_by(head)
            continue
        view = network.view(unit, shared, part, batch.sources)
        said = partial(losses_apart, head, view, part.values, at_rows(present, part.rows))
        for whole, own in zip(found, network.holder.use(head, said)):
            whole[network.preprocessing.places(unit.tasks)] = own.T
    sums, weights = found
    return sums, weights


def rows_of(value: Any, index: Tensor) -> Any:
    """Some rows of an output or a target, which is a tensor or several by name."""
    return {key: v[index] for key, v in value.items()} if isinstance(value, dict) else value[index]


def meeting_others(
    metric: torchmetrics.Metric, gather: Callable[[Tensor, Any], list[Tensor]] | None
) -> torchmetrics.Metric:
    """The same metric, to meet those of other processes by `gather` when it computes, or not at all."""
    for part in metric.modules():
        if isinstance(part, torchmetrics.Metric):  # one may be made of others
            part.dist_sync_fn = gather
            if gather is None:
                part.distributed_available_fn = _alone
    return metric


def _alone() -> bool:
    return False


def aggregate(scores: TaskScores, majority: TaskScores, preprocessing: Preprocessing) -> float | None:
    """One number for all tasks: the mean of `(primary − majority) / (best − majority)`.

    0 is no better than knowing no input, 1 is perfect. Tasks without data, or whose majority is already perfect, are
    left out; `None` when none is left.
    """
    gains = [g for name in scores if (g := gain(name, scores, majority, preprocessing)) is not None]
    return sum(gains) / len(gains) if gains else None


def gain(task: str, scores: Mapping, majority: Mapping, preprocessing: Preprocessing) -> float | None:
    """One task's share of the way from majority to perfect; `None` where it is not defined."""
    kind = preprocessing.schema.tasks[task].task
    ours, theirs = scores[task], majority[task]
    if ours is None or theirs is None or ours[kind.primary] is None or theirs[kind.primary] is None:
        return None
    room = kind.best - theirs[kind.primary]
    return None if math.isclose(room, 0.0) else (ours[kind.primary] - theirs[kind.primary]) / room
