"""Processes that train together: which is the first, and what they tell each other outside of the training steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning.fabric.utilities.rank_zero import rank_zero_only
from torch import Tensor

T = TypeVar("T")


def is_first_process() -> bool:
    """Whether it is this process that writes files. Its launcher says so before the processes have met."""
    function: Any = rank_zero_only  # Lightning hangs the rank on it
    return bool(function.rank == 0)


def is_alone() -> bool:
    """Whether this is a further process that trains with nobody, after it trained with others: it has no files.

    A script that trains on two devices and then on one does so in both processes, each at its own pace.
    """
    return not is_first_process() and not have_met()


@contextmanager
def meeting() -> Iterator[None]:
    """Processes that meet inside for training part at the end, none before the others.

    One that exits while it still belongs to a group may abort, and one that trains alone later must not share.
    """
    had_met = have_met()
    try:
        yield
        if have_met():
            dist.barrier()
    finally:
        if have_met() and not had_met:
            dist.destroy_process_group()


def from_first_process(value: T) -> T:
    """What the first process holds, on all of them."""
    box = [value]
    if have_met():
        dist.broadcast_object_list(box)
    return box[0]


def from_all_processes(value: T) -> list[T]:
    """What each process holds, in the order of the ranks."""
    if not have_met():
        return [value]
    box: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(box, value)
    return box


def any_process(flag: bool) -> bool:
    """Whether the flag is up on any of them."""
    return any(from_all_processes(flag)) if have_met() else flag


def gather_ranks(tensor: Tensor, group: Any = None) -> list[Tensor]:
    """Every rank's tensor, in the order of the ranks; they may differ in their first dimension.

    A metric that has seen nothing knows neither shape nor type of what it would keep: torchmetrics hands over an empty
    vector of floats for it. Such a rank takes both from one that has seen something.
    """
    known: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(known, (tuple(tensor.shape), tensor.dtype), group=group)
    sizes = [math.prod(shape) for shape, _ in known]
    longest = max(sizes)
    if longest == 0:
        return [tensor for _ in known]
    shape, dtype = known[sizes.index(longest)]
    flat = tensor.new_zeros(longest, dtype=dtype)
    flat[: tensor.numel()] = tensor.flatten()
    parts = [torch.empty_like(flat) for _ in known]
    dist.all_gather(parts, flat, group=group)
    shapes = [own if size else (0, *shape[1:]) for (own, _), size in zip(known, sizes)]
    return [part[:size].reshape(own) for part, size, own in zip(parts, sizes, shapes)]


def have_met() -> bool:
    """Whether several processes train together here."""
    return dist.is_available() and dist.is_initialized()
