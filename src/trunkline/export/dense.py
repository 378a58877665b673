"""The network without gather and scatter: plain tensors in, plain tensors out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from trunkline.export.choosing import choices
from trunkline.export.steps import reading
from trunkline.model import Network
from trunkline.schema import HeadUnit
from trunkline.tasks.text_head import TextHead
from trunkline.types import Batch, Flags


class DenseNetwork(nn.Module):
    """Every encoder runs on every row; `present` says which results count.

    Args:
        network: trained.
        heads: which of its heads to keep.
    """

    def __init__(self, network: Network, heads: Sequence[HeadUnit]) -> None:
        super().__init__()
        self.network = network
        self.heads = tuple(heads)
        self.choices = choices(network.preprocessing, heads)

    def forward(
        self,
        present: Tensor,
        values: dict[str, dict[str, Tensor]],
        sources: dict[str, dict[str, Tensor]] | None = None,
        insides: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor | dict[str, Tensor]]:
        """Everything about `B` rows.

        Args:
            present: `[B, inputs]` bool.
            values: by encoder.
            sources: by head that copies, see `Batch.sources`; `None` where none does.
            insides: by head that says boxes, the part of what the encoder saw that is picture, `[B, 4]`, where it
                differs from row to row; `None` where it nowhere does.

        Returns:
            By head, `[B, …]`; of one that writes texts what its steps need to know (see `steps.reading`); of one that
            says boxes all it says, under no name, and what `choosing.choose` leaves of it.
        """
        names = self.network.preprocessing.inputs
        flags = Flags(names, present)
        shared = self.network.share_dense(values, flags)
        outputs: dict[str, Tensor | dict[str, Tensor]] = {}
        for unit, head in self.network.units():
            if unit in self.heads and isinstance(head, TextHead):
                outputs[unit.name] = reading(head, self.network.view(unit, shared, None, sources or {}))
            elif unit in self.heads:
                said = self.network.output(unit, head, shared, None, flags, {})
                choice = self.choices.get(unit.name)
                told = (insides or {}).get(unit.name)
                outputs[unit.name] = said if choice is None else {"": said, **choice.made(said, flags, told)}
        return outputs


def dense_values(batch: Batch) -> dict[str, dict[str, Tensor]]:
    """The batch's values for all rows; zeros where an input is absent."""

    def spread(value: Tensor, rows: Tensor | None) -> Tensor:
        if rows is None:
            return value
        return value.new_zeros(batch.size, *value.shape[1:]).index_copy(0, rows, value)

    return {
        name: {key: spread(value, part.rows) for key, value in part.values.items()}
        for name, part in batch.inputs.items()
    }


def flatten(values: Mapping[str, Mapping[str, Tensor]], prefix: str = "") -> dict[str, Tensor]:
    """`{"photo": {"pixels": …}}` → `{"photo.pixels": …}`: the names of the exported graph's inputs."""
    return {f"{prefix}{name}.{key}": value for name, its in values.items() for key, value in its.items()}


def bound_rows(batch: Batch, of: str | None) -> Tensor:
    """The rows about which a head that is bound to `of` says something."""
    part = None if of is None else batch.inputs.get(of)
    rows = None if part is None else part.rows
    return torch.arange(batch.size) if rows is None else rows
