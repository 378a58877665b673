"""Pictures: a path, a PIL image or an array → a grid of tokens, by a small residual network.

Shape legend: `n` rows, `C` colour channels (1 or 3), `H, W` pixels of a picture or of what the encoder sees,
`h, w` the token grid, `D` width.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.errors import ConfigError, DataError
from trunkline.modalities.contract import Encoder, Modality
from trunkline.showing import Shown, shown_picture
from trunkline.types import GridContext, Span, State, Tokens

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
SIDE = 64  # pixels a side that `fit` thins a picture to


class Image(Modality):
    """A picture.

    The whole picture is scaled to `size`; its aspect ratio is not kept, so that nothing is cut off. In training a
    random crop is scaled instead; masks and boxes bound to this input follow. Nothing is mirrored unless `flip` says
    so: digits, letters and road signs have a left and a right.

    Args:
        size: what the encoder sees, in pixels: a side or `(height, width)`. `None`: near the training pictures'
            median size, 16 to 64 pixels a side.
        channels: `None` is `grey` where all training pictures are, else `rgb`.
        crop: a random crop keeps at least this share of each side; 1 keeps the whole picture.
        flip: exchange left and right in every second training picture.
        stem: channels of the first layer; every halving of the resolution doubles them.
        depth: residual blocks a stage.
        stride: pixels a token's side, a power of two. `None`: the least, from 4, that leaves 8 tokens a side or less.
            Masks want a small one.
    """

    axis = "grid"
    reads_files = True
    fit_sample = 512

    def __init__(
        self,
        size: int | tuple[int, int] | None = None,
        *,
        channels: Literal["rgb", "grey"] | None = None,
        crop: float = 0.85,
        flip: bool = False,
        stem: int = 16,
        depth: int = 2,
        stride: int | None = None,
    ) -> None:
        self.size = size
        self.channels = channels
        self.crop = crop
        self.flip = flip
        self.stem = stem
        self.depth = depth
        self.stride = stride

    @property
    def is_random(self) -> bool:
        """Whether training crops or flips."""
        return self.crop < 1 or self.flip

    def read(self, cell: Any) -> np.ndarray:
        """`[H, W, C]`: uint8, or float32 from 0 to 1 where the picture has more than 8 bits.

        Turned upright as its EXIF says; what is transparent shows white; of several frames the first.

        Raises:
            DataError: the file or array is no picture, or is damaged.
        """
        if isinstance(cell, np.ndarray):
            return read_array(cell)
        if isinstance(cell, PIL.Image.Image):
            return read_array(decoded(cell))
        if not isinstance(cell, (str, Path)):
            raise DataError(f"{cell!r} is not a picture; give a path, a PIL image or an array")
        try:
            with PIL.Image.open(cell) as picture:
                return read_array(decoded(picture))
        except FileNotFoundError:
            raise DataError(f"there is no file {cell}") from None
        except PIL.UnidentifiedImageError:
            raise DataError(f"{cell} is not a picture (or of a format that Pillow does not read)") from None
        # Pillow's decoders report damage as any of these.
        except (OSError, SyntaxError, ValueError, EOFError, PIL.Image.DecompressionBombError) as error:
            raise DataError(f"{cell} cannot be read: {error}") from error

    def show(self, value: np.ndarray) -> Shown:
        """The picture itself, small."""
        return shown_picture(value, caption=f"{value.shape[1]} × {value.shape[0]}")

    def fit(self, values: Iterable[np.ndarray]) -> State:
        """`{"channels", "size", "mean", "std"}`; levels from 0 to 1, one number a channel."""
        self._check()
        sample = [(value.shape[:2], thin(value)) for value in values]
        grey = all(is_grey(picture) for _, picture in sample) and len(sample) > 0
        channels = {"grey": 1, "rgb": 3, None: 1 if grey else 3}[self.channels]
        mean, std = level_statistics([as_channels(picture, channels) for _, picture in sample], channels)
        size = typical_size([shape for shape, _ in sample]) if self.size is None else as_pair(self.size)
        return {"channels": channels, "size": list(size), "mean": mean, "std": std}

    def prepare(self, value: np.ndarray, state: State, rng: np.random.Generator | None) -> tuple[Tensor, GridContext]:
        """`[C, H, W]` of the state's size, uint8 or float32 as the picture was."""
        original = (value.shape[0], value.shape[1])
        crop = (0, 0, *original) if rng is None or self.crop == 1 else draw_crop(original, self.crop, rng)
        flipped = self.flip and rng is not None and bool(rng.random() < 0.5)
        context = GridContext(original, crop, as_pair(state["size"]), flipped)
        picture = torch.from_numpy(as_channels(value, state["channels"])).permute(2, 0, 1)
        scaled = context.apply(picture, mode="bilinear")
        if picture.dtype == torch.uint8:
            scaled = scaled.round_().clamp_(0, 255).to(torch.uint8)
        return scaled, context

    def collate(self, items: Sequence[Tensor]) -> dict[str, Tensor]:
        """`{"pixels": [n, C, H, W]}`: uint8, or float32 from 0 to 1 as soon as one picture has more than 8 bits."""
        if all(item.dtype == torch.uint8 for item in items):
            return {"pixels": torch.stack(list(items))}
        return {"pixels": torch.stack([as_levels(item) for item in items])}

    def build(self, state: State, width: int) -> ResNet:
        """The residual network."""
        self._check()
        stride = usual_stride(state["size"]) if self.stride is None else self.stride
        return ResNet(state, width, stem=self.stem, depth=self.depth, stride=stride)

    def _check(self) -> None:
        """Options that cannot work.

        Raises:
            ConfigError: which one, and what would work.
        """
        if self.channels not in ("rgb", "grey", None):
            raise ConfigError(f"channels: {self.channels!r} is not known; give 'rgb' or 'grey', or leave it out")
        if not 0 < self.crop <= 1:
            raise ConfigError(f"crop: {self.crop} is not a share of a side; give more than 0 and at most 1")
        if self.stride is not None and (self.stride < 2 or self.stride & (self.stride - 1)):
            raise ConfigError(f"stride: {self.stride} is not a power of two; give 2, 4, 8, 16 or 32")


