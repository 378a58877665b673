"""Ordinal: one level of a scale whose levels have an order.

Shape legend: `n` rows, `G` tasks, `K` levels; a place is a level's number from 0, between two levels a fraction.
"""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from trunkline.arrays.answers import LevelAnswers
from trunkline.cells import as_name, as_number
from trunkline.contexts import Context
from trunkline.errors import ConfigError, DataError, suggest
from trunkline.tasks.calibration import Judgement, Settled, settle_temperatures
from trunkline.tasks.category import class_weight
from trunkline.tasks.contract import Scores, Target, Task, on_host
from trunkline.tasks.experts import product_of_experts
from trunkline.tasks.row import WeightedRowHead, logit, repeat_rows
from trunkline.tasks.stacking import CollectedMetric, masked_sum, stack_items
from trunkline.tasks.weights import ClassWeights, shares_state, shifted, weight_table
from trunkline.types import State

MOST_LEVELS = 100


class OrdinalHead(WeightedRowHead):
    """Logits `[n, G, K − 1]` of "higher than level k, given at least level k".

    These are CORN's conditional tasks (Shi, Cao and Raschka, "Deep neural networks for rank-consistent ordinal
    regression based on conditional probabilities", 2021): `P(y > k) = ∏ⱼ≤ₖ fⱼ` cannot rise with k. Summed over a row,
    their losses (equation 5) are the row's negative log-likelihood.

    Args:
        first_guess: `[G, K − 1]`.
        width: `D`.
        weights: of levels, `[G, K]`.
        smoothing: share of each label that is spread evenly over all levels.
    """

    def loss(self, output: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """Negative log-likelihood; one row counts as much as its level weighs, 1 by default.

        A number between or beyond the levels has no likelihood: it is left out.
        """
        flags, levels = _known(output, target)
        logs = log_probabilities(output)
        loss = -logs.gather(-1, levels[..., None])[..., 0]
        if self.smoothing:
            loss = (1 - self.smoothing) * loss - self.smoothing * logs.mean(-1)
        return masked_sum(loss, flags, class_weight(self.weights, levels))

    def combine(self, outputs: Tensor, present: Tensor) -> Tensor:
        """The product of what each input says of the levels, with their shares counted once."""
        joined = product_of_experts(log_probabilities(outputs), log_probabilities(self.first_guess), present)
        return conditional_logits(joined)


class Ordinal(Task):
    """One level of a scale: numbers in order, or names whose order `levels` gives.

    Args:
        levels: from the lowest to the highest. By default the numbers that occur in the training rows.
        class_weights: `balanced`, a weight for each level in order, or a mapping of some; see `weights_of`.
        label_smoothing: share of each label that is spread evenly over all levels.
        calibrate: fit a temperature on the validation rows after training.

    State: `{"levels": numbers or names in order, "prior": their shares}`, and what the options add: `weights`,
    `temperature`.
    """

    primary = "quadratic_kappa"
    can_combine = True

    def __init__(
        self,
        levels: Sequence[str | int | float] | None = None,
        *,
        class_weights: ClassWeights | None = None,
        label_smoothing: float = 0.0,
        calibrate: bool = True,
    ) -> None:
        self.levels = levels
        self.class_weights = class_weights
        self.label_smoothing = label_smoothing
        self.calibrate = calibrate

    def read(self, cell: Any) -> float | str:
        """A number; the level's name where they are given."""
        if self.levels is None:
            return as_number(cell)
        name, known = as_name(cell), [as_name(level) for level in self.levels]
        if name not in known:
            raise DataError(f"{name!r} is not one of the levels.{suggest(name, known)}")
        return name

    def names(self, value: float | str) -> Iterable[str]:
        """The level."""
        return (as_name(value),)

    def known_names(self, state: State) -> Collection[str]:
        """The levels."""
        return [as_name(level) for level in state["levels"]]

    def fit(self, values: Iterable[float | str]) -> State:
        """Levels and their shares."""
        counts = Counter(as_name(value) for value in values)
        if not counts:
            raise DataError("an ordinal task needs labels in the training rows, found none")
        levels = sorted(map(_whole, counts)) if self.levels is None else list(self.levels)
        names = [as_name(level) for level in levels]
        if len(set(names)) != len(names):
            raise ConfigError(f"levels: {', '.join(names)} holds a level twice")
        if len(levels) < 2:
            raise DataError(f"an ordinal task needs at least 2 levels, found {names}")
        if len(levels) > MOST_LEVELS:
            raise DataError(f"{len(levels)} different numbers are too many levels (at most {MOST_LEVELS}); "
                            "write `type: number`, or name the `levels`")  # fmt: skip
        return {"levels": levels, **shares_state(counts, names, self.class_weights)}

    def prepare(self, value: float | str, state: State, context: Context | None) -> float:
        """The level's place; a number that training never saw lies between its neighbours, or beyond the last."""
        return place_of(value, state["levels"])

    def collate(self, items: Sequence[Sequence[float | None]]) -> Target:
        """`values [n, G] float, flags [n, G]`."""
        return stack_items(items, torch.float32)

    def stack_key(self, state: State) -> Hashable:
        """As many levels."""
        return len(state["levels"])

    def build(self, states: Sequence[State], width: int) -> OrdinalHead:
        """One linear layer; starts at the levels' shares."""
        weights = [state.get("weights") for state in states]
        start = [logits_of(shifted(state["prior"], w)) for state, w in zip(states, weights)]
        return OrdinalHead(torch.tensor(start), width, weight_table(weights), self.label_smoothing)

    def metric(self, states: Sequence[State]) -> CollectedMetric:
        """`mae` (in the numbers' units; by places where levels are names), `accuracy`, `quadratic_kappa` (of places).

        A number that training never saw counts with its distance, and as wrong in the accuracy. The kappa of a
        constant answer is 0; it is `None` where neither answers nor labels differ.
        """
        return CollectedMetric(_score, states)

    @property
    def answers(self) -> LevelAnswers:
        """What outputs say."""
        return LevelAnswers()

    def decode(
        self, output: Tensor, states: Sequence[State], contexts: Sequence[Context | None]
    ) -> list[list[dict[str, Any]]]:
        """`{"value": level, "probabilities": {level: p}, "expected": number}`.

        The value is the median level, which has the least expected distance. `expected` is in the numbers' units; where
        levels are names, a place.
        """
        return self.answers.decode(on_host(output), states, contexts)

    def baseline(self, states: Sequence[State], target: Target) -> Tensor:
        """The training shares, for every row: their median is the constant with the least mean distance."""
        return repeat_rows([logits_of(s["prior"]) for s in states], len(target["flags"]), target["flags"])

    def after_training(self, output: Tensor, target: Target, states: Sequence[State]) -> Sequence[Settled]:
        """Temperatures."""
        if not self.calibrate:
            return super().after_training(output, target, states)
        flags, levels = _known(output, target)
        logits = output.detach().double()

        def loss(beta: Tensor) -> Tensor:
            logs = log_probabilities(beta[:, None] * logits).gather(-1, levels[..., None])[..., 0]
            return -logs.masked_fill(~flags, 0.0).sum(0) / flags.sum(0).clamp(min=1)

        return settle_temperatures(loss, flags.sum(0))

    def judge(self, output: Tensor, target: Target, states: Sequence[State]) -> Sequence[Judgement | None]:
        """Of the level that is said."""
        flags, levels = _known(output, target)
        return [_judge(output[rows, g], levels[rows, g], s) for g, (s, rows) in enumerate(zip(states, flags.T))]


def log_probabilities(logits: Tensor) -> Tensor:
    """Of each level, from conditional logits: `[…, K − 1] → […, K]`."""
    higher = F.pad(F.logsigmoid(logits).cumsum(-1), (1, 0))  # log P(y ≥ k)
    return higher + F.pad(F.logsigmoid(-logits), (0, 1))


def conditional_logits(logs: Tensor) -> Tensor:
    """Back from logarithms of probabilities, normalised or not: `[…, K] → […, K − 1]`."""
    places = torch.arange(logs.shape[-1], device=logs.device)
    beyond = places > places[:-1, None]  # [K − 1, K]
    return logs.unsqueeze(-2).masked_fill(~beyond, -torch.inf).logsumexp(-1) - logs[..., :-1]


def median_places(logits: Tensor) -> Tensor:
    """How many levels are more likely passed than not: `[…, K − 1] → […]` (CORN's rank)."""
    return (F.logsigmoid(logits).cumsum(-1).exp() > 0.5).sum(-1)


def logits_of(shares: Sequence[float]) -> list[float]:
    """The conditional logits that say these shares."""
    at_least = [sum(shares[k:]) for k in range(len(shares))]
    return [logit(above / here if here > 0 else 0.5) for here, above in pairwise(at_least)]


def place_of(value: float | str, levels: Sequence[float | str]) -> float:
    """A level's place. A number that is no level lies between two, or beyond the ends by the nearest step.

    Example:
        >>> [place_of(x, [1, 2, 4]) for x in (2, 3, 5, 0)]
        [1.0, 1.5, 2.5, -1.0]
    """
    if isinstance(value, str):
        return float([as_name(level) for level in levels].index(value))
    if value in levels:
        return float(levels.index(value))
    numbers = [float(level) for level in levels]
    below = min(max(bisect(numbers, float(value)) - 1, 0), len(numbers) - 2)
    return below + (float(value) - numbers[below]) / (numbers[below + 1] - numbers[below])


def quadratic_kappa(said: Tensor, truth: Tensor) -> float | None:
    """Cohen's kappa with quadratic weights (Cohen 1968) of places `[m]` against places `[m]`.

    One minus the mean squared distance over that of independent answers with the same frequencies, which are moments:
    no table of pairs is needed.
    """
    by_chance = said.var(correction=0) + truth.var(correction=0) + (said.mean() - truth.mean()).square()
    return float(1 - (said - truth).square().mean() / by_chance) if float(by_chance) > 0 else None


def _score(output: Tensor, target: Tensor, state: State) -> Scores:
    said = median_places(output.double() / state.get("temperature", 1.0)).double()
    truth, units = target.double(), _units(state)
    return {
        "mae": float((_at(said, units) - _at(truth, units)).abs().mean()),
        "accuracy": float((said == truth).double().mean()),
        "quadratic_kappa": quadratic_kappa(said, truth),
    }


def _at(places: Tensor, units: Tensor) -> Tensor:
    """Places → the levels' units, also between and beyond levels."""
    units = units.to(places)
    below = places.floor().long().clamp(0, len(units) - 2)
    return units[below] + (places - below) * (units[below + 1] - units[below])


def _units(state: State) -> Tensor:
    """What the levels count: themselves where all are numbers, else their places. `[K]` float64."""
    levels = state["levels"]
    is_numeric = all(isinstance(level, (int, float)) for level in levels)
    return torch.tensor(levels if is_numeric else range(len(levels)), dtype=torch.float64)


def _known(output: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """Which labels are levels, and their places (0 elsewhere)."""
    values = target["values"].masked_fill(~target["flags"], 0.0)
    flags = target["flags"] & (values == values.round()) & (values >= 0) & (values <= output.shape[-1])
    return flags, values.masked_fill(~flags, 0.0).long()


def _judge(output: Tensor, levels: Tensor, state: State) -> Judgement | None:
    if len(levels) == 0:
        return None
    logits = output.double() / state.get("temperature", 1.0)
    logs, said = log_probabilities(logits), median_places(logits)
    confidence = logs.gather(-1, said[:, None])[:, 0].exp()
    return Judgement(confidence, said == levels, float(-logs.gather(-1, levels[:, None]).mean()))


def _whole(name: str) -> float:
    """A number from its name, whole where it is."""
    number = float(name)
    return int(number) if number.is_integer() else number
