"""Category: one class out of several."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

from trunkline.cells import as_name
from trunkline.errors import DataError, suggest
from trunkline.tasks.contract import CollectedMetric, Scores, Target, Task, masked_sum, stack_items
from trunkline.tasks.row import RowHead, repeat_rows
from trunkline.types import Context, State


class CategoryHead(RowHead):
    """Logits `[n, G, K]`."""

    def loss(self, output: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """Cross-entropy; one row, one count."""
        values = target["values"].masked_fill(~target["flags"], 0)
        loss = F.cross_entropy(output.flatten(0, 1), values.flatten(), reduction="none").view_as(values)
        return masked_sum(loss, target["flags"])


class Category(Task):
    """One class out of several (`class_name`, or a number used as a name).

    State: `{"classes": names in order, "prior": their shares}`.
    """

    primary = "accuracy"

    def read(self, cell: Any) -> str:
        """A class name."""
        return as_name(cell)

    def names(self, value: str) -> Iterable[str]:
        """The class."""
        return (value,)

    def fit(self, values: Iterable[str]) -> State:
        """Class names (in numeric order where all are numbers) and their shares."""
        counts = Counter(values)
        if len(counts) < 2:
            raise DataError(f"a category task needs at least 2 classes in the training rows, found {sorted(counts)}")
        classes = sorted(counts, key=_natural)
        return {"classes": classes, "prior": [counts[c] / counts.total() for c in classes]}

    def prepare(self, value: str, state: State, context: Context | None) -> int:
        """The class's number."""
        try:
            return state["classes"].index(value)
        except ValueError:
            hint = suggest(value, state["classes"])
            raise DataError(f"class {value!r} does not occur in the training rows.{hint}") from None

    def collate(self, items: Sequence[Sequence[int | None]]) -> Target:
        """`values [n, G] long, flags [n, G]`."""
        return stack_items(items, torch.long)

    def stack_key(self, state: State) -> Hashable:
        """As many classes."""
        return len(state["classes"])

    def build(self, states: Sequence[State], width: int) -> CategoryHead:
        """One linear layer; starts at the classes' shares."""
        return CategoryHead(torch.tensor(_log_priors(states)), width)

    def metric(self, states: Sequence[State]) -> CollectedMetric:
        """`accuracy`, and `macro_f1` over classes that occur as target or prediction."""
        return CollectedMetric(_score, states)

    def decode(
        self, output: Tensor, states: Sequence[State], contexts: Sequence[Context | None]
    ) -> list[list[dict[str, Any]]]:
        """`{"value": class, "probabilities": {class: p}}`."""
        decoded = []
        for g, state in enumerate(states):
            classes = state["classes"]
            rows = output[:, g].float().softmax(-1).tolist()
            decoded.append(
                [{"value": classes[row.index(max(row))], "probabilities": dict(zip(classes, row))} for row in rows]
            )
        return decoded

    def baseline(self, states: Sequence[State], target: Target) -> Tensor:
        """The training shares, for every row."""
        return repeat_rows(_log_priors(states), len(target["flags"]), target["flags"])


def _natural(name: str) -> tuple[bool, float, str]:
    """Numbers first, in numeric order; then names."""
    try:
        return False, float(name), name
    except ValueError:
        return True, 0.0, name


def _log_priors(states: Sequence[State]) -> list[list[float]]:
    return [[math.log(p) for p in state["prior"]] for state in states]


def _score(output: Tensor, target: Tensor, state: State) -> Scores:
    classes = len(state["classes"])
    return {
        "accuracy": float(multiclass_accuracy(output, target, num_classes=classes, average="micro")),
        "macro_f1": float(multiclass_f1_score(output, target, num_classes=classes, average="macro")),
    }
