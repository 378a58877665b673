"""Where what an encoder says of present rows goes in the whole batch, and what stands for absent ones.

Shape legend: `B` rows, `n` rows that have the input, `L` tokens, `D` width.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from trunkline.model.holding import Holder
from trunkline.schema import EncoderUnit
from trunkline.types import Flags, Part, Tokens


def encode(unit: EncoderUnit, encoder: nn.Module, values: dict[str, Tensor], flags: Tensor | None) -> Tokens:
    """What an encoder says of its own values; a block is told which of its cells are there."""
    return encoder(values, flags) if unit.is_block else encoder(values).named(unit.name)


def encode_part(holder: Holder, unit: EncoderUnit, encoder: nn.Module, part: Part | None) -> Tokens | None:
    """What an encoder says of the rows that have its input, if there are any."""
    if part is None:
        holder.pass_by(encoder)
        return None
    return holder.use(encoder, partial(encode, unit, encoder, part.values, part.flags))


def scatter(unit: EncoderUnit, tokens: Tokens | None, rows: Tensor | None, missing: Tensor, size: int) -> Tokens:
    """Tokens of the rows that have the input `[n, L, D]` → of all rows `[B, L, D]`.

    Args:
        unit: whose tokens they are.
        tokens: `None` where no row has it.
        rows: which rows, `[n]`; `None` for all.
        missing: stands for an absent input, `[D]`.
        size: `B`.
    """
    if tokens is None:
        return Tokens.of_rows(missing.expand(size, -1), unit.name)
    if rows is None:
        return tokens
    length = tokens.values.shape[1]
    values = missing.to(tokens.values.dtype).expand(size, length, -1).index_copy(0, rows, tokens.values)
    mask = _one_only(size, tokens).index_copy(0, rows, tokens.mask)
    return Tokens(values, mask, tokens.spans)


def fill(tokens: Tokens, present: Tensor, missing: Tensor) -> Tokens:
    """The same by `where`: tokens of all rows, those of absent ones replaced."""
    values = torch.where(present[:, None, None], tokens.values, missing.to(tokens.values.dtype))
    one = _one_only(tokens.mask.shape[0], tokens)
    here = present[:, None]
    mask = (tokens.mask & here) | (one & ~here)  # `where` on bools is unknown to ONNX Runtime
    return Tokens(values, mask, tokens.spans)


def any_present(unit: EncoderUnit, present: Flags) -> Tensor:
    """Which rows have something that this encoder reads, `[B]`."""
    return present.values[:, unit.columns].any(1)


def _one_only(size: int, tokens: Tokens) -> Tensor:
    """The mask of an absent input, `[size, L]`: one learned token, the first of the last span; nothing else.

    In a pyramid that is the coarsest grid, the one that a fusion pools.
    """
    places = torch.arange(tokens.mask.shape[1], device=tokens.mask.device)
    return (places == tokens.spans[-1].start).expand(size, -1)
