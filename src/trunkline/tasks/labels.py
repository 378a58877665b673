"""Labels: any number of names out of several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from trunkline.arrays.answers import LabelAnswers, per_name
from trunkline.cells import as_list, as_name
from trunkline.contexts import Context
from trunkline.errors import DataError
from trunkline.tasks.binary import (
    binary_nll,
    cuts,
    given_threshold,
    judge_yes,
    smoothed,
    stacked_binary_scores,
)
from trunkline.tasks.calibration import Judgement, Settled, settle_temperatures, settle_threshold
from trunkline.tasks.contract import Scores, Target, Task, on_host
from trunkline.tasks.experts import product_of_experts
from trunkline.tasks.row import WeightedRowHead, logit, repeat_rows
from trunkline.tasks.stacking import Collected, masked_sum, stack_items
from trunkline.tasks.weights import ClassWeights, shifted, weight_table, weights_of
from trunkline.types import State


class LabelsHead(WeightedRowHead):
    """Logits `[n, 1, K]`.

    Args:
        first_guess: `[1, K]`.
        width: `D`.
        weights: of a yes for each name, `[1, K]`.
        smoothing: share of each yes or no that is spread evenly over both.
    """

    def loss(self, output: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """Binary cross-entropy, averaged over the names; one row counts as much as its cells weigh on average."""
        flags = target["flags"]
        values = target["values"].masked_fill(~flags.unsqueeze(-1), 0.0).to(output.dtype)
        truth = smoothed(values, self.smoothing) if self.smoothing else values
        loss = F.binary_cross_entropy_with_logits(output, truth, reduction="none")
        if self.weights is None:
            return masked_sum(loss.mean(-1), flags)
        weights = torch.where(values > 0.5, self.weights, 1.0)  # [n, 1, K]
        mean = weights.mean(-1)
        return masked_sum((loss * weights).mean(-1) / mean, flags, mean)

    def combine(self, outputs: Tensor, present: Tensor) -> Tensor:
        """For each name the product of what each input says, with its share counted once."""
        return product_of_experts(outputs, self.first_guess, present)


class Labels(Task):
    """Any number of names out of several; an empty list is a known "none of them".

    Args:
        separator: between names in a text cell; a cell that starts with `[` is JSON.
        threshold: a name is said above this probability; `best_f1` finds one for each name on the validation rows.
        class_weights: how much a row that has a name weighs for it; one that lacks it weighs 1. `balanced` gives both
            the same part of the loss; a list has a weight for each name in order, a mapping those of some.
        label_smoothing: share of each yes or no that is spread evenly over both.
        calibrate: fit a temperature on the validation rows after training, one for all names.

    State: `{"classes": names in order, "prior": share of rows that have each}`, and what the options add: `weights`,
    `temperature`, `thresholds`.
    """

    primary = "roc_auc"
    can_combine = True

    def __init__(
        self,
        separator: str = "|",
        *,
        threshold: float | Literal["best_f1"] = 0.5,
        class_weights: ClassWeights | None = None,
        label_smoothing: float = 0.0,
        calibrate: bool = True,
    ) -> None:
        self.separator = separator
        self.threshold = threshold
        self.class_weights = class_weights
        self.label_smoothing = label_smoothing
        self.calibrate = calibrate

    @property
    def unseen_names(self) -> str:
        """As the scores have it."""
        return "they are left out of its scores"

    def read(self, cell: Any) -> list[str]:
        """Names."""
        return [as_name(name) for name in as_list(cell, separator=self.separator)]

    def names(self, value: list[str]) -> Iterable[str]:
        """Each label."""
        return value

    def known_names(self, state: State) -> Collection[str]:
        """All names."""
        return state["classes"]

    def fit(self, values: Iterable[list[str]]) -> State:
        """All names, and how often each occurs."""
        rows = [set(value) for value in values]
        counts = Counter(name for row in rows for name in row)
        if not counts:
            raise DataError("a labels task needs at least one name in the training rows, found none")
        classes = sorted(counts)
        prior = [counts[c] / len(rows) for c in classes]
        if self.class_weights == "balanced":
            weights: list[float] | None = [(1 - p) / p if p < 1 else 1.0 for p in prior]
        else:
            weights = weights_of(self.class_weights, classes, prior)
        state = {"classes": classes, "prior": prior, **given_threshold(self.threshold)}
        return state if weights is None else {**state, "weights": weights}

    def prepare(self, value: list[str], state: State, context: Context | None) -> list[float]:
        """A 0 or 1 for each name; those that training never saw have no place."""
        return [float(name in value) for name in state["classes"]]

    def collate(self, items: Sequence[Sequence[list[float] | None]]) -> Target:
        """`values [n, 1, K] float, flags [n, 1]`."""
        return stack_items(items, torch.float32)

    def build(self, states: Sequence[State], width: int) -> LabelsHead:
        """One linear layer; starts at the names' shares."""
        (state,) = states
        weights = state.get("weights")
        shares = [
            shifted((1 - p, p), (1.0, w))[1] for p, w in zip(state["prior"], weights or [1.0] * len(state["prior"]))
        ]
        start = torch.tensor([[logit(p) for p in shares]])
        return LabelsHead(start, width, weight_table([weights]), self.label_smoothing)

    def metric(self, states: Sequence[State]) -> LabelsMetric:
        """`roc_auc average_precision accuracy f1`, each the mean over names that have both values."""
        return LabelsMetric(states)

    @property
    def answers(self) -> LabelAnswers:
        """What outputs say."""
        return LabelAnswers()

    def decode(
        self, output: Tensor, states: Sequence[State], contexts: Sequence[Context | None]
    ) -> list[list[dict[str, Any]]]:
        """`{"value": names whose p is over the threshold, "probabilities": {name: p}}`."""
        return self.answers.decode(on_host(output), states, contexts)

    def is_right(self, said: dict[str, Any], true: list[str]) -> bool:
        """These names and no others."""
        return set(said["value"]) == set(true)

    def baseline(self, states: Sequence[State], target: Target) -> Tensor:
        """The training shares, for every row."""
        start = [[logit(p) for p in state["prior"]] for state in states]
        return repeat_rows(start, len(target["flags"]), target["flags"])

    def after_training(self, output: Tensor, target: Target, states: Sequence[State]) -> Sequence[Settled]:
        """A temperature for all names, and a threshold for each."""
        rows = target["flags"][:, 0]
        logits, truth = output[rows, 0].detach().double(), target["values"][rows, 0] > 0.5
        (settled,) = super().after_training(output, target, states)
        if self.calibrate:
            everywhere = torch.ones_like(truth)
            (settled,) = settle_temperatures(
                lambda beta: binary_nll(logits * beta, truth, everywhere).mean(0, keepdim=True),
                rows.sum(0, keepdim=True),
            )
        if self.threshold != "best_f1":
            return [settled]
        logits = logits / settled.state.get("temperature", 1.0)
        found = [settle_threshold(*name) for name in zip(logits.T, truth.T)]
        state = {"thresholds": [f.state.get("threshold", 0.5) for f in found]}
        names = [name for name, f in zip(states[0]["classes"], found) if f.skipped]
        why = {"threshold": f"{', '.join(names[:5])}: too few validation rows with it, or without"} if names else {}
        return [Settled({**settled.state, **state}, {**settled.skipped, **why})]

    def judge(self, output: Tensor, target: Target, states: Sequence[State]) -> Sequence[Judgement | None]:
        """Of each name in each row: its probability, and whether the row has it."""
        (state,) = states
        rows = target["flags"][:, 0]
        logits = output[rows, 0].double() / state.get("temperature", 1.0)
        return [judge_yes(logits.flatten(), (target["values"][rows, 0] > 0.5).flatten())]


class LabelsMetric(Collected):
    """All names at once, as if each were a binary task."""

    def scores(self, outputs: Tensor, values: Tensor, flags: Tensor) -> list[Scores | None]:
        """`outputs` and `values [n, 1, K]`, `flags [n, 1]`."""
        if not bool(flags.any()):
            return [None]
        rows, truth = flags[:, 0], values[:, 0] > 0.5
        scores = stacked_binary_scores(
            outputs[rows, 0], truth[rows], torch.ones_like(truth[rows]), cuts(per_name(self.states[0]))
        )
        has_both = [s for s in scores if s is not None and s["roc_auc"] is not None]
        names = ("roc_auc", "average_precision", "accuracy", "f1")
        return [{name: _mean([s[name] for s in has_both]) for name in names}]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
