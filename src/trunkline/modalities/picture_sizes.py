"""How large the encoder of pictures sees them, and how large its tokens are.

Shape legend: `H, W` pixels of what the encoder sees.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

PLACES = 256  # pixels of the longer side, at most, where places matter
COARSEST = 32  # pixels a side of the coarsest tokens of a pyramid
FINE = 128  # pixels of the longer side from which a pyramid's finest tokens have 8 a side, not 4
FEWEST = 2  # tokens a side of a pyramid's coarsest level


def typical_size(shapes: Sequence[tuple[int, int]], most: int) -> tuple[int, int]:
    """The median height and width, shrunk to `most` pixels the longer side, in steps of 8 and never under 16."""
    return _shrunk(shapes, most, step=8, least=16)


def pretrained_size(shapes: Sequence[tuple[int, ...]]) -> int:
    """The median of the pictures' longer sides, in steps of 32, from 128 to 224."""
    longer = float(np.median([max(shape) for shape in shapes])) if len(shapes) else 224.0
    return int(np.clip(32 * round(longer / 32), 128, 224))


def pyramid_size(shapes: Sequence[tuple[int, int]], *, least: int = 16) -> tuple[int, int]:
    """The median height and width, shrunk to 256 pixels the longer side, in steps of 32; of small ones in steps of 8.

    Args:
        shapes: heights and widths.
        least: pixels of a side.
    """
    is_small = len(shapes) > 0 and float(np.median(np.array(shapes), axis=0).max()) < FINE
    return _shrunk(shapes, PLACES, step=8 if is_small else COARSEST, least=least)


def usual_stride(size: Sequence[int]) -> int:
    """The least power of two, from 4, that leaves at most 8 tokens a side."""
    return max(4, 2 ** math.ceil(math.log2(max(size) / 8)))


def finest_stride(size: Sequence[int]) -> int:
    """Pixels a side of a pyramid's finest tokens: 8, or 4 where the picture is small."""
    return 8 if max(size) >= FINE else 4


def pyramid_strides(size: Sequence[int], finest: int) -> tuple[int, ...]:
    """Each twice the one before, up to 32, while two tokens a side are left; the first is less where they are not.

    Args:
        size: `(H, W)`.
        finest: of these strides, a power of two.
    """

    def leaves_enough(stride: int) -> bool:
        return math.ceil(min(size) / stride) >= FEWEST

    while finest > 2 and not leaves_enough(finest):
        finest //= 2
    strides = [finest]
    while 2 * strides[-1] <= COARSEST and leaves_enough(2 * strides[-1]):
        strides.append(2 * strides[-1])
    return tuple(strides)


def _shrunk(shapes: Sequence[tuple[int, int]], most: int, *, step: int, least: int) -> tuple[int, int]:
    if len(shapes) == 0:
        return most, most
    median = np.median(np.array(shapes), axis=0)
    scaled = median * min(1.0, most / median.max())
    height, width = np.maximum(least, step * np.round(scaled / step)).astype(int).tolist()
    return height, width
