"""Layer-wise decay of the learning rate: what was trained first says the most general things and moves least.

Howard and Ruder, "Universal language model fine-tuning for text classification" (2018), section 3.2; Clark et al.,
"ELECTRA" (2020), table 6.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

NUMBERED = re.compile(r"\d+|(?!(?:conv|bn|norm|gn|ln|fc|linear|proj|act|downsample)_?\d)[a-z_]*[a-z]_?\d+")
FIRST = re.compile(r"(stem|conv)\d*")  # whose parts, numbered or not, are one layer


def layer_of(name: str) -> str | None:
    """The numbered layer that a parameter belongs to, by the first such part of its name; `None` for none.

    Example:
        >>> layer_of("model.blocks.3.0.conv.weight")
        'model.blocks.3'
    """
    parts = name.split(".")
    for place, part in enumerate(parts):
        if FIRST.fullmatch(part):
            return None
        if NUMBERED.fullmatch(part):
            return ".".join(parts[: place + 1])
    return None


def layer_rates(names: Sequence[str], *, top: float, decay: float) -> dict[str, float]:
    """Share of the learning rate of each parameter: `top` in the last layer, times `decay` for each layer below.

    A layer is what has one number (`blocks.3`, `layer4`, `encoder.layer.11`); what stands between two of them, or
    before the first or behind the last, is one more.

    Args:
        names: in the order in which they compute.
        top: of the last layer.
        decay: from each layer to the one below, 1 or less.
    """
    depth, last, depths = -1, object(), []
    for name in names:
        layer = layer_of(name)
        if layer != last:
            depth, last = depth + 1, layer
        depths.append(depth)
    return {name: top * decay ** (depth - at) for name, at in zip(names, depths)}
