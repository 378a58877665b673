"""What was done to an input on its way in: how targets follow it, and how what is said about it finds back.

What a context says is plain; PyTorch is imported where tensors follow it, so that an exported network can do without.

Shape legend: `C` channels, `H, W` pixels of a picture, `h, w` of what a head says.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

BETWEEN = "\n"  # words; those of a text have no white space
OBJECTS = 250  # bytes of what Python holds a text's spans by
LETTERS = 256  # of a word that one token of it can stand for


@dataclass(frozen=True)
class GridContext:
    """What was done to a picture: cut out `crop`, turned by `angle`, scaled it to `size`, mirrored it if `flipped`.

    The window may reach beyond the picture: to keep its aspect ratio, or to show it smaller. Nothing is labelled there.

    Attributes:
        original: `(height, width)` of the picture in the cell, in pixels.
        crop: `(top, left, height, width)` of the window, in original pixels. On each axis it lies within the picture or
            holds all of it.
        size: `(height, width)` the encoder saw.
        flipped: left and right were exchanged.
        angle: degrees by which the window was turned about its middle, clockwise. Only training turns.
    """

    original: tuple[int, int]
    crop: tuple[int, int, int, int]
    size: tuple[int, int]
    flipped: bool = False
    angle: float = 0.0

    @property
    def reaches_beyond(self) -> bool:
        """Whether the window, before it is turned, holds more than picture."""
        (top, left, height, width), (rows, columns) = self.crop, self.original
        return top < 0 or left < 0 or top + height > rows or left + width > columns

    def affine(self) -> list[list[float]]:
        """`[2, 3]`: a place in what the encoder saw → its place in the original, both from -1 to 1 (`affine_grid`)."""
        (height, width), (top, left, h, w) = self.original, self.crop
        cos, sin = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        mirror = -1.0 if self.flipped else 1.0
        return [
            [mirror * cos * w / width, -sin * h / width, (2 * left + w) / width - 1],
            [mirror * sin * w / height, cos * h / height, (2 * top + h) / height - 1],
        ]

    def apply(
        self, picture: Tensor, *, mode: Literal["bilinear", "nearest"], fill: float | Tensor | None = math.nan
    ) -> Tensor:
        """Do the same to another picture of the original's size, `[C, H, W]` → `[C, *size]`.

        This is how the targets bound to an input (masks, depth maps) follow its augmentation.

        Args:
            picture: to be seen as the input was.
            mode: how it is scaled.
            fill: what stands beyond the picture's edge, a number or one a channel, `[C, 1, 1]`; whole numbers know no
                NaN and need one. `None`: the edge is repeated.
        """
        if self.angle:
            return self._turned(picture, mode, fill)
        seen = picture[:, self.seen(0), self.seen(1)]
        for axis in self.axes:
            seen = self._along(axis, seen, mode, fill)
        return seen.flip(-1) if self.flipped else seen

    @property
    def axes(self) -> tuple[int, int]:
        """Rows (0) and columns (1) in the order in which the window is scaled: of a window that is many times the
        picture, so, no more is held than one axis of it.
        """
        (_, _, height, width), (rows, columns) = self.crop, self.original
        return (1, 0) if width * min(height, rows) <= height * min(width, columns) else (0, 1)

    def seen(self, axis: int) -> slice:
        """Of the picture's rows (0) or columns (1) those that are in the window."""
        start, length = self.crop[axis], self.crop[2 + axis]
        return slice(max(0, start), min(self.original[axis], start + length))

    def beyond(self, axis: int) -> tuple[int, int]:
        """How many rows (0) or columns (1) the window has before the picture, and after it."""
        start, length = self.crop[axis], self.crop[2 + axis]
        return max(0, -start), max(0, start + length - self.original[axis])

    def _along(
        self, axis: int, seen: Tensor, mode: Literal["bilinear", "nearest"], fill: float | Tensor | None
    ) -> Tensor:
        """Of what is seen of a picture, what lies beyond is put beside it along one axis, and the whole scaled."""
        import torch
        from torch.nn import functional as F

        (before, after), there = self.beyond(axis), seen.shape[1 + axis]
        line = seen.movedim(1 + axis, 2)  # last: PyTorch 2.14 scales rows wrongly where the width becomes 1
        if before or after:
            places = torch.arange(-before, there + after)
            line = filled(line[..., places.clamp(0, there - 1)], (places < 0) | (places >= there), fill)
        size = (line.shape[1], self.size[axis])
        if mode == "nearest":
            scaled = F.interpolate(line[None].float(), size, mode="nearest-exact").to(seen.dtype)
        else:
            scaled = F.interpolate(line[None].float(), size, mode="bilinear", align_corners=False, antialias=True)
        return scaled[0].movedim(2, 1 + axis)

    def _turned(self, picture: Tensor, mode: Literal["bilinear", "nearest"], fill: float | Tensor | None) -> Tensor:
        import torch
        from torch.nn import functional as F

        grid = F.affine_grid(torch.tensor([self.affine()]), [1, 1, *self.size], align_corners=False)
        seen = F.grid_sample(picture[None].float(), grid, mode=mode, padding_mode="border", align_corners=False)[0]
        return filled(seen.to(picture.dtype) if mode == "nearest" else seen, (grid[0].abs() > 1).any(-1), fill)

    def restore(self, grid: Tensor) -> Tensor:
        """From what a head says, `[C, h, w]`, back to the original picture, `[C, *original]`.

        What the window left out is NaN; what it held beyond the picture is cut off.
        """
        import torch
        from torch.nn import functional as F

        assert not self.angle, "only training turns, and what it sees is not restored"
        grid = grid.flip(-1) if self.flipped else grid
        (top, left, height, width), (rows, columns) = self.crop, self.original
        inside = F.interpolate(grid[None].float(), (height, width), mode="bilinear", align_corners=False)[0]
        inside = inside[:, max(0, -top) : rows - top, max(0, -left) : columns - left]
        if inside.shape[1:] == self.original:
            return inside
        out = grid.new_full((grid.shape[0], *self.original), float("nan"), dtype=torch.float32)
        top, left = max(0, top), max(0, left)
        out[:, top : top + inside.shape[1], left : left + inside.shape[2]] = inside
        return out


