"""Binary: yes or no."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.arrays.answers import YesNoAnswers
from trunkline.cells import NO, YES, as_name, as_truth
from trunkline.contexts import Context
from trunkline.errors import ConfigError, DataError
from trunkline.tasks.calibration import Judgement, Settled, settle_temperatures, settle_threshold
from trunkline.tasks.contract import Scores, Target, Task, on_host
from trunkline.tasks.experts import product_of_experts
from trunkline.tasks.row import WeightedRowHead, logit, repeat_rows
from trunkline.tasks.stacking import Collected, stack_items
from trunkline.tasks.weights import ClassWeights, shifted, weight_table, weights_of
from trunkline.types import State

CELLS_AT_A_TIME = 1 << 20  # of a metric, for its memory


class BinaryHead(WeightedRowHead):
    """Logits `[n, G, 1]`.

    Args:
        first_guess: `[G, 1]`.
        width: `D`.
        weights: of no and yes, `[G, 2]`.
        smoothing: share of each label that is spread evenly over yes and no.
    """

    def loss(self, output: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """Binary cross-entropy; one row counts as much as its class weighs, 1 by default."""
        # Products with 0 and 1, and a comparison that makes a 0 or a 1 of anything, even of NaN: filling by a mask
        # costs several times as much, and here it is a good part of the step of a wide table.
        weight = target["flags"].float()
        truth = (target["values"] > 0.5).to(output.dtype)
        if self.weights is not None:
            weight = weight * torch.where(truth > 0.5, self.weights[:, 1], self.weights[:, 0])
        if self.smoothing:
            truth = smoothed(truth, self.smoothing)
        loss = F.binary_cross_entropy_with_logits(output[..., 0], truth, weight, reduction="none")
        return loss.sum(0), weight.sum(0)

    def combine(self, outputs: Tensor, present: Tensor) -> Tensor:
        """The product of what each input says, with the share of yes counted once."""
        return product_of_experts(outputs, self.first_guess, present)


class Binary(Task):
    """Yes or no.

    Args:
        positive: the cell that means yes, for columns whose two values are not yes/no words.
        threshold: yes is said above this probability; `best_f1` finds it on the validation rows after training.
        class_weights: `balanced`, weights of no and yes in this order, or a mapping of `no`, `yes`.
        label_smoothing: share of each label that is spread evenly over yes and no.
        calibrate: fit a temperature on the validation rows after training.

    State: `{"prior": share of yes}`, and what the options add: `weights`, `temperature`, `threshold`.
    """

    primary = "roc_auc"
    can_combine = True

    def __init__(
        self,
        positive: str | None = None,
        *,
        threshold: float | Literal["best_f1"] = 0.5,
        class_weights: ClassWeights | None = None,
        label_smoothing: float = 0.0,
        calibrate: bool = True,
    ) -> None:
        self.positive = positive
        self.threshold = threshold
        self.class_weights = class_weights
        self.label_smoothing = label_smoothing
        self.calibrate = calibrate

    def inspect(self, cells: Sequence[Any]) -> None:
        """Is there a yes in the column?"""
        plain = [cell for cell in cells if not isinstance(cell, (list, dict))]
        wanted = is_truth_word if self.positive is None else as_name(self.positive).__eq__
        if not plain or any(wanted(as_name(cell)) for cell in plain):
            return
        names = Counter(map(as_name, plain))
        found = ", ".join(f"{name!r} ({count} rows)" for name, count in names.most_common(5))
        if self.positive is not None:
            raise DataError(f"positive: no cell is {as_name(self.positive)!r}; there are {found}")
        raise DataError(f"no cell is a yes or no (0/1, true/false, yes/no); {_what_to_write(names, found)}")

    def read(self, cell: Any) -> bool:
        """Yes or no."""
        return as_truth(cell) if self.positive is None else as_name(cell) == as_name(self.positive)

    def fit(self, values: Iterable[bool]) -> State:
        """The share of yes."""
        column = list(values)
        if not column:
            raise DataError("a binary task needs labels in the training rows, found none")
        prior = sum(column) / len(column)
        weights = weights_of(self.class_weights, ("no", "yes"), (1 - prior, prior))
        return {"prior": prior, **({} if weights is None else {"weights": weights}), **given_threshold(self.threshold)}

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
        weights = [state.get("weights") for state in states]
        start = [[logit(shifted((1 - state["prior"], state["prior"]), w)[1])] for state, w in zip(states, weights)]
        return BinaryHead(torch.tensor(start), width, weight_table(weights), self.label_smoothing)

    def metric(self, states: Sequence[State]) -> BinaryMetric:
        """`roc_auc`, `average_precision` (`None` with one class only), `accuracy`, `f1` (`None` without a yes)."""
        return BinaryMetric(states)

    @property
    def answers(self) -> YesNoAnswers:
        """What outputs say."""
        return YesNoAnswers()

    def decode(
        self, output: Tensor, states: Sequence[State], contexts: Sequence[Context | None]
    ) -> list[list[dict[str, Any]]]:
        """`{"value": True or False, "probability": of yes}`; `True` where the metric counts a yes."""
        return self.answers.decode(on_host(output), states, contexts)

    def is_right(self, said: dict[str, Any], true: bool) -> bool:
        """The same of yes and no."""
        return said["value"] == true

    def baseline(self, states: Sequence[State], target: Target) -> Tensor:
        """The training share, for every row."""
        start = [[logit(state["prior"])] for state in states]
        return repeat_rows(start, len(target["flags"]), target["flags"])

    def after_training(self, output: Tensor, target: Target, states: Sequence[State]) -> Sequence[Settled]:
        """Temperatures, and thresholds of probabilities that have them."""
        logits, flags, truth = output[..., 0].detach().double(), target["flags"], target["values"] > 0.5
        settled: Sequence[Settled] = super().after_training(output, target, states)
        if self.calibrate:
            settled = settle_temperatures(lambda beta: binary_nll(logits * beta, truth, flags), flags.sum(0))
        if self.threshold != "best_f1":
            return settled
        heat = temperatures([s.state for s in settled])
        found = [settle_threshold((logits / heat)[rows, g], truth[rows, g]) for g, rows in enumerate(flags.T)]
        return [Settled({**a.state, **b.state}, {**a.skipped, **b.skipped}) for a, b in zip(settled, found)]

    def before_settling(self, state: State) -> State:
        """A threshold that was given stays."""
        plain = super().before_settling(state)
        return {key: value for key, value in plain.items() if key != "threshold" or self.threshold != "best_f1"}

    def judge(self, output: Tensor, target: Target, states: Sequence[State]) -> Sequence[Judgement | None]:
        """Of the yes: its probability, and whether it was one."""
        logits = output[..., 0].double() / temperatures(states)
        truth = target["values"] > 0.5
        return [judge_yes(logits[rows, g], truth[rows, g]) for g, rows in enumerate(target["flags"].T)]


def _what_to_write(names: Counter[str], found: str) -> str:
    if len(names) > 2:
        return f"there are {len(names)} values: {found}; for several classes write `type: category`"
    rare = names.most_common()[-1][0]
    return f"it holds {found}: name the one that means yes, as in `{{type: binary, positive: {rare!r}}}`"


def is_truth_word(name: str) -> bool:
    """Whether it is a yes or a no."""
    return name.strip().lower() in YES | NO


def smoothed(truth: Tensor, smoothing: float) -> Tensor:
    """0 and 1, moved towards one half."""
    return truth * (1 - smoothing) + smoothing / 2


def given_threshold(threshold: float | str) -> State:
    """What a threshold adds to the state before training; one half needs no word."""
    if isinstance(threshold, str) or threshold == 0.5:
        return {}
    if not 0 < threshold < 1:
        raise ConfigError(f"threshold: {threshold} is no probability between 0 and 1")
    return {"threshold": threshold}


def temperatures(states: Sequence[State]) -> Tensor:
    """`[G]`; 1 where none was fitted."""
    return torch.tensor([state.get("temperature", 1.0) for state in states], dtype=torch.float64)


def cuts(states: Sequence[State]) -> Tensor:
    """The logits above which the answers are yes, `[G]`."""
    thresholds = torch.tensor([state.get("threshold", 0.5) for state in states], dtype=torch.float64)
    return thresholds.logit() * temperatures(states)


def is_yes(logits: Tensor, cut: Tensor) -> Tensor:
    """Where the answer is yes. Of logits, since probabilities in 32 bits cannot tell those near 0.5 or 1 apart.

    Args:
        logits: `[…, G]`.
        cut: `[G]`, see `cuts`.
    """
    return logits > cut.to(logits)


def binary_nll(logits: Tensor, truth: Tensor, flags: Tensor) -> Tensor:
    """Mean negative log-likelihood of each column over its labelled rows, all `[n, G]` → `[G]`."""
    loss = F.binary_cross_entropy_with_logits(logits, truth.to(logits), reduction="none")
    return loss.masked_fill(~flags, 0.0).sum(0) / flags.sum(0).clamp(min=1)


def judge_yes(logits: Tensor, truth: Tensor) -> Judgement | None:
    """From calibrated logits and truth, `[m]`; `None` without rows."""
    if len(truth) == 0:
        return None
    return Judgement(logits.sigmoid(), truth, float(binary_nll(logits, truth, torch.ones_like(truth))))


class BinaryMetric(Collected):
    """All tasks of a stack at once: hundreds of them are scored at every validation."""

    def scores(self, outputs: Tensor, values: Tensor, flags: Tensor) -> list[Scores | None]:
        """`outputs [n, G, 1]`, `values` and `flags [n, G]`."""
        tasks = max(1, CELLS_AT_A_TIME // len(flags))
        parts = zip(
            *(x.split(tasks, 1) for x in (outputs[..., 0], values > 0.5, flags)), cuts(self.states).split(tasks)
        )
        return [scores for part in parts for scores in stacked_binary_scores(*part)]


def stacked_binary_scores(logits: Tensor, truth: Tensor, flags: Tensor, cut: Tensor) -> list[Scores | None]:
    """Scores of each column over its labelled rows; `None` without any.

    `roc_auc` is the share of pairs of a yes and a no that the logits order rightly, ties counting half;
    `average_precision` the mean precision at each yes, as scikit-learn defines both.

    Args:
        logits: `[n, G]`.
        truth: `[n, G]` bool.
        flags: `[n, G]` bool, whether a cell has a label.
        cut: `[G]`, the logits above which the answers are yes.
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
    said = is_yes(ranked.T, cut).T.double()
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
