"""Number: regression on one value."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Literal

import pyarrow as pa
import torch
from torch import Tensor

from trunkline.cells import mean_and_scale, numbers_of, read_number
from trunkline.errors import DataError
from trunkline.tasks.contract import CollectedMetric, Scores, Target, Task, masked_sum, stack_items
from trunkline.tasks.experts import GaussianExperts
from trunkline.tasks.row import RowHead, repeat_rows
from trunkline.types import Context, State


class NumberHead(RowHead):
    """Standardised values `[n, G, 1]`."""

    def loss(self, output: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """Squared error of standardised values; one row, one count."""
        flags = target["flags"]
        values = target["values"].masked_fill(~flags, 0.0)
        return masked_sum((output[..., 0].to(values.dtype) - values).square(), flags)

    experts: GaussianExperts

    def expect_experts(self, number: int) -> None:
        """A precision for each."""
        self.experts = GaussianExperts(number, self.linear.tasks)

    def combine(self, outputs: Tensor, present: Tensor) -> Tensor:
        """The mean of the product of normal distributions."""
        return self.experts(outputs, present)


class Number(Task):
    """A number, learned on the scale of the training split's standard deviation and reported in its own units.

    Args:
        decimal: read texts as people write numbers, with this sign before the decimals: `$1,200.50`, `1.200,50 €`,
            `12 kg`. By default a text is a plain number.

    State: `{"mean", "std"}`.
    """

    primary = "r2"
    can_combine = True

    def __init__(self, decimal: Literal[".", ","] | None = None) -> None:
        self.decimal = decimal

    def read(self, cell: Any) -> float:
        """A finite number."""
        return read_number(cell, self.decimal)

    def read_many(self, cells: pa.Array) -> Sequence[float] | None:
        """All of them, where each is a plain number."""
        return None if self.decimal is not None else numbers_of(cells)

    def fit(self, values: Iterable[float]) -> State:
        """Mean and standard deviation (1 for a constant)."""
        column = list(values)
        if not column:
            raise DataError("a number task needs labels in the training rows, found none")
        mean, std = mean_and_scale(column)
        return {"mean": mean, "std": std}

    def prepare(self, value: float, state: State, context: Context | None) -> float:
        """Standardised."""
        return (value - state["mean"]) / state["std"]

    def collate(self, items: Sequence[Sequence[float | None]]) -> Target:
        """`values [n, G] float, flags [n, G]`."""
        return stack_items(items, torch.float32)

    def stack_key(self, state: State) -> Hashable:
        """All alike."""
        return "number"

    def build(self, states: Sequence[State], width: int) -> NumberHead:
        """One linear layer; starts at the mean."""
        return NumberHead(torch.zeros(len(states), 1), width)

    def metric(self, states: Sequence[State]) -> CollectedMetric:
        """`mae`, `rmse` in the column's units; `r2` (`None` where the targets are all equal)."""
        return CollectedMetric(_score, states)

    def decode(
        self, output: Tensor, states: Sequence[State], contexts: Sequence[Context | None]
    ) -> list[list[dict[str, Any]]]:
        """`{"value": number}` in the column's units."""
        columns = output[..., 0].double().T
        return [
            [{"value": value} for value in (column * state["std"] + state["mean"]).tolist()]
            for column, state in zip(columns, states)
        ]

    def baseline(self, states: Sequence[State], target: Target) -> Tensor:
        """The training mean, for every row."""
        return repeat_rows([[0.0]] * len(states), len(target["flags"]), target["flags"])


def _score(output: Tensor, target: Tensor, state: State) -> Scores:
    error = (output[:, 0].double() - target.double()) * state["std"]
    spread = (target.double() - target.double().mean()).square().sum() * state["std"] ** 2
    return {
        "mae": float(error.abs().mean()),
        "rmse": float(error.square().mean().sqrt()),
        "r2": float(1 - error.square().sum() / spread) if float(spread) > 0 else None,
    }
