"""What a modality is: everything trunkline must know about one kind of input.

`trunkline.testing.check_modality` holds any implementation to this.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from trunkline.arrays.contract import Arrays, Cells
from trunkline.contexts import Context, MosaicContext
from trunkline.showing import Shown, shown_text
from trunkline.types import Axis, Choices, State, Tokens

MOSAIC = 4  # rows that make one value
Bound = Mapping[str, tuple["Modality", State]]  # inputs of a block, each with its modality and state


class Encoder(nn.Module, ABC):
    """Collated values of the rows that have the input → tokens. It never sees an absent row."""

    def load_pretrained(self) -> None:
        """Take weights from elsewhere, where there are any. Called once, before training; never on loading a run."""

    def pretrained_parameters(self) -> Iterable[tuple[nn.Parameter, float]]:
        """What was pretrained, each with its learning rate as a share of everything else's."""
        return ()

    def layers_in_turn(self) -> Sequence[nn.Module]:
        """Layers that `forward` calls one after the other in this order, each once.

        Where weights are divided among processes, each of these is gathered by itself. Nothing by default: then the
        whole encoder is gathered at once.
        """
        return ()

    def leaves_padding(self, device: torch.device) -> bool:
        """Whether nothing is worked out for the padding of its rows there."""
        return False

    @abstractmethod
    def forward(self, values: dict[str, Tensor]) -> Tokens:
        """`{name: [n, …]}` → tokens `[n, L, D]`. A row's tokens must not depend on the rows beside it."""


class Block(nn.Module, ABC):
    """One module that encodes many inputs at once (a table's numbers and categories).

    Args:
        inputs: for each input its modality and its state.
        width: `D`.
    """

    @classmethod
    @abstractmethod
    def pack(cls, inputs: Bound, items: Mapping[str, Sequence[Any]]) -> dict[str, Tensor]:
        """Prepared items of each input (`None` where absent) → `{name: [n, …]}`; a filler stands where absent."""

    def __init__(self, inputs: Bound, width: int) -> None:
        super().__init__()
        self.inputs = tuple(inputs)

    @abstractmethod
    def forward(self, values: dict[str, Tensor], flags: Tensor | None) -> Tokens:
        """Values and `flags [n, inputs]` (`None`: all there) → tokens. What stands behind a `False` is not read."""


