"""Shared parts that a level cannot pass through as it must, told with the levels that can."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from trunkline.engine.graph import Graph
from trunkline.engine.levels import Level
from trunkline.errors import ConfigError

_ONE_PASS = "'features' or 'last'"
_REASONS = {
    "donated": (
        "torch.compile has given the shared part's buffers away after one pass. Set "
        "`torch._functorch.config.donated_buffer = False` before compiling, or take level " + _ONE_PASS
    ),
    "a second time": (
        "a part that was compiled, or that frees what it saved, goes through one pass at a time only; level 'trunk' or "
        "'sketch' takes whole passes"
    ),
    "already unpacked": (
        "a part that is recomputed from a checkpoint cannot be walked node by node; level 'trunk' or 'sketch' takes "
        "whole passes"
    ),
}

_SHARDED = (
    "parameters that are sharded (FSDP2, DTensor) have no whole gradient in one process. Levels 'losses' and "
    "'features' work with them"
)
_COMPLEX = "complex parameters have no inner product that is real; keep them as pairs (`torch.view_as_real`)"
_NODES = {
    "CheckpointFunctionBackward": (
        "a reentrant checkpoint runs a backward pass of its own, into `.grad`. Give `use_reentrant=False` to "
        "torch.utils.checkpoint and take level 'trunk' or 'sketch', or take level " + _ONE_PASS
    ),
    "RegisterPostBackwardFunctionBackward": _SHARDED,
}


def check_passable(level: Level, graph: Graph, shared: Sequence[Tensor]) -> None:
    """Several passes can go through the shared part, each to whole gradients.

    Args:
        level: for the error.
        graph: of what is shared.
        shared: parameters that were named.

    Raises:
        ConfigError: they cannot.
    """
    reasons = [reason for node in graph.nodes if (reason := _NODES.get(node.name()))]
    if _any_sharded(graph.leaves) or _any_sharded(shared):
        reasons.append(_SHARDED)
    if any(leaf.is_complex() for leaf in graph.leaves):
        reasons.append(_COMPLEX)
    if reasons:
        raise ConfigError(f"level: {level!r} passes several times through the shared part: {reasons[0]}")


def check_real(taps: Sequence[Tensor]) -> None:
    """Gradients have real inner products.

    Raises:
        ConfigError: a tap is complex.
    """
    if any(tap.is_complex() for tap in taps):
        raise ConfigError("split(): gradients of complex taps are not compared; give `torch.view_as_real(tap)`")


def _any_sharded(tensors: Iterable[Tensor]) -> bool:
    rare = [tensor for tensor in tensors if type(tensor) not in (Tensor, nn.Parameter)]
    if not rare:
        return False
    from torch.distributed.tensor import DTensor  # takes a second to import

    return any(isinstance(tensor, DTensor) for tensor in rare)


@contextmanager
def explained(level: Level) -> Iterator[None]:
    """PyTorch's words about passing through a graph twice, in ours."""
    try:
        yield
    except RuntimeError as error:
        for sign, reason in _REASONS.items():
            if sign in str(error):
                raise ConfigError(f"level: {level!r} passes several times through the shared part: {reason}") from error
        raise
