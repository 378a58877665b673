"""Shared parts that a level cannot pass through as it must, told with the levels that can."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
