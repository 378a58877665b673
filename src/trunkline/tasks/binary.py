"""Binary: yes or no."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.cells import as_name, as_truth
from trunkline.errors import DataError
from trunkline.tasks.contract import Collected, Scores, Target, Task, stack_items
from trunkline.tasks.experts import product_of_experts
from trunkline.tasks.row import RowHead, logit, repeat_rows
from trunkline.types import Context, State

CELLS_AT_A_TIME = 1 << 20  # of a metric, for its memory


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

    def combine(self, outputs: Tensor, present: Tensor) -> Tensor:
        """The product of what each input says, with the share of yes counted once."""
        return product_of_experts(outputs, self.first_guess, present)


class Binary(Task):
    """Yes or no.

    Args:
        positive: the cell that means yes, for columns whose two values are not yes/no words.

    State: `{"prior": share of yes}`.
    """

    primary = "roc_auc"
    can_combine = True

    def __init__(self, positive: str | None = None) -> None:
        self.positive = positive

    def read(self, cell: Any) -> bool:
        """Yes or no."""
        return as_truth(cell) if self.positive is None else as_name(cell) == as_name(self.positive)

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

    def metric(self, states: Sequence[State]) -> BinaryMetric:
        """`roc_auc`, `average_precision` (`None` with one class only), `accuracy`, `f1` (`None` without a yes)."""
        return BinaryMetric(states)

    def decode(
        self, output: Tensor, states: Sequence[State], contexts: Sequence[Context | None]
    ) -> list[list[dict[str, Any]]]:
        """`{"value": True or False, "probability": of yes}`; `True` where the metric counts a yes."""
        logits = output[..., 0].float().T
        columns = zip(is_yes(logits).tolist(), logits.sigmoid().tolist())
        return [[{"value": v, "probability": p} for v, p in zip(*column)] for column in columns]

    def baseline(self, states: Sequence[State], target: Target) -> Tensor:
        """The training share, for every row."""
        return repeat_rows(_logits(states), len(target["flags"]), target["flags"])


def _logits(states: Sequence[State]) -> list[list[float]]:
    return [[logit(state["prior"])] for state in states]


def is_yes(logits: Tensor) -> Tensor:
    """Where the answer is yes. Of logits, since probabilities in 32 bits cannot tell those near 0.5 or 1 apart."""
    return logits > 0


def binary_scores(output: Tensor, target: Tensor, state: State) -> Scores:
    """Scores of one task: logits `[m, 1]` or `[m]` against 0/1 `[m]`."""
    truth = target.reshape(-1, 1) > 0.5
    scores = stacked_binary_scores(output.reshape(-1, 1), truth, torch.ones_like(truth))[0]
    assert scores is not None, "there are no rows to score"
    return scores


class BinaryMetric(Collected):
    """All tasks of a stack at once: hundreds of them are scored at every validation."""

    def scores(self, outputs: Tensor, values: Tensor, flags: Tensor) -> list[Scores | None]:
        """`outputs [n, G, 1]`, `values` and `flags [n, G]`."""
        tasks = max(1, CELLS_AT_A_TIME // len(flags))
        parts = zip(*(x.split(tasks, 1) for x in (outputs[..., 0], values > 0.5, flags)))
        return [scores for part in parts for scores in stacked_binary_scores(*part)]


def stacked_binary_scores(logits: Tensor, truth: Tensor, flags: Tensor) -> list[Scores | None]:
    """Scores of each column over its labelled rows; `None` without any.

    `roc_auc` is the share of pairs of a yes and a no that the logits order rightly, ties counting half;
    `average_precision` the mean precision at each yes, as scikit-learn defines both.

    Args:
        logits: `[n, G]`.
        truth: `[n, G]` bool.
        flags: `[n, G]` bool, whether a cell has a label.
    """
    ranked = logits.masked_fill(~flags, -torch.inf).T.contiguous()  # [G, n]; what has no label goes last
    ranked, order = ranked.sort(1, descending=True)
    yes, labelled = ((x.T.gather(1, order)).double() for x in (truth & flags, flags))
    no = labelled - yes
    first, last = _ends_of_runs(ranked)
    above = yes.cumsum(1)
    hits, hits_before = above.gather(1, last), above.gather(1, first) - yes.gather(1, first)
    positives, negatives = yes.sum(1), no.sum(1)
    area = (no * (hits + hits_before) / 2).sum(1) / (positives * negatives)  # trapezoids, one share a negative
    precision = (yes * hits / labelled.cumsum(1).gather(1, last)).sum(1) / positives  # a step up the recall a positive
    said = is_yes(ranked).double()
    right = (said * yes).sum(1)
    columns = {
        "roc_auc": area,
        "average_precision": precision,
        "accuracy": (right + ((1 - said) * no).sum(1)) / labelled.sum(1),
        "f1": 2 * right / (said.sum(1) + positives),
    }
    rows = zip(positives.tolist(), negatives.tolist(), *(column.tolist() for column in columns.values()))
    return [_as_scores(bool(p), bool(n), dict(zip(columns, row))) for p, n, *row in rows]


def _ends_of_runs(ranked: Tensor) -> tuple[Tensor, Tensor]:
    """For every place of each sorted row, the first and the last place with the same value. `[G, n]` twice."""
    size = ranked.shape[1]
    places = torch.arange(size, device=ranked.device).expand_as(ranked)
    changes = ranked[:, 1:] != ranked[:, :-1]
    starts, stops = nn.functional.pad(changes, (1, 0), value=True), nn.functional.pad(changes, (0, 1), value=True)
    first = places.where(starts, 0).cummax(1).values
    last = places.where(stops, size).flip(1).cummin(1).values.flip(1)
    return first, last


def _as_scores(has_yes: bool, has_no: bool, scores: Scores) -> Scores | None:
    if not (has_yes or has_no):
        return None
    if not has_yes:
        scores = scores | {"f1": None}
    return scores if has_yes and has_no else scores | {"roc_auc": None, "average_precision": None}
