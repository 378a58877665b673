"""What a Gramian balancer makes of the tasks' gradients, wherever they are compared. Shape legend: `T` tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from trunkline.balancers import GramianBalancer
from trunkline.engine.boundary import Weigh
from trunkline.engine.features import Features
from trunkline.engine.last import CallRecorder, Last
from trunkline.engine.lean import Lean
from trunkline.engine.learning import Steps
from trunkline.engine.levels import Comparison, Level, precise
from trunkline.engine.report import Record
from trunkline.engine.reuse import Reuse
from trunkline.engine.sketch import Sketch, Sketched
from trunkline.engine.trunk import Trunk
from trunkline.engine.verdict import judged


@dataclass(frozen=True)
class Weighing:
    """How an engine weighs gradients.

    Attributes:
        balancer: that decides.
        preferences: that multiply its weights, by task.
        steps: tell it when to learn anew.
        level: where gradients are compared.
        recorder: of the last shared layers' calls.
        shared: parameters among which are those that the tasks share; needed on several ranks.
        sketch: how gradients are estimated, at the level that does.
        reuse: weights that serve several steps.
    """

    balancer: GramianBalancer
    preferences: Mapping[str, float]
    steps: Steps
    level: Level
    recorder: CallRecorder
    shared: tuple[Tensor, ...]
    sketch: Sketch | None
    reuse: Reuse | None

    def comparison(self, taps: Sequence[Tensor], labelled: Tensor | None) -> Comparison:
        """Of the forward pass that made these taps."""
        calls = self.recorder.take()
        match self.level:
            case "last":
                return Last(self.recorder.layers, calls, taps)
            case "sketch":
                assert self.sketch is not None
                return Sketched(taps, self.shared, self.sketch)
            case "trunk":
                return Trunk(taps, self.shared, cuts=self.reuse is None)
            case "trunk-lean":
                return Lean(taps, self.shared)
            case _:
                return Features(labelled)

    def of(self, comparison: Comparison, taps: Sequence[Tensor], record: Record) -> Weigh:
        """What the boundary asks in the backward pass."""
        blank = precise(torch.zeros((), dtype=taps[0].dtype, device=taps[0].device))
        return partial(
            judged, comparison, blank=blank, record=record, reuse=self.reuse, balance=self._weights, level=self.level
        )

    def _weights(self, gramian: Tensor, losses: Tensor, tasks: tuple[str, ...]) -> list[float]:
        if gramian.diagonal().isfinite().all():
            if self.steps.is_new():
                self.balancer.begin_step()
            self.balancer.watch(losses, tasks)
            weights = self.balancer.weigh(gramian.nan_to_num(nan=0.0), tasks).tolist()
        else:  # overflow: it must show in the gradients, where a gradient scaler or the user looks for it
            weights = [1 / len(tasks)] * len(tasks)
        return [weight * self.preferences[task] for weight, task in zip(weights, tasks, strict=True)]
