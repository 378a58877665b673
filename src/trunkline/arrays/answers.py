"""Answers about a whole row: yes or no, a name, several names, a number, a level.

Shape legend: `n` rows, `G` tasks of one head, `K` numbers about one task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trunkline.arrays.contract import Answers, State
from trunkline.cells import as_name
from trunkline.contexts import Context

Said = list[list[dict[str, Any]]]


@dataclass(frozen=True)
class YesNoAnswers(Answers):
    """Logits `[n, G, 1]` → `{"value": True or False, "probability": of yes}`; `True` where a metric counts a yes."""

    def decode(self, output: np.ndarray, states: Sequence[State], contexts: Sequence[Context | None]) -> Said:
        """See the class."""
        logits = output[..., 0].astype(np.float32)
        heat = np.array([state.get("temperature", 1.0) for state in states], np.float32)
        columns = zip(is_yes(logits, states).T.tolist(), sigmoid(logits / heat).T.tolist())
        return [[{"value": v, "probability": p} for v, p in zip(*column)] for column in columns]


@dataclass(frozen=True)
class NameAnswers(Answers):
    """Logits `[n, G, K]` → `{"value": class, "probabilities": {class: p}}`; `unknown`: what is said where none fits."""

    unknown: str | None = None

    def decode(self, output: np.ndarray, states: Sequence[State], contexts: Sequence[Context | None]) -> Said:
        """See the class."""
        return [self._of_task(output[:, place].astype(np.float32), state) for place, state in enumerate(states)]

    def _of_task(self, logits: np.ndarray, state: State) -> list[dict[str, Any]]:
        classes = state["classes"]
        rows = softmax(logits / np.float32(state.get("temperature", 1.0)))
        fits = heights(logits, state) >= state.get("least_logit", -np.inf)
        return [
            {
                "value": classes[row.index(max(row))] if fit else self.unknown,
                "probabilities": dict(zip(classes, row)),
            }
            for row, fit in zip(rows.tolist(), fits.tolist())
        ]


@dataclass(frozen=True)
class LabelAnswers(Answers):
    """Logits `[n, 1, K]` → `{"value": names whose p is over the threshold, "probabilities": {name: p}}`."""

    def decode(self, output: np.ndarray, states: Sequence[State], contexts: Sequence[Context | None]) -> Said:
        """See the class."""
        (state,) = states
        classes, logits = state["classes"], output[:, 0].astype(np.float32)
        probabilities = sigmoid(logits / np.float32(state.get("temperature", 1.0))).tolist()
        return [
            [
                {"value": [c for c, yes in zip(classes, said) if yes], "probabilities": dict(zip(classes, row))}
                for said, row in zip(is_yes(logits, per_name(state)).tolist(), probabilities)
            ]
        ]


@dataclass(frozen=True)
class NumberAnswers(Answers):
    """`[n, G, 1]` → `{"value": number}` in the column's units."""

    def decode(self, output: np.ndarray, states: Sequence[State], contexts: Sequence[Context | None]) -> Said:
        """See the class."""
        columns = output[..., 0].astype(np.float64).T
        return [
            [{"value": value} for value in in_units(column, state).tolist()] for column, state in zip(columns, states)
        ]


@dataclass(frozen=True)
class LevelAnswers(Answers):
    """Conditional logits `[n, G, K − 1]` → `{"value": level, "probabilities": {level: p}, "expected": number}`.

    The value is the median level, which has the least expected distance. `expected` is in the numbers' units; where
    levels are names, a place.
    """

    def decode(self, output: np.ndarray, states: Sequence[State], contexts: Sequence[Context | None]) -> Said:
        """See the class."""
        return [self._of_task(output[:, place].astype(np.float64), state) for place, state in enumerate(states)]

    def _of_task(self, logits: np.ndarray, state: State) -> list[dict[str, Any]]:
        logits = logits / state.get("temperature", 1.0)
        passed = np.cumsum(log_sigmoid(logits), -1)  # log P(y > k)
        probabilities = np.exp(np.pad(passed, ((0, 0), (1, 0))) + np.pad(log_sigmoid(-logits), ((0, 0), (0, 1))))
        levels = state["levels"]
        is_numeric = all(isinstance(level, (int, float)) for level in levels)
        units = np.array(levels if is_numeric else range(len(levels)), np.float64)
        places, names = (np.exp(passed) > 0.5).sum(-1), [as_name(level) for level in levels]
        return [
            {"value": levels[place], "probabilities": dict(zip(names, row)), "expected": mean}
            for place, row, mean in zip(places.tolist(), probabilities.tolist(), (probabilities @ units).tolist())
        ]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """`1 / (1 + exp(−x))`."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


def log_sigmoid(x: np.ndarray) -> np.ndarray:
    """Its logarithm."""
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


def softmax(x: np.ndarray) -> np.ndarray:
    """Over the last dimension."""
    raised = np.exp(x - x.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def heights(logits: np.ndarray, state: State) -> np.ndarray:
    """How well the best class fits, but `unknown` if it is one: the largest logit, `[n, K]` → `[n]`."""
    own = np.array([name == state.get("unknown") for name in state["classes"]])
    return np.where(own, -np.inf, logits).max(-1)


def is_yes(logits: np.ndarray, states: Sequence[State]) -> np.ndarray:
    """Where the answer is yes, `[n, G]`.

    Of logits, since probabilities in 32 bits cannot tell those near 0.5 or 1 apart.
    """
    thresholds = np.array([state.get("threshold", 0.5) for state in states], np.float64)
    heat = np.array([state.get("temperature", 1.0) for state in states], np.float64)
    with np.errstate(divide="ignore"):
        cuts = (np.log(thresholds) - np.log1p(-thresholds)) * heat
    return logits > cuts.astype(logits.dtype)


def per_name(state: State) -> list[State]:
    """Temperature and threshold of each name of a `labels` task, as if it were a binary task."""
    shared = {"temperature": state.get("temperature", 1.0), "threshold": state.get("threshold", 0.5)}
    return [{**shared, "threshold": t} for t in state.get("thresholds", [shared["threshold"]] * len(state["classes"]))]


def in_units(values: np.ndarray, state: State) -> np.ndarray:
    """As it is learned → in the column's units; what comes from a logarithm stays within the training range."""
    learned = values * state["std"] + state["mean"]
    if "unit" not in state:
        return learned
    learned = np.clip(learned, *state["limits"])
    return np.sign(learned) * state["unit"] * np.expm1(np.abs(learned))
