"""Labels: any number of names out of several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from trunkline.cells import as_list, as_name
from trunkline.errors import DataError
from trunkline.tasks.binary import binary_scores, is_yes
from trunkline.tasks.contract import CollectedMetric, Scores, Target, Task, masked_sum, stack_items
from trunkline.tasks.experts import product_of_experts
from trunkline.tasks.row import RowHead, logit, repeat_rows
from trunkline.types import Context, State


class LabelsHead(RowHead):
    """Logits `[n, 1, K]`."""

    def loss(self, output: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """Binary cross-entropy, averaged over the names; one row, one count."""
        flags = target["flags"]
        values = target["values"].masked_fill(~flags.unsqueeze(-1), 0.0).to(output.dtype)
        return masked_sum(F.binary_cross_entropy_with_logits(output, values, reduction="none").mean(-1), flags)

    def combine(self, outputs: Tensor, present: Tensor) -> Tensor:
        """For each name the product of what each input says, with its share counted once."""
        return product_of_experts(outputs, self.first_guess, present)


class Labels(Task):
    """Any number of names out of several; an empty list is a known "none of them".

    Args:
        separator: between names in a text cell; a cell that starts with `[` is JSON.

    State: `{"classes": names in order, "prior": share of rows that have each}`.
    """

    primary = "roc_auc"
    can_combine = True
    unseen_names = "they are left out of its scores"

    def __init__(self, separator: str = "|") -> None:
        self.separator = separator

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
        return {"classes": classes, "prior": [counts[c] / len(rows) for c in classes]}

    def prepare(self, value: list[str], state: State, context: Context | None) -> list[float]:
        """A 0 or 1 for each name; those that training never saw have no place."""
        return [float(name in value) for name in state["classes"]]

    def collate(self, items: Sequence[Sequence[list[float] | None]]) -> Target:
        """`values [n, 1, K] float, flags [n, 1]`."""
        return stack_items(items, torch.float32)

    def build(self, states: Sequence[State], width: int) -> LabelsHead:
        """One linear layer; starts at the names' shares."""
        return LabelsHead(torch.tensor(_logits(states)), width)

    def metric(self, states: Sequence[State]) -> CollectedMetric:
        """`roc_auc average_precision accuracy f1`, each the mean over names that have both values."""
        return CollectedMetric(_score, states)

    def decode(
        self, output: Tensor, states: Sequence[State], contexts: Sequence[Context | None]
    ) -> list[list[dict[str, Any]]]:
        """`{"value": names whose p is over 0.5, "probabilities": {name: p}}`."""
        classes = states[0]["classes"]
        logits = output[:, 0].float()
        return [
            [
                {"value": [c for c, yes in zip(classes, said) if yes], "probabilities": dict(zip(classes, row))}
                for said, row in zip(is_yes(logits).tolist(), logits.sigmoid().tolist())
            ]
        ]

    def baseline(self, states: Sequence[State], target: Target) -> Tensor:
        """The training shares, for every row."""
        return repeat_rows(_logits(states), len(target["flags"]), target["flags"])


def _logits(states: Sequence[State]) -> list[list[float]]:
    return [[logit(p) for p in state["prior"]] for state in states]


def _score(output: Tensor, target: Tensor, state: State) -> Scores:
    """Output and target `[m, K]`."""
    scores = [binary_scores(o, t, state) for o, t in zip(output.T, target.T)]
    has_both = [s for s in scores if s["roc_auc"] is not None]
    return {name: _mean([s[name] for s in has_both]) for name in ("roc_auc", "average_precision", "accuracy", "f1")}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