def filled(picture: Tensor, here: Tensor, fill: float | Tensor | None) -> Tensor:
    """`picture [C, H, W]` with `fill` where `here [H, W]` is; `None` changes nothing."""
    import torch

    return picture if fill is None else torch.where(here, torch.as_tensor(fill, dtype=picture.dtype), picture)


@dataclass(frozen=True)
class MosaicContext:
    """A picture that was put together from others, one beside the other. Only training makes them.

    Attributes:
        size: `(height, width)` the encoder saw.
        tiles: what was done to each picture; the `size` of each is that of its tile.
        places: `(top, left)` of each tile, in pixels of the whole.
    """

    size: tuple[int, int]
    tiles: tuple[GridContext, ...]
    places: tuple[tuple[int, int], ...]


class WordsContext:
    """The words of a text and the tokens each became: `spans[i] = (start, stop)`, equal where a word was cut off.

    Of the last word that has tokens only the first `cut` characters were read; `None`: all. Of any word `LETTERS` a
    token at most, so that what is made of its letters is as bounded as its tokens. `is_cut`: the text goes on behind
    what was read, or has a longer word.

    Every text of a table may have one, so words and spans are held as one text and one array, a seventh of the memory,
    and taken apart where they are asked for.
    """

    __slots__ = ("_spans", "_words", "cut", "is_cut")

    def __init__(
        self,
        words: Sequence[str],
        spans: Sequence[tuple[int, int]],
        cut: int | None = None,
        is_cut: bool = False,
    ) -> None:
        joined = BETWEEN.join(words)
        self._words: str | tuple[str, ...] = joined if joined.count(BETWEEN) == len(words) - 1 else tuple(words)
        self._spans = np.array(spans, dtype=np.int32).reshape(-1, 2)
        self.cut = cut
        self.is_cut = is_cut or any(
            stop > start and len(word) > LETTERS * (stop - start)
            for word, (start, stop) in zip(words, spans, strict=True)
        )

    @property
    def words(self) -> tuple[str, ...]:
        """Without what is between them."""
        return tuple(self._words.split(BETWEEN)) if isinstance(self._words, str) else self._words

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """One for each word."""
        return tuple((start, stop) for start, stop in self._spans.tolist())

    def read(self) -> tuple[list[str], list[tuple[int, int]]]:
        """The words that have tokens, each as far as it was read, and their tokens."""
        here = [(word, span) for word, span in zip(self.words, self.spans, strict=True) if span[1] > span[0]]
        words = [word[: LETTERS * (stop - start)] for word, (start, stop) in here]
        return [*words[:-1], *(word[: self.cut] for word in words[-1:])], [span for _, span in here]

    @property
    def nbytes(self) -> int:
        """What it takes."""
        words = [self._words] if isinstance(self._words, str) else self._words
        return OBJECTS + sum(map(sys.getsizeof, words)) + self._spans.nbytes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WordsContext) and self._all == other._all

    def __hash__(self) -> int:
        return hash(self._all)

    def __repr__(self) -> str:
        return f"WordsContext{self._all}"

    @property
    def _all(self) -> tuple[Any, ...]:
        return self.words, self.spans, self.cut, self.is_cut


@dataclass(frozen=True)
class TimeContext:
    """A sound as it lay in the cell: sample rate in Hz, length in samples, and seconds per frame of the features.

    `is_cut`: it goes on behind what was read.
    """

    rate: int
    samples: int
    hop_seconds: float
    is_cut: bool = False


Context = GridContext | MosaicContext | WordsContext | TimeContext
