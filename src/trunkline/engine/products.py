"""Inner products of the tasks' gradients, in one pass over them.

Gradients laid side by side as a matrix would be a second copy of all of them, written to and read from far memory. Here
only pieces are laid side by side, as much as fits into the cache.

A long sum in float32 is good to fewer digits than its terms, and balancers decide by the last of them. So short sums
are taken in float32, and their sums in float64. Shape legend: `T` tasks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from trunkline.balancers import index_like

IN_CACHE = 2**18  # numbers
IN_REACH = 2**23  # on a device to which every piece is one more thing to be told
SHORT = 2**10  # numbers in a sum in float32


def room_on(device: torch.device) -> int:
    """How many numbers to lay side by side."""
    return IN_CACHE if device.type == "cpu" else IN_REACH


def side_by_side(tensors: Sequence[Tensor], dtype: torch.dtype, *, dim: int = 0, room: int) -> Iterator[Tensor]:
    """`T` tensors of one shape as `[T, …]`, a piece along `dim` at a time."""
    first = tensors[0]
    length = max(1, first.shape[dim])
    size = max(1, room * length // max(1, len(tensors) * first.numel()))
    for pieces in zip(*(tensor.split(size, dim) for tensor in tensors)):
        yield torch.stack(pieces).to(dtype)


def nothing_yet(size: int, like: Tensor) -> Tensor:
    """`[T, T]` zeros to add products to, in float64 where the device has it."""
    return like.new_zeros(size, size, dtype=torch.float32 if like.device.type == "mps" else torch.float64)


def rounds_factors() -> bool:
    """Whether CUDA rounds what it multiplies to ten bits (TF32), as the user has it set, in the old way or the new."""
    matmul = torch.backends.cuda.matmul
    if hasattr(matmul, "fp32_precision"):  # since PyTorch 2.9, where the old question may be refused
        return bool(matmul.fp32_precision == "tf32")
    return torch.get_float32_matmul_precision() != "highest"


def add_products(gramian: Tensor, left: Tensor, right: Tensor) -> None:
    """`+ left @ rightᵀ`, both `[T, n]`."""
    if left.device.type == "cuda" and rounds_factors():
        left, right = left.double(), right.double()
    whole = left.shape[1] - left.shape[1] % SHORT
    if whole:
        short = [side[:, :whole].unflatten(1, (-1, SHORT)).transpose(0, 1) for side in (left, right)]  # [·, T, SHORT]
        gramian += torch.bmm(short[0], short[1].mT).sum(0, dtype=gramian.dtype)
    if whole < left.shape[1]:
        gramian += left[:, whole:] @ right[:, whole:].T


def gram(tensors: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """`⟨gᵢ, gⱼ⟩ [T, T]` of `T` tensors of one shape."""
    gramian = nothing_yet(len(tensors), tensors[0])
    flat = [tensor.flatten() for tensor in in_memory_order(tensors)]
    for piece in side_by_side(flat, dtype, room=room_on(gramian.device)):
        add_products(gramian, piece, piece)
    return gramian


def add_at(gramian: Tensor, places: Sequence[int], own: Tensor) -> None:
    """Add the products of some tasks where they stand among all."""
    own = own.to(gramian.device)  # a network may lie on several
    if len(places) == len(gramian):
        gramian += own
    else:
        index = index_like(places, gramian)
        gramian[index.unsqueeze(1), index] += own


def in_memory_order(tensors: Sequence[Tensor], *, keep: int = 0) -> Sequence[Tensor]:
    """The same numbers in the order in which they lie in memory, if all lie alike: flattening copies nothing then.

    Args:
        tensors: of one shape.
        keep: so many dimensions stay in front.
    """
    strides = tensors[0].stride()
    if tensors[0].is_contiguous() or any(tensor.stride() != strides for tensor in tensors):
        return tensors
    order = sorted(range(keep, len(strides)), key=lambda dim: -strides[dim])
    return [tensor.permute(*range(keep), *order) for tensor in tensors]
