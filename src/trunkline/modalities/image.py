"""Pictures: a path, a PIL image or an array → a grid of tokens, by a small residual network.

Shape legend: `n` rows, `C` colour channels (1 or 3), `H, W` pixels of a picture or of what the encoder sees,
`h, w` the token grid, `D` width.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from trunkline.arrays.pictures import open_picture
from trunkline.arrays.seeing import Aspect, PictureCells, as_channels
from trunkline.cells import upright_size
from trunkline.contexts import GridContext, MosaicContext
from trunkline.modalities import pretrained_image
from trunkline.modalities.augmentation import Altered, Composed, Kept, alter, draw_colour, thinned
from trunkline.modalities.contract import Choices, Encoder, Modality
from trunkline.modalities.picture_choices import (
    LARGE,
    STILL,
    USUAL,
    check_options,
    choose_changes,
    choose_encoder,
    choose_pretrained,
    choose_size,
)
from trunkline.modalities.picture_levels import is_grey, level_statistics, scaled, thin
from trunkline.modalities.picture_sizes import (
    PLACES,
    finest_stride,
    pretrained_size,
    pyramid_size,
    typical_size,
    usual_stride,
)
from trunkline.modalities.pretrained import SCRATCH, are_usual
from trunkline.modalities.resnet import ResNet, ResNetPyramid, as_levels, as_pair
from trunkline.modalities.windows import draw_geometry, draw_mosaic
from trunkline.pretrained import Tuning
from trunkline.showing import Shown, shown_picture
from trunkline.types import State

SPARE = 1.25  # pixels that are kept of a picture for training, a side, for each that the encoder sees


class Image(Modality):
    """A picture.

    The whole picture is scaled to `size`. In training a random window of it is taken, turned a little, and its colours
    are changed a little; masks and boxes bound to this input follow. Nothing is mirrored unless `flip` says so: digits,
    letters and road signs have a left and a right.

    Args:
        size: what the encoder sees, in pixels: a side or `(height, width)`. `None`: near the training pictures'
            median size, 16 to 64 pixels a side, or to 48 where there are few pictures and no task reads their places;
            to 256 where one reads a pyramid.
        channels: `None` is `grey` where all training pictures are, else `rgb`.
        aspect: `stretch` fills the frame with the picture, whatever its aspect ratio; `letterbox` keeps the ratio, and
            what is left of the frame has the training pictures' mean colour and no label. `None`: `letterbox` where a
            task reads a pyramid and the training pictures differ in it, else `stretch`.
        crop: the window keeps at least this share of each side; 1 keeps all of the picture but corners that
            `rotate` cuts.
        zoom: in training the picture is shown as small as this share of each side, somewhere in the frame; and as large
            as `crop` allows, both sides alike but for a twentieth. 1: never smaller than the frame, and `crop` is drawn
            for each side. `None`: 1 unless a task reads a pyramid.
        rotate: degrees by which the window is turned at most.
        colour: how far brightness and contrast are changed, as a share (saturation: twice that). 0: not at all.
        flip: exchange left and right in every second training picture.
        mosaic: share of the training rows that show four pictures around a random middle: their own, and those of three
            other training rows. Labels bound to this input are those of all four, everything else of such a row is
            absent. 0: none; the last of the steps have none.
        mixup: training mixes the pictures of a batch in pairs, by a share drawn from Beta(mixup, mixup), and each loss
            is so mixed of both rows' labels (Zhang et al., "mixup: beyond empirical risk minimization", 2018). For
            tables with no other input. 0: not at all; 0.2 is usual.
        stem: channels of the first layer; every halving of the resolution doubles them.
        depth: residual blocks a stage.
        stride: pixels a token's side, a power of two. `None`: the least, from 4, that leaves 8 tokens a side or less.
            Where a task reads a pyramid, that of its finest level; `None`: 8, or 4 of pictures under 128 pixels. The
            coarsest has 32, or what leaves two tokens a side.
        encoder: `scratch`, or a pretrained network (`stem`, `depth` and `stride` are then its own): `timm:NAME`,
            `torchvision:NAME` or `package:efficientnet-lite0`. `None`: the last, where its package is installed, a
            few coloured pictures of some size are all there is to learn from, and no option asks for the other or for
            changed pictures; else `scratch`.
        weights: a file with the pretrained network's weights; `None`: from where its library has them.
        freeze: leave the pretrained network as it is. What it says about a picture is then worked out once, unless
            training changes pictures.
        encoder_lr: learning rate of a pretrained network that is not frozen, as a share of everything else's.
        layer_decay: that of each of its layers as a share of the one above; 1: all learn alike.
        lora: rank of low-rank adapters that learn while the pretrained network stays as it is; 0 for none.
    """

    axis = "grid"
    gives_pyramid = True
    reads_files = True
    fit_sample = 512

    def __init__(
        self,
        size: int | tuple[int, int] | None = None,
        *,
        channels: Literal["rgb", "grey"] | None = None,
        aspect: Aspect | None = None,
        crop: float | None = None,
        zoom: float | None = None,
        rotate: float | None = None,
        colour: float | None = None,
        flip: bool = False,
        mosaic: float = 0.0,
        mixup: float = 0.0,
        stem: int | None = None,
        depth: int | None = None,
        stride: int | None = None,
        encoder: str | None = None,
        weights: str | None = None,
        freeze: bool = True,
        encoder_lr: float = 0.1,
        layer_decay: float = 1.0,
        lora: int = 0,
    ) -> None:
        self.size = size
        self.channels = channels
        self.aspect = aspect
        self.crop = crop
        self.zoom = zoom
        self.rotate = rotate
        self.colour = colour
        self.flip = flip
        self.mosaic = mosaic
        self.mixup = mixup
        self.stem = stem
        self.depth = depth
        self.stride = stride
        self.encoder = encoder
        self.weights = weights
        self.freeze = freeze
        self.encoder_lr = encoder_lr
        self.layer_decay = layer_decay
        self.lora = lora

    @property
    def tuning(self) -> Tuning:
        """How a pretrained network goes on learning."""
        return Tuning(self.freeze, self.encoder_lr, self.layer_decay, self.lora)

    @property
    def pretrained(self) -> str | None:
        """The name of the pretrained network, if it is one."""
        return None if self.encoder == SCRATCH else self.encoder

    @property
    def is_random(self) -> bool:
        """Whether training changes pictures; those of a frozen network only where an option says so."""
        is_moved = self._option("crop") < 1 or self._option("zoom") < 1 or self._option("rotate") > 0 or self.flip
        return is_moved or self._option("colour") > 0 or self.mosaic > 0 or self.mixup > 0

    def _option(self, name: str) -> Any:
        """An option, or what is usual where it was neither given nor chosen."""
        given = getattr(self, name)
        if given is not None:
            return given
        usual = {**USUAL, **STILL} if self.pretrained is not None and self.tuning.is_still else USUAL
        return usual[name]

    @property
    def cells(self) -> PictureCells:
        """Reading and scaling."""
        return PictureCells(self._option("aspect"))

    def read(self, cell: Any) -> np.ndarray:
        """`[H, W, C]`: uint8, or float32 from 0 to 1 where the picture has more than 8 bits.

        Turned upright as its EXIF says; what is transparent shows white; of several frames the first.

        Raises:
            DataError: the file or array is no picture, or is damaged.
        """
        return self.cells.read(cell)

    def check(self, cell: Any) -> None:
        """Opens a file without decoding its pixels."""
        if isinstance(cell, (np.ndarray, PIL.Image.Image)):
            self.read(cell)
        else:
            open_picture(cell, lambda picture: None)

    def measure(self, cell: Any) -> tuple[int, int]:
        """`(height, width)` of the upright picture; of a file as its header says."""
        if isinstance(cell, np.ndarray):
            return cell.shape[0], cell.shape[1]
        return upright_size(cell) if isinstance(cell, PIL.Image.Image) else open_picture(cell, upright_size)

    def show(self, value: np.ndarray) -> Shown:
        """The picture itself, small."""
        return shown_picture(value, caption=f"{value.shape[1]} × {value.shape[0]}")

    def seen(self, values: dict[str, Tensor]) -> np.ndarray:
        """`[H, W, C]`, of what the encoder sees."""
        return values["pixels"].permute(1, 2, 0).numpy()

    def choose(self, sample: Sequence[np.ndarray], rows: int, *, is_read: bool = False) -> Choices:
        """Size and stride from the pictures' sizes, what training changes from how many there are."""
        said: Choices = {} if self.encoder else {"encoder": self._choose_encoder(sample, rows, is_read)}
        if (said["encoder"][0] if said else self.encoder) != SCRATCH:
            return {**said, **choose_pretrained(sample, rows, is_frozen=self.tuning.is_still, is_placed=False)}
        size, reason = choose_size(sample, rows, is_read=is_read)
        return {
            **said,
            **choose_changes(sample, rows, as_pair(self.size or size), is_placed=False),
            "size": (size, reason),
            "stride": (usual_stride(as_pair(self.size or size)), "at most 8 tokens a side"),
        }

    def choose_pyramid(self, sample: Sequence[np.ndarray], rows: int) -> Choices:
        """The same where places matter: pictures are seen larger."""
        shapes = [picture.shape[:2] for picture in sample]
        if self.pretrained is not None:
            reason = f"the median picture, but {pretrained_image.LEAST} to {PLACES} pixels: places matter"
            size = pyramid_size(shapes, least=pretrained_image.LEAST)
            usual = choose_pretrained(sample, rows, is_frozen=self.tuning.is_still, is_placed=True)
            return {**usual, "size": (size, reason)}
        size = pyramid_size(shapes)
        seen = as_pair(self.size or size)
        return {
            "encoder": self._choose_encoder(sample, rows, is_read=True),
            **choose_changes(sample, rows, seen, is_placed=True),
            "size": (
                size,
                f"the median of {len(sample)} training pictures, {PLACES} pixels at most: places matter",
            ),
            "stride": (finest_stride(seen), "of the finest of the grids that a task reads"),
        }

    def _choose_encoder(self, sample: Sequence[np.ndarray], rows: int, is_read: bool) -> tuple[str, str]:
        """The packaged network, where it is there, nothing was said that is not for it, and it knows such pictures."""
        changes = ("crop", "zoom", "rotate", "colour", "flip", "mosaic", "mixup")
        own = (*changes, "stem", "depth", "stride", "weights", "freeze", "encoder_lr", "layer_decay", "lora")
        is_small = self.size is not None and min(as_pair(self.size)) < LARGE
        if is_small or self.channels == "grey" or not are_usual({o: getattr(self, o) for o in own}, Image):
            return SCRATCH, "other options ask for it"
        return choose_encoder(sample, rows, is_read=is_read)

    def fit(self, values: Iterable[np.ndarray]) -> State:
        """`{"channels", "size", "mean", "std"}`; levels from 0 to 1, one number a channel. A pretrained encoder's are
        its own, and `"encoder"` says how it is built.
        """
        check_options(vars(self), is_pretrained=self.pretrained is not None)
        if self.pretrained is not None:
            shapes = [value.shape[:2] for value in values]
            size = as_pair(pretrained_size(shapes) if self.size is None else self.size)
            about = pretrained_image.describe(self.pretrained, size)
            levels = {"mean": about.pop("mean"), "std": about.pop("std")}
            return {"channels": 3, "size": list(size), **levels, "encoder": about}
        sample = [(value.shape[:2], thin(value)) for value in values]
        grey = all(is_grey(picture) for _, picture in sample) and len(sample) > 0
        channels = {"grey": 1, "rgb": 3, None: 1 if grey else 3}[self.channels]
        mean, std = level_statistics([as_channels(picture, channels) for _, picture in sample], channels)
        size = typical_size([shape for shape, _ in sample], LARGE) if self.size is None else as_pair(self.size)
        return {"channels": channels, "size": list(size), "mean": mean, "std": std}

    def shrink(self, value: np.ndarray, state: State) -> Kept:
        """At most `SPARE` pixels a side for each that the encoder sees; more only where pictures are seen enlarged."""
        original = (value.shape[0], value.shape[1])
        window = self._plain(original, state).crop[2:]
        most = max(SPARE, 1 / self._option("crop"))
        seen = [size * side / whole for size, side, whole in zip(state["size"], original, window)]
        height, width = (
            max(math.ceil(SPARE * pixels), min(side, math.ceil(most * pixels))) for side, pixels in zip(original, seen)
        )
        whole = GridContext(original, (0, 0, *original), (height, width))
        return Kept(scaled(value, state["channels"], whole, state["mean"]), original)

    def prepare(
        self, value: np.ndarray | Kept, state: State, rng: np.random.Generator | None
    ) -> tuple[Tensor | Altered, GridContext]:
        """`[C, H, W]` of the state's size, uint8 or float32 as the picture was; in training what `alter` takes."""
        if rng is None:
            assert isinstance(value, np.ndarray), "what is kept is for training"
            context = self._plain((value.shape[0], value.shape[1]), state)
            return scaled(value, state["channels"], context, state["mean"]), context
        kept = self.shrink(value, state) if isinstance(value, np.ndarray) else value
        context = draw_geometry(kept.original, as_pair(state["size"]), **self._drawn(), rng=rng)
        return self._altered(kept.pixels, context, state, rng), context

    def prepare_mosaic(
        self, values: Sequence[Kept], state: State, rng: np.random.Generator
    ) -> tuple[Composed, MosaicContext]:
        """Four pictures around a random middle."""
        how = {name: self._option(name) for name in ("aspect", "rotate", "flip")}
        context = draw_mosaic([kept.original for kept in values], as_pair(state["size"]), **how, rng=rng)
        tiles = [self._altered(kept.pixels, tile, state, rng) for kept, tile in zip(values, context.tiles)]
        return Composed(tuple(tiles), context.places, context.size), context

    def _plain(self, original: tuple[int, int], state: State) -> GridContext:
        """What is seen where nothing is drawn."""
        return self.cells.context(original, state)

    def _drawn(self) -> dict[str, Any]:
        """How the geometry is drawn."""
        return {name: self._option(name) for name in ("aspect", "crop", "zoom", "rotate", "flip")}

    def _altered(self, pixels: Tensor, context: GridContext, state: State, rng: np.random.Generator) -> Altered:
        """What `alter` takes: of windows that stay in the picture, a turned corner shows the edge's pixels."""
        fill = tuple(state["mean"]) if context.reaches_beyond else None
        colour = draw_colour(self._option("colour"), rng)
        return Altered(thinned(pixels, context), context.affine(), context.size, colour, fill)

    def collate(self, items: Sequence[Tensor | Altered | Composed]) -> dict[str, Tensor]:
        """`{"pixels": [n, C, H, W]}`: uint8, or float32 from 0 to 1 where training changes pictures or one has more
        than 8 bits.
        """
        drawn = [item for item in items if isinstance(item, Altered | Composed)]
        if drawn:
            return {"pixels": alter(drawn)}
        plain = [item for item in items if isinstance(item, Tensor)]
        if all(item.dtype == torch.uint8 for item in plain):
            return {"pixels": torch.stack(plain)}
        return {"pixels": torch.stack([as_levels(item) for item in plain])}

    def mix(self, values: dict[str, Tensor], order: Tensor, share: float) -> dict[str, Tensor]:
        """Levels, pixel by pixel."""
        pixels = as_levels(values["pixels"])
        return {"pixels": share * pixels + (1 - share) * pixels[order]}

    def build(self, state: State, width: int) -> Encoder:
        """The residual network, or the pretrained one."""
        check_options(vars(self), is_pretrained=self.pretrained is not None)
        if self.pretrained is not None:
            return pretrained_image.build(state, width, encoder=self.pretrained, **self._pretrained_options())
        stride = usual_stride(state["size"]) if self.stride is None else self.stride
        return ResNet(state, width, stem=self._option("stem"), depth=self._option("depth"), stride=stride)

    def build_pyramid(self, state: State, width: int) -> Encoder:
        """The same network with tokens from several of its stages."""
        check_options(vars(self), is_pretrained=self.pretrained is not None)
        if self.pretrained is not None:
            return pretrained_image.build_pyramid(state, width, encoder=self.pretrained, **self._pretrained_options())
        stride = finest_stride(state["size"]) if self.stride is None else self.stride
        return ResNetPyramid(state, width, stem=self._option("stem"), depth=self._option("depth"), finest=stride)

    def _pretrained_options(self) -> dict[str, Any]:
        return {"weights": self.weights, "tuning": self.tuning, "keep": not self.is_random}