class Modality(ABC):
    """A kind of input, bound to no column yet. The constructor only stores; its signature is the config schema.

    A method that raises `NotImplementedError` here belongs to kinds that say they have it, by the attribute that its
    text or the list below names; of other kinds nobody calls it.

    Attributes:
        axis: what this modality's tokens run over.
        gives_pyramid: it can give several grids of one input, finest first (`build_pyramid`).
        block: the module that encodes all inputs of this kind together, or `None` for an encoder an input.
        reads_files: cells are paths; they reach `read` absolute.
        fit_sample: how many values `fit` wants at most, for a kind whose cells are costly to decode; the caller then
            passes evenly spaced ones of the training split. `None`: all of them.
        cut_by: the option that says how much of a cell is read, for kinds that read no more.
        mosaic: share of the training rows whose value is put together from several rows' (`prepare_mosaic`).
        mixup: how evenly training mixes rows in pairs (`mix`), as the α of a Beta distribution; 0: not at all.
        varying: for each collated value, the dimensions whose size differs from batch to batch (lengths).
        lengths: which of these values have a length of their own, and of what; all others have one in common.
    """

    axis: ClassVar[Axis]
    gives_pyramid: ClassVar[bool] = False
    block: ClassVar[type[Block] | None] = None
    reads_files: ClassVar[bool] = False
    fit_sample: ClassVar[int | None] = None
    cut_by: ClassVar[str | None] = None
    mosaic: float = 0.0
    mixup: float = 0.0
    varying: ClassVar[Mapping[str, tuple[int, ...]]] = {}
    lengths: ClassVar[Mapping[str, str]] = {}

    @property
    def cells(self) -> Cells | None:
        """How its cells become arrays without PyTorch, for an exported network; `None` where only this class knows.

        `read`, `prepare` without an `rng` and `collate` do the same.
        """
        return None

    @property
    def refuses_export(self) -> str | None:
        """Why its encoder cannot be part of an exported graph, or `None` where it can."""
        return None

    @property
    def is_random(self) -> bool:
        """Whether `prepare` draws from `rng` in training (augmentation). If not, prepared items are kept."""
        return False

    @abstractmethod
    def read(self, cell: Any) -> Any:
        """One cell, decoded.

        Raises:
            DataError: the cell cannot be used; the message says why (the caller adds source, row and column).
        """

    def show(self, value: Any) -> Shown:
        """A decoded value for people to see or hear; plain text by default."""
        return shown_text(value)

    def seen(self, values: dict[str, Tensor]) -> Any:
        """One row's collated values as `show` takes them, or `None` where they say nothing to people."""
        return None

    def check(self, cell: Any) -> None:
        """Can the cell be read, as far as a quick look tells? By default it is read.

        Raises:
            DataError: it cannot.
        """
        self.read(cell)

    def measure(self, cell: Any) -> tuple[int, int] | None:
        """`(height, width)` of the picture in a cell, from a quick look; `None` for what is no picture.

        Raises:
            DataError: it cannot be read.
        """
        return None

    def count_words(self, value: Any) -> int | None:
        """The words, or nodes, of a value that tasks may label one by one; `None` for kinds without them."""
        return None

    def read_many(self, cells: pa.Array) -> Sequence[Any] | None:
        """Present cells of a whole column, decoded at once as `read` decodes each; `None` where it must."""
        return None

    def choose(self, sample: Sequence[Any], rows: int, *, is_read: bool = False) -> Choices:
        """Values for the options that were left open (`None`), each with its reason; they go into the resolved config.

        Args:
            sample: some decoded values of the training split (`fit_sample` at most, evenly spaced), to look at.
            rows: training rows that have this input.
            is_read: some task reads its tokens, not only the row.
        """
        return {}

    def choose_pyramid(self, sample: Sequence[Any], rows: int) -> Choices:
        """The same where some task reads its pyramid."""
        return self.choose(sample, rows, is_read=True)

    def fit(self, values: Iterable[Any]) -> State:
        """Vocabularies and scaling from present values of the training split (`fit_sample`), as plain JSON."""
        return {}

    def shrink(self, value: Any, state: State) -> Any:
        """What is kept of a value between the epochs of training, where `prepare` is random; by default all of it.

        With an `rng`, `prepare` takes either.
        """
        return value

    @abstractmethod
    def prepare(self, value: Any, state: State, rng: np.random.Generator | None) -> tuple[Any, Context | None]:
        """One value → what `collate` takes, and what was done to it. `rng` is given in training only."""

    def prepare_mosaic(
        self, values: Sequence[Any], state: State, rng: np.random.Generator
    ) -> tuple[Any, MosaicContext]:
        """Values of `MOSAIC` rows, as `shrink` leaves them → one item for `collate`, and where each lies in it."""
        raise NotImplementedError(f"{type(self).__name__} puts nothing together")

    def collate(self, items: Sequence[Any]) -> dict[str, Tensor]:
        """Prepared items of `n` rows → `{name: [n, …]}`. A kind without a block must have it."""
        raise NotImplementedError(f"{type(self).__name__} has neither a block nor `collate`")

    def mix(self, values: dict[str, Tensor], order: Tensor, share: float) -> dict[str, Tensor]:
        """Collated values of `n` rows, each mixed with that of another row of them; its own has this share."""
        raise NotImplementedError(f"{type(self).__name__} cannot be mixed")

    def build(self, state: State, width: int) -> nn.Module:
        """The layers: an `Encoder` (any module of that signature does). A kind without a block must have it."""
        raise NotImplementedError(f"{type(self).__name__} has neither a block nor `build`")

    def build_pyramid(self, state: State, width: int) -> nn.Module:
        """The layers where some task reads the pyramid: tokens in one `grid` span a level, finest first."""
        raise NotImplementedError(f"{type(self).__name__} gives no pyramid")


def as_tensors(arrays: Arrays) -> dict[str, Tensor]:
    """The same memory as tensors."""
    return {name: torch.from_numpy(value) for name, value in arrays.items()}
