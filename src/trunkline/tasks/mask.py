"""Semantic segmentation: a class for every pixel of a picture.

Shape legend: `n` rows, `K` classes, `H, W` pixels as the encoder sees them, `D` width.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
import torchmetrics
from torch import Tensor

from trunkline.arrays.maps import MaskAnswers
from trunkline.arrays.opening import PICTURE_DAMAGE, open_image
from trunkline.cells import upright_size
from trunkline.contexts import Context, GridContext
from trunkline.errors import ConfigError, DataError
from trunkline.files import is_plain_file, why_unread
from trunkline.showing import WHOLE, Answer, Shown, colour_of, overlaid, shown_picture
from trunkline.tasks.contract import Scores, Target, Task, on_host
from trunkline.tasks.mask_head import UNSEEN, MaskHead
from trunkline.tasks.mask_loss import VOID
from trunkline.tasks.pixels import check_size, tiled
from trunkline.types import State


class Mask(Task):
    """A class for every pixel of the picture named in `of:`.

    A mask is as large as its upright picture: where the picture's EXIF says that it is turned, programs show it so,
    and it is read so.

    Args:
        classes: names; class `i` is the index `i` in the masks. `None`: the indices found in training, named by
            themselves (0 and 255 are two classes).
        ignore: the index that means "not labelled".
    """

    reads = "pyramid"
    primary = "miou"
    reads_files = True
    joins = True

    def __init__(self, classes: Sequence[str] | None = None, *, ignore: int | None = None) -> None:
        self.classes = classes
        self.ignore = ignore

    def read(self, cell: Any) -> np.ndarray:
        """Class indices `[H, W]`, uint16. A palette's colours do not matter.

        Args:
            cell: a path to, or the bytes of, a grey or palette PNG, a PIL image, or an array of integers.

        Raises:
            DataError: it holds no class indices, or some that are no class, or is damaged.
        """
        if isinstance(cell, PIL.Image.Image):
            return self._checked(as_indices(index_image(cell)))
        if not isinstance(cell, (str, Path, io.BytesIO)):
            return self._checked(as_indices(np.asarray(cell)))
        return self._open(cell, lambda picture: self._checked(as_indices(index_image(picture))))

    def check_place(self, cell: Any, size: tuple[int, int]) -> Iterable[str]:
        """Is it as large as its picture?"""
        if isinstance(cell, PIL.Image.Image):
            check_size("mask", upright_size(cell), size)
        elif isinstance(cell, (str, Path, io.BytesIO)):
            check_size("mask", self._open(cell, upright_size), size)
        else:
            check_size("mask", np.shape(cell)[:2], size)
        return ()

    def _open(self, cell: str | Path | io.BytesIO, use: Callable[[PIL.Image.Image], Any]) -> Any:
        if not isinstance(cell, io.BytesIO) and not is_plain_file(cell):
            raise DataError(why_unread(cell, " as a mask"))
        try:
            with open_image(cell) as picture:
                return use(picture)
        except DataError:
            raise
        except PICTURE_DAMAGE as error:
            name = "the file" if isinstance(cell, io.BytesIO) else cell
            raise DataError(f"{name} cannot be read as a mask: {error}") from error

    def fit(self, values: Iterable[np.ndarray]) -> State:
        """`{"indices", "names", "prior"}`: of each class its index in the masks, its name, its share of the pixels."""
        if self.ignore is not None and not 0 <= self.ignore < 2**16:
            raise ConfigError(f"ignore: {self.ignore} is not an index a mask can hold; give 0 to 65535")
        counts = np.zeros(2**16, dtype=np.int64)
        for value in values:
            counts += np.bincount(value.ravel(), minlength=2**16)
        if self.ignore is not None:
            counts[self.ignore] = 0
        if counts.sum() == 0:
            raise DataError("no pixel of the training masks is labelled")
        indices = np.flatnonzero(counts) if self.classes is None else np.arange(len(self.classes))
        if len(indices) > UNSEEN:
            raise DataError(f"{len(indices)} classes are too many for a mask; at most {UNSEEN} work")
        names = [str(i) for i in indices] if self.classes is None else list(self.classes)
        prior = counts[indices] / max(1, counts[indices].sum())
        return {"indices": indices.tolist(), "names": names, "prior": prior.tolist()}

    def prepare(self, value: np.ndarray, state: State, context: Context | None) -> Tensor:
        """`[H, W]` uint8: positions in the state's classes, `VOID` where not labelled or no picture; cut as it was.

        Pixels of an index that no training mask holds are `UNSEEN`: they count as wrong, and a warning names it.
        """
        assert isinstance(context, GridContext), "a mask is bound to a picture"
        check_size("mask", value.shape, context.original)
        seen = context.apply(torch.from_numpy(value.astype(np.int32))[None], mode="nearest", fill=-1)[0].numpy()
        positions = np.full(2**16 + 1, UNSEEN, dtype=np.uint8)
        positions[state["indices"]] = np.arange(len(state["indices"]))
        positions[[-1] if self.ignore is None else [-1, self.ignore]] = VOID
        mask = positions[seen]
        if (mask == UNSEEN).any():
            unknown = int(seen[mask == UNSEEN][0])
            warnings.warn(f"a mask holds index {unknown}, which no training mask holds: its pixels count as wrong",
                          stacklevel=2)  # fmt: skip
        return torch.from_numpy(mask)

    def join(self, items: Sequence[Tensor], places: Sequence[tuple[int, int]], size: tuple[int, int]) -> Tensor:
        """The masks where their pictures lie, `[H, W]`."""
        return tiled(items, places, size, VOID)

    def _checked(self, mask: np.ndarray) -> np.ndarray:
        """Are all indices named, where classes are?"""
        if self.classes is not None:
            strange = mask[(mask >= len(self.classes)) & (mask != self.ignore)]
            if strange.size:
                known = ", ".join(map(str, range(len(self.classes))))
                raise DataError(f"the mask holds index {strange[0]}, which is not named in `classes` ({known}); "
                                f"`ignore: {strange[0]}` leaves it out")  # fmt: skip
        return mask

    def collate(self, items: Sequence[Sequence[Tensor]]) -> Target:
        """`{"values": [n, H, W]}`, uint8."""
        return {"values": torch.stack([row[0] for row in items])}

    def build(self, states: Sequence[State], width: int) -> MaskHead:
        """The decoder."""
        return MaskHead(states[0]["prior"], width)

    def metric(self, states: Sequence[State]) -> Confusion:
        """Mean intersection over union, and the share of pixels that are right, at the encoder's resolution."""
        return Confusion(len(states[0]["indices"]))

    @property
    def answers(self) -> MaskAnswers:
        """What outputs say."""
        return MaskAnswers()

    def decode(
        self, output: Tensor, states: Sequence[State], contexts: Sequence[Context | None]
    ) -> list[list[np.ndarray]]:
        """The picture's own pixels, `[H, W]`: indices as in the masks, `VOID` where the crop cut off."""
        return self.answers.decode(on_host(output), states, contexts)

    def show(self, said: np.ndarray, true: np.ndarray | None, state: State, of: np.ndarray) -> Answer:
        """The picture under the colours of its classes."""
        seen = shown_picture(overlaid(of, said, state["indices"]))
        if true is None:
            return Answer(seen)
        counted = true != self.ignore
        error = float((said != true)[counted].mean()) if counted.any() else None
        return Answer(seen, shown_picture(overlaid(of, true, state["indices"])), None, error)

    def show_target(self, target: Target, state: State, of: np.ndarray) -> Shown:
        """The picture under the colours of its classes, as the encoder sees it."""
        classes, mask = range(len(state["names"])), target["values"].numpy()
        caption = ", ".join(state["names"][k] for k in np.unique(mask).tolist() if k in classes) or "(none)"
        return shown_picture(overlaid(of, mask, list(classes)), caption=caption, side=WHOLE)

    def legend(self, state: State) -> Sequence[tuple[str, tuple[int, int, int]]]:
        """Of all classes but the first, which is bare."""
        return [(name, colour_of(place)) for place, name in enumerate(state["names"][1:])]

    def baseline(self, states: Sequence[State], target: Target) -> Tensor:
        """The most frequent class everywhere, `[n, K, H, W]`."""
        n, height, width = target["values"].shape
        prior = torch.tensor(states[0]["prior"], device=target["values"].device)
        return prior.clamp(min=1e-6).log().view(1, -1, 1, 1).expand(n, -1, height, width)


