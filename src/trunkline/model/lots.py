"""Lots: rows of a batch that have the same inputs go through fusion and trunk together.

Where tables have no input in common, a batch of all of them is mostly holes. What is kept of a picture is a thousand
tokens, and in one tensor with all other rows each of those would have a thousand tokens that nobody reads, through
every shared layer and every task's view.

Shape legend: `B` rows of a batch, `m` rows of a lot, `L` tokens, `D` width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from trunkline.model.placing import scatter
from trunkline.schema import EncoderUnit
from trunkline.trunks import Taps
from trunkline.types import Part, Tokens

# Tokens that take as long as one more pass through fusion and trunk: a guess. On a CPU 64 and 1 024 were as fast.
WORTH = {"cpu": 256, "cuda": 16_384}


@dataclass(frozen=True)
class Lot:
    """What tasks read of some rows of a batch.

    Attributes:
        taps: of the trunk, `m` rows each.
        rows: which rows of the batch, `[m]`, on the host; `None`: all of them, in order.
    """

    taps: Taps
    rows: np.ndarray | None = None

    def with_values(self, values: Sequence[Tensor]) -> Lot:
        """The same rows with other values."""
        return replace(self, taps=tuple(tap.with_values(own) for tap, own in zip(self.taps, values, strict=True)))


Shared = tuple[Lot, ...]  # of all rows of a batch, each in one of them


def divide(present: np.ndarray, lengths: Sequence[int], worth: int) -> list[np.ndarray] | None:
    """Rows with the same inputs, as far as that spares tokens.

    Args:
        present: which row has which encoder's inputs, `[B, encoders]` bool.
        lengths: tokens that each encoder makes of a row, `[encoders]`.
        worth: tokens that must be spared by one lot more.

    Returns:
        The rows of each lot, in order; `None` where all rows are best taken together.
    """
    kinds, whose = np.unique(present, axis=0, return_inverse=True)
    counts = np.bincount(whose.ravel()).astype(np.int64)
    lots = [[kind] for kind in range(len(kinds))]
    while len(lots) > 1:
        union = kinds[:, None] | kinds  # [lots, lots, encoders]
        cost = (1 + union @ np.asarray(lengths)) * (counts[:, None] + counts)
        own = cost.diagonal() // 2
        extra = (cost - own[:, None] - own).astype(np.float64)
        np.fill_diagonal(extra, np.inf)
        one, other = divmod(int(extra.argmin()), len(lots))
        if extra[one, other] >= worth:
            break
        kinds[one] |= kinds[other]
        counts[one] += counts[other]
        lots[one] += lots.pop(other)
        kinds, counts = np.delete(kinds, other, 0), np.delete(counts, other)
    if len(lots) == 1:
        return None
    return [np.flatnonzero(np.isin(whose.ravel(), lot)) for lot in lots]


def worth_on(device: torch.device) -> int:
    """What one more lot must spare there, in tokens."""
    return WORTH.get(device.type, WORTH["cuda"])


def taken(
    unit: EncoderUnit, tokens: Tokens | None, part: Part | None, missing: Tensor, rows: np.ndarray, size: int
) -> Tokens:
    """What an encoder has made of the rows of a lot, and what stands for those that lack its inputs.

    Args:
        unit: the encoder.
        tokens: of the rows that have something, `[n, L, D]`; `None` where none has.
        part: what it has read.
        missing: stands for an absent input, `[D]`.
        rows: of the lot, `[m]`.
        size: `B`.
    """
    if tokens is None or part is None:
        return scatter(unit, None, None, missing, len(rows))
    here = part.on_host
    places = np.arange(size) if here is None else _places(here, size)
    found = places[rows]
    where = np.flatnonzero(found >= 0)
    if len(where) == 0:
        return scatter(unit, None, None, missing, len(rows))
    own = tokens.take(at(found[where], tokens.values))
    return scatter(unit, own, None if len(where) == len(rows) else at(where, tokens.values), missing, len(rows))


def within(lot: Lot, wanted: np.ndarray | None) -> np.ndarray | None:
    """Places in a lot of the rows of the batch that are wanted; `None` for all of them."""
    if wanted is None or lot.rows is None:
        return wanted
    there = np.isin(lot.rows, wanted, assume_unique=True)
    return None if there.all() else np.flatnonzero(there)


def order(found: Sequence[np.ndarray], wanted: np.ndarray | None) -> np.ndarray | None:
    """Where each wanted row lies among those found lot by lot; `None` where they lie in their order.

    Args:
        found: rows of the batch, lot by lot.
        wanted: `[n]`; `None` for all.
    """
    rows = np.concatenate(found)
    places = _places(rows, int(rows.max(initial=-1)) + 1)[np.sort(rows) if wanted is None else wanted]
    return None if (places == np.arange(len(places))).all() else places


def at(places: np.ndarray, like: Tensor) -> Tensor:
    """These places, as an index for `like`, without waiting for the device."""
    return torch.from_numpy(places).to(like.device, non_blocking=True)


def _places(rows: np.ndarray, size: int) -> np.ndarray:
    places = np.full(size, -1)
    places[rows] = np.arange(len(rows))
    return places


def flat(shared: Shared) -> list[Tensor]:
    """The values of all taps of all lots."""
    return [tap.values for lot in shared for tap in lot.taps]


def unflat(values: Sequence[Tensor], like: Shared) -> Shared:
    """As many values as `flat` gives, as taps again."""
    lots, start = [], 0
    for lot in like:
        stop = start + len(lot.taps)
        lots.append(lot.with_values(values[start:stop]))
        start = stop
    return tuple(lots)
