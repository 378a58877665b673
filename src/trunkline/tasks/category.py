"""Category: one class out of several."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from trunkline.arrays.answers import NameAnswers
from trunkline.cells import as_name
from trunkline.contexts import Context
from trunkline.errors import ConfigError, DataError
from trunkline.showing import Answer, plain_answer
from trunkline.tasks.binary import stacked_binary_scores
from trunkline.tasks.calibration import Judgement, Settled, merged, settle_refusal, settle_temperatures
from trunkline.tasks.contract import Scores, Target, Task, on_host
from trunkline.tasks.experts import product_of_experts
from trunkline.tasks.row import WeightedRowHead, repeat_rows
from trunkline.tasks.stacking import CollectedMetric, masked_sum, stack_items
from trunkline.tasks.unseen import class_number
from trunkline.tasks.weights import ClassWeights, shares_state, shifted, weight_table
from trunkline.types import State

LIFT = 100.0  # more than logits are


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


class OpenHead(CategoryHead):
    """Where a class may be unknown: logits of rows that lack an input are lifted, all of a row alike by `LIFT`.

    That changes no probability, and such a row always fits (`fitting`).
    """

    def heed_absence(self, output: Tensor, is_whole: Tensor) -> Tensor:
        """`[n, G, K]`, in full precision."""
        return output.float() + LIFT * ~is_whole.view(-1, 1, 1)


class Category(Task):
    """One class out of several (`class_name`, or a number used as a name).

    Args:
        class_weights: `balanced`, a weight for each class in order, or a mapping of some; see `weights_of`.
        label_smoothing: share of each label that is spread evenly over all classes (Szegedy et al., "Rethinking the
            inception architecture", 2016).
        calibrate: fit a temperature on the validation rows after training; it changes probabilities, no answer.
        unknown: what is said where no class fits: where the largest logit (of late fusion, log-probability) is lower
            than with all but `refuse` of the validation rows whose class is known (Hendrycks et al., "Scaling
            out-of-distribution detection for real-world settings", 2022). A label that training never saw is then
            `unknown`, and so may a class be called that training saw (silence, noise, other words), which sets no
            threshold. A row that lacks an input is less sure for another reason: it is never refused, and sets no
            threshold either. `None`: the likeliest class is said, however little it fits.
        refuse: share of the validation rows whose answer is given up for that.

    State: `{"classes": names in order, "prior": their shares}`, and what the options add: `weights`, `temperature`,
    `unknown`, `least_logit`.
    """

    primary = "accuracy"
    can_combine = True

    def __init__(
        self,
        class_weights: ClassWeights | None = None,
        label_smoothing: float = 0.0,
        *,
        calibrate: bool = True,
        unknown: str | None = None,
        refuse: float = 0.05,
    ) -> None:
        self.class_weights = class_weights
        self.label_smoothing = label_smoothing
        self.calibrate = calibrate
        self.unknown = unknown
        self.refuse = refuse

    @property
    def unseen_names(self) -> str:
        """That they are unknown, where that may be said."""
        return super().unseen_names if self.unknown is None else f"{self.unknown!r} is the right answer for them"

    @property
    def output_form(self) -> str | None:
        """When the answer is none of the classes, where it may be."""
        if self.unknown is None:
            return None
        return (
            f"[rows, tasks, K] logits, {LIFT:g} higher in rows that lack an input; where the largest but that of "
            f"{self.unknown!r} is below `least_logit` of the state, if it has one, the answer is {self.unknown!r}"
        )

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
        """Class names (in numeric order where all are numbers) and their shares.

        Raises:
            ConfigError: `refuse` is no share.
            DataError: there are fewer than two classes.
        """
        if not 0 < self.refuse < 1:
            raise ConfigError(f"category task: refuse={self.refuse:g}: more than 0 and less than 1")
        counts = Counter(values)
        if len(counts) < 2:
            raise DataError(f"a category task needs at least 2 classes in the training rows, found {sorted(counts)}")
        classes = sorted(counts, key=_natural)
        own = {} if self.unknown is None else {"unknown": self.unknown}
        return {"classes": classes, **own, **shares_state(counts, classes, self.class_weights)}

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
        head = CategoryHead if self.unknown is None else OpenHead
        return head(torch.tensor(start), width, weight_table(weights), self.label_smoothing)

    def metric(self, states: Sequence[State]) -> CollectedMetric:
        """`accuracy`, and `macro_f1` over classes that occur as target or prediction.

        A class that training never saw is always missed, and counts in both; but where `unknown` may be said, that is
        right of it, and `unknown_auc` says how well such rows are told from others by their largest logit (the area
        under the ROC curve; without rows of the class `unknown`, and those that lack an input).
        """
        return CollectedMetric(_score, states)

    @property
    def answers(self) -> NameAnswers:
        """What outputs say."""
        return NameAnswers(self.unknown)

    def decode(
        self, output: Tensor, states: Sequence[State], contexts: Sequence[Context | None]
    ) -> list[list[dict[str, Any]]]:
        """`{"value": class, "probabilities": {class: p}}`."""
        return self.answers.decode(on_host(output), states, contexts)

    def is_right(self, said: dict[str, Any], true: str) -> bool:
        """The very class; where `unknown` may be said, that of all that training never saw."""
        is_new = self.unknown is not None and true not in said["probabilities"]
        return said["value"] == (self.unknown if is_new else true)

    def show(self, said: dict[str, Any], true: str | None, state: State, of: Any) -> Answer:
        """The class; where it was given up, no probability is its own, and it is right or wrong as a whole."""
        answer = plain_answer(said, true, state)
        if self.unknown is None:
            return answer
        chances = said["probabilities"]
        is_refused = chances.get(said["value"]) != max(chances.values())
        confidence = None if is_refused else answer.confidence
        if true is None or not (is_refused or true not in chances):
            return replace(answer, confidence=confidence)
        return replace(answer, confidence=confidence, error=0.0 if self.is_right(said, true) else 1.0)

    def baseline(self, states: Sequence[State], target: Target) -> Tensor:
        """The training shares, for every row."""
        start = [log_shares(state["prior"]) for state in states]
        return repeat_rows(start, len(target["flags"]), target["flags"])

    def after_training(self, output: Tensor, target: Target, states: Sequence[State]) -> Sequence[Settled]:
        """Temperatures, and where `unknown` may be said, the logit below which it is."""
        settled = self._temperatures(output, target) if self.calibrate else [Settled() for _ in states]
        if self.unknown is None:
            return settled
        flags, values = _known(output, target)
        found = []
        for g, (one, state) in enumerate(zip(settled, states)):
            height = heights(output[:, g], state)
            found.append(
                merged(one, settle_refusal(height[flags[:, g] & tells(height, values[:, g], state)], self.refuse))
            )
        return found

    def _temperatures(self, output: Tensor, target: Target) -> list[Settled]:
        flags, values = _known(output, target)
        logits = output.detach().double()

        def loss(beta: Tensor) -> Tensor:
            logs = (beta[:, None] * logits).log_softmax(-1).gather(-1, values[..., None])[..., 0]
            return -logs.masked_fill(~flags, 0.0).sum(0) / flags.sum(0).clamp(min=1)

        return settle_temperatures(loss, flags.sum(0))

    def judge(self, output: Tensor, target: Target, states: Sequence[State]) -> Sequence[Judgement | None]:
        """Of the likeliest class, said or given up for `unknown`."""
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


def heights(logits: Tensor, state: State) -> Tensor:
    """How well the best class fits, but `unknown` if it is one: the largest logit, `[m, K]` → `[m]`."""
    own = [name == state.get("unknown") for name in state["classes"]]
    return logits.float().masked_fill(torch.tensor(own, device=logits.device), -math.inf).amax(-1)


def tells(height: Tensor, target: Tensor, state: State) -> Tensor:
    """Rows that say how well classes fit: not those of `unknown` itself, nor those that lack an input. `[m]` bool."""
    return (target != class_number(state["unknown"], state["classes"])) & (height < LIFT / 2)


def fitting(logits: Tensor, state: State) -> Tensor:
    """In which rows of `[m, K]` the likeliest class fits: all, where nothing says from where on it does. `[m]` bool."""
    return heights(logits, state) >= state.get("least_logit", -math.inf)


def _score(output: Tensor, target: Tensor, state: State) -> Scores:
    said = output.argmax(-1)
    if "unknown" not in state:
        return class_scores(said, target)
    number, is_new = class_number(state["unknown"], state["classes"]), target >= output.shape[-1]
    scores = class_scores(said.where(fitting(output, state), number), target.where(~is_new, number))
    height = heights(output, state)
    rows = tells(height, target, state)
    return {**scores, "unknown_auc": _separation(height[rows], is_new[rows]) if bool(rows.any()) else None}


def _separation(height: Tensor, is_new: Tensor) -> float | None:
    """Area under the ROC curve of what is new by how low it is, `[m]` and `[m]` bool; `None` without both kinds."""
    flags, cut = torch.ones_like(is_new).unsqueeze(1), height.new_zeros(1)
    (scores,) = stacked_binary_scores(-height.unsqueeze(1), is_new.unsqueeze(1), flags, cut)
    return None if scores is None else scores["roc_auc"]


def class_scores(said: Tensor, truth: Tensor) -> Scores:
    """`accuracy` and `macro_f1` of classes `[m]` against classes `[m]`; the mean is over those that occur in either."""
    classes, numbers = torch.cat([said, truth]).unique(return_inverse=True)
    guesses, labels = numbers.split(len(said))
    right = guesses == labels
    hits, said_so, true = (x.bincount(minlength=len(classes)).double() for x in (labels[right], guesses, labels))
    return {"accuracy": float(right.double().mean()), "macro_f1": float((2 * hits / (said_so + true)).mean())}
