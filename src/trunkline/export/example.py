"""A batch in which every encoder has something to encode: what a network is traced with."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from trunkline.arrays.subwords import NOWHERE
from trunkline.data import Draw
from trunkline.errors import DataError
from trunkline.schema import RowBatches
from trunkline.types import Batch

SHORTEST = 16  # a length of 1 is taken for a constant by the tracer, also one that is left after a few strides


def example_batch(batches: RowBatches, rows: Sequence[int], size: int) -> Batch:
    """The first `size` of these rows, and more for each encoder that can encode less than half as many of them: up to
    that many, so that what is rare is looked at, too.

    Raises:
        DataError: an input is present in no row.
    """
    numbers = list(rows[:size])
    for unit in batches.preprocessing.encoders:
        here = np.asarray(batches.present[:, unit.columns].any(axis=1))
        if not here[list(rows)].any():
            raise DataError(f"{batches.table.source}: input {unit.name!r} is present in no row; one is needed")
        lacking = max(1, size // 2) - int(here[numbers].sum())
        chosen = set(numbers)
        numbers += itertools.islice((row for row in rows if here[row] and row not in chosen), max(0, lacking))
    return batches[Draw(tuple(numbers), None)]


def lengthened(batch: Batch, batches: RowBatches) -> Batch:
    """The same with zeros behind what varies in length, as a collated batch has them, up to the shortest length."""
    modalities = {n: batches.preprocessing.schema.inputs[n].modality for n in batch.inputs}
    inputs = {
        name: replace(part, values=_pad(part.values, modalities[name].varying)) for name, part in batch.inputs.items()
    }
    return replace(batch, inputs=inputs, sources={name: _longer(source) for name, source in batch.sources.items()})


def _longer(source: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What is copied from, with nothing behind it."""
    return {name: F.pad(value, (0, max(0, SHORTEST - value.shape[1])), value=NOWHERE) for name, value in source.items()}


def _pad(values: Mapping[str, Tensor], varying: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    padded = dict(values)
    for name in values.keys() & varying.keys():  # by its options an input may do without some
        for dim in varying[name]:
            short = max(0, SHORTEST - padded[name].shape[dim])
            behind = padded[name].ndim - 1 - dim
            padded[name] = F.pad(padded[name], (0, 0) * behind + (0, short))
    return padded