class ResNet(Encoder):
    """A residual network with group normalisation, one stage for each halving of the resolution.

    He et al., "Deep residual learning for image recognition" (2016); Wu and He, "Group normalization" (2018): a row's
    tokens depend on no other row. The resolution is halved before the first block, which keeps small pictures cheap.

    Args:
        state: of the image.
        width: `D`.
        stem: channels of the first layer.
        depth: residual blocks a stage.
        stride: pixels a token's side, a power of two.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, state: State, width: int, *, stem: int, depth: int, stride: int) -> None:
        super().__init__()
        self.size = as_pair(state["size"])
        self.grid = (math.ceil(self.size[0] / stride), math.ceil(self.size[1] / stride))
        self.register_buffer("mean", torch.tensor(state["mean"]).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(state["std"]).view(-1, 1, 1), persistent=False)
        layers: list[nn.Module] = [conv(state["channels"], stem, stride=2), norm(stem), nn.ReLU()]
        channels = stem
        for _ in range(int(math.log2(stride)) - 1):
            layers += [Residual(channels, 2 * channels, stride=2)]
            layers += [Residual(2 * channels, 2 * channels) for _ in range(depth - 1)]
            channels = 2 * channels
        self.layers = nn.Sequential(*layers)
        self.project = nn.Linear(channels, width)
        self.place = nn.Parameter(0.02 * torch.randn(math.prod(self.grid), width))

    def forward(self, values: dict[str, Tensor]) -> Tokens:
        """`{"pixels": [n, C, H, W]}` → tokens `[n, h·w, D]` in one `grid` span."""
        features = self.layers((as_levels(values["pixels"]) - self.mean) / self.std)  # [n, channels, h, w]
        tokens = self.project(features.flatten(2).transpose(1, 2)) + self.place  # [n, h·w, D]
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        stride = (self.size[0] / self.grid[0], self.size[1] / self.grid[1])
        return Tokens(tokens, mask, (Span("", 0, math.prod(self.grid), "grid", self.grid, stride),))


class Residual(nn.Module):
    """Two convolutions and a way around them, `[n, C, H, W]` → `[n, outputs, H/stride, W/stride]`."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(inputs, outputs, stride=stride), norm(outputs), nn.ReLU(), conv(outputs, outputs), norm(outputs)
        )
        same = inputs == outputs and stride == 1
        self.around = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Body plus what goes around it."""
        return F.relu(self.around(x) + self.body(x))


def conv(inputs: int, outputs: int, *, stride: int = 1) -> nn.Conv2d:
    """3 × 3, without a bias: a norm follows."""
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


def norm(channels: int) -> nn.GroupNorm:
    """Up to eight groups."""
    return nn.GroupNorm(math.gcd(channels, 8), channels)


def decoded(picture: PIL.Image.Image) -> np.ndarray:
    """A PIL image of any mode, upright → `[H, W]` or `[H, W, 1 to 4]`, of 8 or 16 bits, or float."""
    picture = PIL.ImageOps.exif_transpose(picture)
    if picture.mode == "I":  # how Pillow also opens 16-bit pictures
        return np.array(picture).clip(0, 65535).astype(np.uint16)
    if picture.mode in ("L", "LA", "RGB", "RGBA", "F") or picture.mode.startswith("I;16"):
        return np.array(picture)
    if picture.mode == "1":
        return np.array(picture.convert("L"))
    return np.array(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))


def read_array(array: np.ndarray) -> np.ndarray:
    """Pixels → `[H, W, 1 or 3]`, uint8, or float32 where there are more than 8 bits.

    Raises:
        DataError: its shape, its type or a value is none of a picture's.
    """
    array = array[:, :, None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4) or array.size == 0:
        raise DataError(f"an array of shape {list(array.shape)} is not a picture; give [height, width, 1 to 4]")
    if array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype.itemsize == 2 and array.dtype.kind == "u":
        array = array.astype(np.float32) / np.float32(65535)
    elif array.dtype.kind == "f":
        array = array.astype(np.float32)
    elif array.dtype != np.uint8:
        raise DataError(f"an array of {array.dtype} has no known white; give uint8, uint16, or floats from 0 to 1")
    if not np.isfinite(array).all():
        raise DataError("the picture has pixels that are NaN or infinite")
    return np.ascontiguousarray(on_white(array) if array.shape[2] in (2, 4) else array)


def on_white(array: np.ndarray) -> np.ndarray:
    """What lies under the last channel, opacity, in front of white: `[H, W, C + 1]` → `[H, W, C]`."""
    white = np.float32(255 if array.dtype == np.uint8 else 1)
    opacity = array[:, :, -1:] / white
    blended = array[:, :, :-1] * opacity + white * (1 - opacity)
    return blended.round().astype(np.uint8) if array.dtype == np.uint8 else blended


def is_grey(picture: np.ndarray) -> bool:
    """Whether `[H, W, C]` shows no colour, however many channels it is stored in."""
    return bool((picture == picture[:, :, :1]).all())


def as_channels(picture: np.ndarray, channels: int) -> np.ndarray:
    """`[H, W, 1 or 3]` → `[H, W, channels]`."""
    if picture.shape[2] == channels:
        return picture
    if channels == 3:
        return np.repeat(picture, 3, axis=2)
    grey = (picture @ LUMA)[:, :, None]
    return grey.round().astype(np.uint8) if picture.dtype == np.uint8 else grey


def as_levels(pixels: Tensor) -> Tensor:
    """uint8 → float32 from 0 to 1; floats as they are."""
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels


def thin(picture: np.ndarray) -> np.ndarray:
    """Evenly spaced pixels, at most `SIDE` a side."""
    rows, columns = (math.ceil(side / SIDE) for side in picture.shape[:2])
    return picture[::rows, ::columns].copy()


def level_statistics(pictures: Sequence[np.ndarray], channels: int) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, every picture counting the same; 0.5 where there is no picture."""
    if len(pictures) == 0:
        return [0.5] * channels, [0.5] * channels
    levels = [p / np.float64(255 if p.dtype == np.uint8 else 1) for p in pictures]
    mean = np.mean([p.mean((0, 1)) for p in levels], axis=0)
    std = np.sqrt(np.mean([((p - mean) ** 2).mean((0, 1)) for p in levels], axis=0))
    return mean.tolist(), np.where(std > 1e-9, std, 1.0).tolist()


def typical_size(shapes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The median height and width, shrunk to 64 pixels the longer side, in steps of 8 and never under 16."""
    if len(shapes) == 0:
        return 64, 64
    median = np.median(np.array(shapes), axis=0)
    scaled = median * min(1.0, 64 / median.max())
    height, width = np.maximum(16, 8 * np.round(scaled / 8)).astype(int).tolist()
    return height, width


def usual_stride(size: Sequence[int]) -> int:
    """The least power of two, from 4, that leaves at most 8 tokens a side."""
    return max(4, 2 ** math.ceil(math.log2(max(size) / 8)))


def as_pair(size: int | Sequence[int]) -> tuple[int, int]:
    """`(height, width)`."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def draw_crop(original: tuple[int, int], least: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A random `(top, left, height, width)` that keeps at least the share `least` of each side."""
    height, width = (max(1, round(side * rng.uniform(least, 1))) for side in original)
    top, left = (int(rng.integers(0, side - kept + 1)) for side, kept in zip(original, (height, width)))
    return top, left, height, width
