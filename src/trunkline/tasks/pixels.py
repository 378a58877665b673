"""What tasks about every pixel share: above all their head, a light decoder on the grids of a feature pyramid.

Shape legend: `n` rows, `K` numbers a pixel, `C` channels, `h, w` the finest token grid, `H, W` pixels as the encoder
sees them, `D` width.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.errors import DataError
from trunkline.tasks.contract import Head
from trunkline.types import Span, Tokens

CHANNELS = 128  # at most, as in Kirillov et al.
DETAIL = 4  # each token speaks for a grid of 4 × 4 cells of its own


class PixelHead(Head):
    """Tokens on grids, finest first → `K` numbers for every pixel the encoder saw.

    A convolution lets neighbours of each level agree; the levels are interpolated to the finest grid and added
    (Kirillov et al., "Panoptic feature pyramid networks", 2019, figure 3, with one convolution for all levels: what
    they say is mapped alike already). Each token of the sum then speaks for a finer grid of its own (Shi et al.,
    "Real-time single image and video super-resolution using an efficient sub-pixel convolutional neural network",
    2016); between those cells the numbers are interpolated.

    Args:
        first_guess: `[K]`, where the numbers start.
        width: `D`.
    """

    def __init__(self, first_guess: Tensor, width: int) -> None:
        super().__init__()
        channels = min(width, CHANNELS)
        self.near = nn.Conv2d(width, channels, 3, padding=1)
        self.cells = nn.Conv2d(channels, len(first_guess) * DETAIL**2, 1)
        self.cells.bias = nn.Parameter(first_guess.repeat_interleave(DETAIL**2))

    def predict_output(self, view: Tokens) -> Tensor:
        """`[n, K, H, W]`."""
        finest = view.spans[0]
        height, width = finest.shape
        levels = [self._level(view, span) for span in view.spans]
        features = levels[0]  # [n, C, h, w]
        for coarser in levels[1:]:
            features = features + F.interpolate(coarser, (height, width), mode="bilinear", align_corners=False)
        cells = F.pixel_shuffle(self.cells(features), DETAIL)  # [n, K, 4h, 4w]
        size = (round(height * finest.stride[0]), round(width * finest.stride[1]))
        return F.interpolate(cells, size, mode="bilinear", align_corners=False)

    def _level(self, view: Tokens, span: Span) -> Tensor:
        grid = view.values[:, span.start : span.stop].transpose(1, 2).unflatten(2, span.shape)
        return F.gelu(self.near(grid))


def tiled(items: Sequence[Tensor], places: Sequence[tuple[int, int]], size: tuple[int, int], blank: float) -> Tensor:
    """Parts `[…, h, w]` where they lie in a whole, `[…, *size]`; `blank` where none does."""
    whole = items[0].new_full((*items[0].shape[:-2], *size), blank)
    for item, (top, left) in zip(items, places):
        whole[..., top : top + item.shape[-2], left : left + item.shape[-1]] = item
    return whole


def check_size(what: str, size: Sequence[int], picture: tuple[int, int]) -> None:
    """Is a mask or a map as large as its picture? Both `(height, width)`.

    Raises:
        DataError: it is not.
    """
    if tuple(size) != picture:
        turned = tuple(size) == picture[::-1]
        hint = f"; the picture is read upright, as its EXIF says: turn the {what}, too" if turned else ""
        raise DataError(f"the {what} is {size[0]} × {size[1]} pixels high and wide, "
                        f"its picture {picture[0]} × {picture[1]}{hint}")  # fmt: skip
