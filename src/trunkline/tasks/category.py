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
from trunkline.contexts import Context
from trunkline.errors import DataError
from trunkline.tasks.calibration import Judgement, Settled, settle_temperatures
from trunkline.tasks.contract import Scores, Target, Task
from trunkline.tasks.experts import product_of_experts
from trunkline.tasks.row import WeightedRowHead, repeat_rows
from trunkline.tasks.stacking import CollectedMetric, masked_sum, stack_items
from trunkline.tasks.unseen import class_number
from trunkline.tasks.weights import ClassWeights, shares_state, shifted, weight_table
from trunkline.types import State


class CategoryHead(WeightedRowHead):
    """Logits `[n, G, K]`.

    Args:
        first_guess: `[G, K]`.
        width: `D`.
        weights: of classes, `[G, K]`.
        smoothing: share of each label that is spread evenly over all classes.
    """

    def loss(self, output: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """Cross-entropy; one row counts as much as its class weighs, 1 by default.

        A class that training never saw has no logit: it is left out.
        """
        flags, values = _known(output, target)
        loss = F.cross_entropy(
            output.flatten(0, 1), values.flatten(), reduction="none", label_smoothing=self.smoothing
        ).view_as(values)
        return masked_sum(loss, flags, class_weight(self.weights, values))

    def combine(self, outputs: Tensor, present: Tensor) -> Tensor:
        """The normalised product of what each input says, with the classes' shares counted once."""
        prior = self.first_guess.log_softmax(-1)
        return product_of_experts(outputs.log_softmax(-1), prior, present).log_softmax(-1)


class Category(Task):
    """One class out of several (`class_name`, or a number used as a name).

    Args:
        class_weights: `balanced`, a weight for each class in order, or a mapping of some; see `weights_of`.
        label_smoothing: share of each label that is spread evenly over all classes (Szegedy et al., "Rethinking the
            inception architecture", 2016).
        calibrate: fit a temperature on the validation rows after training; it changes probabilities, no answer.

    State: `{"classes": names in order, "prior": their shares}`, and what the options add: `weights`, `temperature`.
    """

    primary = "accuracy"
    can_combine = True

    def __init__(
        self, class_weights: ClassWeights | None = None, label_smoothing: float = 0.0, *, calibrate: bool = True
    ) -> None:
        self.class_weights = class_weights
        self.label_smoothing = label_smoothing
        self.calibrate = calibrate

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
        return {"classes": classes, **shares_state(counts, classes, self.class_weights)}

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
        weights = [state.get("weights") for state in states]
        start = [log_shares(shifted(state["prior"], w)) for state, w in zip(states, weights)]
        return CategoryHead(torch.tensor(start), width, weight_table(weights), self.label_smoothing)

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
            rows = (output[:, g].float() / state.get("temperature", 1.0)).softmax(-1).tolist()
            decoded.append(
                [{"value": classes[row.index(max(row))], "probabilities": dict(zip(classes, row))} for row in rows]
            )
        return decoded

    def is_right(self, said: dict[str, Any], true: str) -> bool:
        """The very class."""
        return said["value"] == true

    def baseline(self, states: Sequence[State], target: Target) -> Tensor:
        """The training shares, for every row."""
        start = [log_shares(state["prior"]) for state in states]
        return repeat_rows(start, len(target["flags"]), target["flags"])

    def after_training(self, output: Tensor, target: Target, states: Sequence[State]) -> Sequence[Settled]:
        """Temperatures."""
        if not self.calibrate:
            return super().after_training(output, target, states)
        flags, values = _known(output, target)
        logits = output.detach().double()

        def loss(beta: Tensor) -> Tensor:
            logs = (beta[:, None] * logits).log_softmax(-1).gather(-1, values[..., None])[..., 0]
            return -logs.masked_fill(~flags, 0.0).sum(0) / flags.sum(0).clamp(min=1)

        return settle_temperatures(loss, flags.sum(0))

    def judge(self, output: Tensor, target: Target, states: Sequence[State]) -> Sequence[Judgement | None]:
        """Of the class that is said."""
        flags, values = _known(output, target)
        return [
            judge_classes((output[rows, g].double() / state.get("temperature", 1.0)).log_softmax(-1), values[rows, g])
            for g, (state, rows) in enumerate(zip(states, flags.T))
        ]


def _natural(name: str) -> tuple[bool, float, str]:
    """Numbers first, in numeric order; then names."""
    try:
        return False, float(name), name
    except ValueError:
        return True, 0.0, name


def log_shares(shares: Sequence[float], *, least: float = 1e-6) -> list[float]:
    """Logits that say these shares."""
    return [math.log(max(share, least)) for share in shares]


def class_weight(weights: Tensor | None, values: Tensor) -> Tensor | None:
    """What each label weighs: `weights [G, K]`, classes `[n, G]` → `[n, G]`."""
    return None if weights is None else weights.expand(len(values), -1, -1).gather(-1, values[..., None])[..., 0]


def judge_classes(logs: Tensor, values: Tensor) -> Judgement | None:
    """From log-probabilities `[m, K]` and classes `[m]`; `None` without rows."""
    if len(values) == 0:
        return None
    best = logs.max(-1)
    return Judgement(best.values.exp(), best.indices == values, float(-logs.gather(-1, values[:, None]).mean()))


def _known(output: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """Which labels have a logit, and their classes (0 elsewhere)."""
    flags = target["flags"] & (target["values"] < output.shape[-1])
    return flags, target["values"].masked_fill(~flags, 0)


def _score(output: Tensor, target: Tensor, state: State) -> Scores:
    return class_scores(output.argmax(-1), target)


def class_scores(said: Tensor, truth: Tensor) -> Scores:
    """`accuracy` and `macro_f1` of classes `[m]` against classes `[m]`; the mean is over those that occur in either."""
    classes, numbers = torch.cat([said, truth]).unique(return_inverse=True)
    guesses, labels = numbers.split(len(said))
    right = guesses == labels
    hits, said_so, true = (x.bincount(minlength=len(classes)).double() for x in (labels[right], guesses, labels))
    return {"accuracy": float(right.double().mean()), "macro_f1": float((2 * hits / (said_so + true)).mean())}