class Confusion(torchmetrics.Metric):
    """How often class `i` was taken for class `j`, pixel by pixel.

    All classes that training never saw are one more, the last, which is always missed.

    Args:
        classes: `K`.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.add_state("counts", torch.zeros(classes + 1, classes + 1, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, output: Tensor, target: Target) -> None:
        """`output [n, K, H, W]`, `target["values"] [n, H, W]`."""
        labelled = target["values"] != VOID
        classes = self.classes + 1
        pairs = target["values"][labelled].long().clamp(max=self.classes) * classes + output.argmax(1)[labelled]
        self.counts += torch.bincount(pairs, minlength=classes**2).view(classes, classes)

    def compute(self) -> list[Scores | None]:
        """`miou` and `pixel_accuracy`, or `None` where no pixel was labelled."""
        return [confusion_scores(self.counts)] if bool(self.counts.any()) else [None]


def confusion_scores(counts: Tensor) -> Scores:
    """From `counts [K, K]` (true, predicted); the mean is over classes that occur in truth or prediction."""
    right = counts.diagonal().double()
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    occurs = union > 0
    miou = (right[occurs] / union[occurs]).mean()
    return {"miou": float(miou), "pixel_accuracy": float(right.sum() / counts.sum())}


def index_image(picture: PIL.Image.Image) -> np.ndarray:
    """Indices of a grey or palette image.

    Raises:
        DataError: it is in colour, or of a format that loses precision.
    """
    if picture.format == "JPEG":
        raise DataError("the mask is a JPEG, which changes class indices; save it as PNG")
    if picture.mode not in ("1", "L", "P", "I") and not picture.mode.startswith("I;16"):
        raise DataError(f"the mask is in colour ({picture.mode}); save class indices as a grey or palette PNG")
    return np.array(PIL.ImageOps.exif_transpose(picture))


def as_indices(array: np.ndarray) -> np.ndarray:
    """`[H, W]` or `[H, W, 1]` of integers or booleans → uint16.

    Raises:
        DataError: its shape, its type or a value is none of a mask's.
    """
    array = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if array.ndim != 2 or array.size == 0:
        raise DataError(f"an array of shape {list(array.shape)} is not a mask; give [height, width]")
    if array.dtype.kind not in "bui":
        raise DataError(f"a mask of {array.dtype} has no class indices; give integers")
    if array.min() < 0 or array.max() >= 2**16:
        raise DataError(f"class indices run from 0 to 65535; the mask holds {array.min()} to {array.max()}")
    return array.astype(np.uint16)
