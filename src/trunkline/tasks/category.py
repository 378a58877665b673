"""Category: one class out of several."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from trunkline.cells import as_name
from trunkline.errors import DataError
from trunkline.tasks.contract import CollectedMetric, Scores, Target, Task, masked_sum, stack_items
from trunkline.tasks.experts import product_of_experts
from trunkline.tasks.row import RowHead, repeat_rows
from trunkline.tasks.unseen import class_number
from trunkline.types import Context, State


class CategoryHead(RowHead):
    """Logits `[n, G, K]`."""

    def loss(self, output: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """Cross-entropy; one row, one count. A class that training never saw has no logit: it is left out."""
        flags = target["flags"] & (target["values"] < output.shape[-1])
        values = target["values"].masked_fill(~flags, 0)
        loss = F.cross_entropy(output.flatten(0, 1), values.flatten(), reduction="none").view_as(values)
        return masked_sum(loss, flags)

    def combine(self, outputs: Tensor, present: Tensor) -> Tensor:
        """The normalised product of what each input says, with the classes' shares counted once."""
        prior = self.first_guess.log_softmax(-1)
        return product_of_experts(outputs.log_softmax(-1), prior, present).log_softmax(-1)


class Category(Task):
    """One class out of several (`class_name`, or a number used as a name).

    State: `{"classes": names in order, "prior": their shares}`.
    """

    primary = "accuracy"
    can_combine = True

    def read(self, cell: Any) -> str:
        """A class name."""
        return as_name(cell)

    def names(self, value: str) -> Iterable[str]:
        """The class."""
        return (value,)

    def known_names(self, state: State) -> Collection[str]:
        """The classes."""
        return state["classes"]

    def fit(self, values: Iterable[str]) -> State:
        """Class names (in numeric order where all are numbers) and their shares."""
        counts = Counter(values)
        if len(counts) < 2:
            raise DataError(f"a category task needs at least 2 classes in the training rows, found {sorted(counts)}")
        classes = sorted(counts, key=_natural)
        return {"classes": classes, "prior": [counts[c] / counts.total() for c in classes]}

    def prepare(self, value: str, state: State, context: Context | None) -> int:
        """The class's number; behind all others where training never saw it."""
        return class_number(value, state["classes"])

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
        """`accuracy`, and `macro_f1` over classes that occur as target or prediction.

        A class that training never saw is always missed: it counts in both.
        """
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
    return class_scores(output.argmax(-1), target)


def class_scores(said: Tensor, truth: Tensor) -> Scores:
    """`accuracy` and `macro_f1` of classes `[m]` against classes `[m]`; the mean is over those that occur in either."""
    classes, numbers = torch.cat([said, truth]).unique(return_inverse=True)
    guesses, labels = numbers.split(len(said))
    right = guesses == labels
    hits, said_so, true = (x.bincount(minlength=len(classes)).double() for x in (labels[right], guesses, labels))
    return {"accuracy": float(right.double().mean()), "macro_f1": float((2 * hits / (said_so + true)).mean())}
