"""What must be agreed between processes. On one process everything here is free and changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def num_ranks() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of every rank's tensor, the same bits on all of them; not differentiable."""
    if num_ranks() == 1:
        return tensor.detach()
    tensor = tensor.detach().clone()
    dist.all_reduce(tensor)
    return tensor


def sum_counts(counts: Sequence[int]) -> list[int]:
    """The same for numbers on the host."""
    if num_ranks() == 1:
        return list(counts)
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    summed: list[int] = sum_over_ranks(torch.tensor(counts, dtype=torch.int64, device=device)).tolist()
    return summed
