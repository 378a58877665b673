"""The table block: all numbers and categories of a row, encoded together in a few matrix products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trunkline.arrays.table import pack
from trunkline.modalities.contract import Block, Bound
from trunkline.modalities.curves import Curves
from trunkline.types import Span, Tokens

MAX_TOKENS = 32
UNKNOWN = 0.02  # share of the known names that training takes for unknown


class TableBlock(Block):
    """Numbers and categories → one token an input, or one in all when there are more than `MAX_TOKENS` inputs.

    The token of a number lies on a curve (see `Curves`), that of a category is its embedding. An absent cell has a
    learned token that starts where a number's line is at its mean, so that an input which training never missed can
    still be missed later.
    An unknown name has an embedding too, one a column, that starts at zero; training takes a few of the known names
    for unknown, so that it learns what to expect of a name it has not seen. A column that had no value in training is
    taken for absent ever after: nothing is known about its values.
    """

    known: Tensor
    numbers: Tensor
    categories: Tensor
    offsets: Tensor

    def __init__(self, inputs: Bound, width: int) -> None:
        super().__init__(inputs, width)
        sizes = [len(state["values"]) + 1 if "values" in state else 0 for _, state in inputs.values()]
        numbers = [i for i, size in enumerate(sizes) if size == 0]
        categories = [i for i, size in enumerate(sizes) if size > 0]
        offsets = torch.tensor([0, *(sizes[i] for i in categories)]).cumsum(0)
        known = [bool(state.get("values", state)) for _, state in inputs.values()]
        self.all_known = all(known)
        self.register_buffer("known", torch.tensor(known), persistent=False)
        self.register_buffer("numbers", torch.tensor(numbers, dtype=torch.long), persistent=False)
        self.register_buffer("categories", torch.tensor(categories, dtype=torch.long), persistent=False)
        self.register_buffer("offsets", offsets[:-1], persistent=False)
        states = [state for i, (_, state) in enumerate(inputs.values()) if i in set(numbers)]
        self.curves = Curves(states, width, inputs=len(inputs))
        self.bias = nn.Parameter(torch.zeros(len(inputs) if len(inputs) <= MAX_TOKENS else 1, width))
        self.missing = nn.Parameter(torch.zeros(len(inputs), width))
        # A matrix, not an `nn.Embedding`: it has weight decay, which a name seen in few rows needs most.
        self.name_weight = nn.Parameter(torch.randn(int(offsets[-1]), width) * max(len(inputs), 1) ** -0.5)
        with torch.no_grad():
            self.name_weight[self.offsets] = 0.0

    @classmethod
    def pack(cls, inputs: Bound, items: Mapping[str, Sequence[Any]]) -> dict[str, Tensor]:
        """`{"numbers": [n, P] float, "categories": [n, C] long}`, 0 where absent."""
        packed = pack({name: state for name, (_, state) in inputs.items()}, items)
        return {name: torch.from_numpy(value) for name, value in packed.items()}

    def forward(self, values: dict[str, Tensor], flags: Tensor | None) -> Tokens:
        numbers, categories = values["numbers"], values["categories"]
        if not self.all_known:
            flags = self.known.expand(numbers.shape[0], -1) if flags is None else flags & self.known
        if self.training and categories.shape[1]:
            unknown = torch.rand(categories.shape, device=categories.device) < UNKNOWN
            categories = categories.masked_fill(unknown, 0)
        if flags is not None:
            numbers = numbers.masked_fill(~flags[:, self.numbers], 0.0)
            categories = categories.masked_fill(~flags[:, self.categories], 0)
        if len(self.inputs) <= MAX_TOKENS:
            return self._one_each(numbers, categories, flags)
        return self._pooled(numbers, categories, flags)

    def _one_each(self, numbers: Tensor, categories: Tensor, flags: Tensor | None) -> Tokens:
        """Tokens `[n, k, D]`."""
        parts = [self.curves.tokens(numbers), self._names(categories)]
        order = torch.cat([self.numbers, self.categories]).argsort()
        tokens = torch.cat([part for part in parts if part.shape[1]], 1)[:, order] + self.bias
        if flags is not None:
            tokens = torch.where(flags.unsqueeze(-1), tokens, (self.bias + self.missing).to(tokens.dtype))
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        spans = tuple(Span(name, i, i + 1, "set", (1,)) for i, name in enumerate(self.inputs))
        return Tokens(tokens, mask, spans)

    def _pooled(self, numbers: Tensor, categories: Tensor, flags: Tensor | None) -> Tokens:
        """One token `[n, 1, D]`: the sum over inputs, as few matrix products for numbers and absences."""
        total = self.bias[0] + self.curves.total(numbers, None if flags is None else flags[:, self.numbers])
        if categories.shape[1]:
            embedded = self._names(categories)
            if flags is not None:
                embedded = embedded.masked_fill(~flags[:, self.categories].unsqueeze(-1), 0.0)
            total = total + embedded.sum(1)
        if flags is not None:
            total = total + (~flags).to(total.dtype) @ self.missing
        return Tokens.of_rows(total, self.inputs[0])

    def _names(self, categories: Tensor) -> Tensor:
        """Embeddings `[n, C, D]`."""
        return nn.functional.embedding(categories + self.offsets, self.name_weight)
