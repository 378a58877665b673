"""Number: regression on one value."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn import functional as F

from trunkline.arrays.answers import NumberAnswers
from trunkline.cells import mean_and_scale, numbers_of, read_number
from trunkline.contexts import Context
from trunkline.errors import DataError
from trunkline.tasks.contract import Scores, Target, Task, on_host
from trunkline.tasks.experts import GaussianExperts
from trunkline.tasks.row import RowHead, repeat_rows
from trunkline.tasks.scales import (
    Loss,
    Scale,
    choose_scale_and_loss,
    in_units,
    robust_std,
    scaled,
    squeeze,
    unit_of,
)
from trunkline.tasks.stacking import CollectedMetric, masked_sum, stack_items
from trunkline.types import Choices, State


class NumberHead(RowHead):
    """Scaled values `[n, G, 1]`.

    Args:
        first_guess: `[G, 1]`.
        width: `D`.
        error: of scaled values; Huber's is squared up to 1 and goes on as a line.
    """

    def __init__(self, first_guess: Tensor, width: int, error: Loss) -> None:
        super().__init__(first_guess, width)
        self.error = error
        self.experts: GaussianExperts | None = None

    def loss(self, output: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """Error of scaled values; one row, one count."""
        flags = target["flags"]
        values = target["values"].masked_fill(~flags, 0.0)
        said = output[..., 0].to(values.dtype)
        if self.error == "squared":
            return masked_sum((said - values).square(), flags)
        if self.error == "huber":
            return masked_sum(2 * F.huber_loss(said, values, reduction="none"), flags)
        return masked_sum((said - values).abs(), flags)

    def expect_experts(self, number: int, *, joint: bool = False) -> None:
        """A precision for each, where none of them knows all."""
        self.experts = None if joint else GaussianExperts(number, self.linear.tasks)

    def combine(self, outputs: Tensor, present: Tensor) -> Tensor:
        """The mean of the product of normal distributions; or what the joint expert says, and without it the one.

        Effects of inputs that add up are known to none of them alone, and a weighted mean of guesses is no sum.
        """
        if self.experts is not None:
            return self.experts(outputs, present)
        counts = torch.cat([present[:-1] & ~present[-1:], present[-1:]])[..., None, None]
        return torch.where(counts, outputs, torch.zeros_like(outputs)).sum(0)


class Number(Task):
    """A number, learned on a scale of its own and reported in its own units.

    Args:
        decimal: read texts as people write numbers, with this sign before the decimals: `$1,200.50`, `1.200,50 €`,
            `12 kg`. By default a text is a plain number.
        scale: what is learned. `standard`: distances from the mean in standard deviations; `robust`: from the median,
            in units of the middle half, which outliers do not move; `log`: the standardised logarithm, for values over
            several magnitudes. By default chosen from the training labels.
        loss: `squared`, `huber` (outliers pull with limited force) or `absolute` error on that scale. By default
            chosen from the training labels.

    State: `{"mean", "std"}` of what is learned; with `log` also `unit` (see `squeeze`) and `limits`, beyond which no
    prediction goes; with `robust` and `log` also `average`, the mean in the column's units.
    """

    primary = "r2"
    can_combine = True

    def __init__(
        self,
        decimal: Literal[".", ","] | None = None,
        *,
        scale: Scale | None = None,
        loss: Loss | None = None,
    ) -> None:
        self.decimal = decimal
        self.scale = scale
        self.loss = loss

    def choose(self, values: Sequence[float]) -> Choices:
        """A scale and an error that the labels' tails allow."""
        if not values:
            return {}
        return choose_scale_and_loss(np.asarray(values, dtype=np.float64), self.scale)

    def read(self, cell: Any) -> float:
        """A finite number."""
        return read_number(cell, self.decimal)

    def read_many(self, cells: pa.Array) -> Sequence[float] | None:
        """All of them, where each is a plain number."""
        return None if self.decimal is not None else numbers_of(cells)

    def fit(self, values: Iterable[float]) -> State:
        """Centre and spread of what is learned (1 for a constant)."""
        column = np.fromiter(values, dtype=np.float64)
        if not len(column):
            raise DataError("a number task needs labels in the training rows, found none")
        if self.scale == "log":
            unit = unit_of(column)
            squeezed = squeeze(column, unit)
            mean, std = mean_and_scale(squeezed)
            limits = [float(squeezed.min()), float(squeezed.max())]
            return {"mean": mean, "std": std, "unit": unit, "limits": limits, "average": float(column.mean())}
        if self.scale == "robust":
            return {"mean": float(np.median(column)), "std": robust_std(column), "average": float(column.mean())}
        mean, std = mean_and_scale(column)
        return {"mean": mean, "std": std}

    def prepare(self, value: float, state: State, context: Context | None) -> float:
        """Scaled."""
        return scaled(value, state)

    def collate(self, items: Sequence[Sequence[float | None]]) -> Target:
        """`values [n, G] float, flags [n, G]`."""
        return stack_items(items, torch.float32)

    def stack_key(self, state: State) -> Hashable:
        """All alike."""
        return "number"

    def build(self, states: Sequence[State], width: int) -> NumberHead:
        """One linear layer; starts at the centre of the scale."""
        return NumberHead(torch.zeros(len(states), 1), width, self.loss or "squared")

    def metric(self, states: Sequence[State]) -> CollectedMetric:
        """`mae`, `rmse` in the column's units; `r2` (`None` where the targets are all equal)."""
        return CollectedMetric(_score, states)

    @property
    def answers(self) -> NumberAnswers:
        """What outputs say."""
        return NumberAnswers()

    def decode(
        self, output: Tensor, states: Sequence[State], contexts: Sequence[Context | None]
    ) -> list[list[dict[str, Any]]]:
        """`{"value": number}` in the column's units."""
        return self.answers.decode(on_host(output), states, contexts)

    def baseline(self, states: Sequence[State], target: Target) -> Tensor:
        """The training mean, for every row."""
        start = [[scaled(state["average"], state) if "average" in state else 0.0] for state in states]
        return repeat_rows(start, len(target["flags"]), target["flags"])


def _score(output: Tensor, target: Tensor, state: State) -> Scores:
    truth = in_units(target.double(), state, is_limited=False)
    error = in_units(output[:, 0].double(), state) - truth
    spread = (truth - truth.mean()).square().sum()
    return {
        "mae": float(error.abs().mean()),
        "rmse": float(error.square().mean().sqrt()),
        "r2": float(1 - error.square().sum() / spread) if float(spread) > 0 else None,
    }
