"""Binary: yes or no."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import (
    binary_accuracy,
    binary_auroc,
    binary_average_precision,
    binary_f1_score,
)

from trunkline.cells import as_name, as_truth
from trunkline.errors import DataError
from trunkline.tasks.contract import CollectedMetric, Scores, Target, Task, masked_sum, stack_items
from trunkline.tasks.row import RowHead, logit, repeat_rows
from trunkline.types import Context, State


class BinaryHead(RowHead):
    """Logits `[n, G, 1]`."""

    def loss(self, output: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """Binary cross-entropy; one row, one count."""
        # Products with 0 and 1, and a comparison that makes a 0 or a 1 of anything, even of NaN: filling by a mask
        # costs several times as much, and here it is a good part of the step of a wide table.
        weight = target["flags"].float()
        truth = (target["values"] > 0.5).to(output.dtype)
        loss = F.binary_cross_entropy_with_logits(output[..., 0], truth, weight, reduction="none")
        return loss.sum(0), weight.sum(0)


class Binary(Task):
    """Yes or no.

    Args:
        positive: the cell that means yes, for columns whose two values are not yes/no words.

    State: `{"prior": share of yes, "classes": [name of no, name of yes]}`.
    """

    primary = "roc_auc"

    def __init__(self, positive: str | None = None) -> None:
        self.positive = positive

    def read(self, cell: Any) -> bool:
        """Yes or no."""
        return as_truth(cell) if self.positive is None else as_name(cell) == self.positive

    def fit(self, values: Iterable[bool]) -> State:
        """The share of yes."""
        column = list(values)
        if not column:
            raise DataError("a binary task needs labels in the training rows, found none")
        return {"prior": sum(column) / len(column)}

    def prepare(self, value: bool, state: State, context: Context | None) -> float:
        """0 or 1."""
        return float(value)

    def collate(self, items: Sequence[Sequence[float | None]]) -> Target:
        """`values [n, G] float, flags [n, G]`."""
        return stack_items(items, torch.float32)

    def stack_key(self, state: State) -> Hashable:
        """All alike."""
        return "binary"

    def build(self, states: Sequence[State], width: int) -> BinaryHead:
        """One linear layer; starts at the share of yes."""
        return BinaryHead(torch.tensor(_logits(states)), width)

    def metric(self, states: Sequence[State]) -> CollectedMetric:
        """`roc_auc`, `average_precision` (`None` with one class only), `accuracy` and `f1` at 0.5."""
        return CollectedMetric(binary_scores, states)

    def decode(
        self, output: Tensor, states: Sequence[State], contexts: Sequence[Context | None]
    ) -> list[list[dict[str, Any]]]:
        """`{"value": True or False, "probability": of yes}`."""
        probabilities = output[..., 0].float().sigmoid()
        return [[{"value": p >= 0.5, "probability": p} for p in column] for column in probabilities.T.tolist()]

    def baseline(self, states: Sequence[State], target: Target) -> Tensor:
        """The training share, for every row."""
        return repeat_rows(_logits(states), len(target["flags"]), target["flags"])


def _logits(states: Sequence[State]) -> list[list[float]]:
    return [[logit(state["prior"])] for state in states]


def binary_scores(output: Tensor, target: Tensor, state: State) -> Scores:
    """Scores of logits `[m, 1]` or `[m]` against 0/1 `[m]`."""
    logits, truth = output.reshape(-1), target.long()
    has_both = 0 < int(truth.sum()) < len(truth)
    probabilities = logits.sigmoid()
    return {
        "roc_auc": float(binary_auroc(probabilities, truth)) if has_both else None,
        "average_precision": float(binary_average_precision(probabilities, truth)) if has_both else None,
        "accuracy": float(binary_accuracy(probabilities, truth)),
        "f1": float(binary_f1_score(probabilities, truth)),
    }
